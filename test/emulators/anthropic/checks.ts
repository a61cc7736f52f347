import type { JsonSchema } from '../openai/schema-value.ts'
import { type Block, blocksIn, type MessageBody, type Turn } from './body.ts'
import { type ModelRules, models } from './models.ts'
import { type Problem, problem } from './problems.ts'
import { digestOf, isSigned, joined } from './signature.ts'
import type { Version } from './spec.ts'

/** What the reference's schemas cannot say and the provider refuses all the same, in its words as far as they are known. */

export function refusedBy(version: Version, body: MessageBody): Problem | null {
  const rules = models[body.model]
  if (!rules) return problem(404, `model: ${body.model}`)
  const wrong =
    wrongWithModel(rules, body) ??
    wrongWithTools(rules, body) ??
    wrongWithBlocks(version, body) ??
    wrongWithPairs(body.messages) ??
    wrongWithThoughts(body)
  return wrong === null ? null : problem(400, wrong)
}

function wrongWithModel(rules: ModelRules, body: MessageBody): string | null {
  const { model, max_tokens, thinking, temperature, top_p, output_config: output } = body
  if (max_tokens > rules.maxTokens)
    return `max_tokens: ${max_tokens} > ${rules.maxTokens}, which is the maximum allowed number of output tokens for ${model}`
  if (!rules.samples && ((temperature ?? 1) !== 1 || (top_p ?? 1) < 0.99))
    return '`temperature` and `top_p` are deprecated for this model.'
  if (temperature !== undefined && top_p !== undefined)
    return '`temperature` and `top_p` cannot both be specified for this model. Please use only one.'
  if (thinking && !rules.thinking.includes(thinking.type))
    return `"thinking.type.${thinking.type}" is not supported for this model. Use "thinking.type.${rules.thinking[0]}".`
  const thinks = thinking !== undefined && thinking.type !== 'disabled'
  if (thinks && (temperature ?? 1) !== 1) return '`temperature` may only be set to 1 when thinking is enabled.'
  if (thinks && top_p !== undefined && top_p < 0.95) return '`top_p` must be at least 0.95 when thinking is enabled.'
  if (thinking?.type === 'enabled' && (thinking.budget_tokens ?? 0) >= max_tokens)
    return '`max_tokens` must be greater than `thinking.budget_tokens`.'
  const effort = output?.effort
  if (effort && !rules.efforts.includes(effort)) return `output_config.effort: "${effort}" is not supported by ${model}`
  if (output?.format && !isClosed(output.format.schema))
    return "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
  if (!rules.prefill && body.messages.at(-1)?.role === 'assistant')
    return 'This model does not support assistant message prefill. The conversation must end with a user message.'
  if (body.stop_sequences?.some((stop) => stop.trim() === ''))
    return 'stop_sequences: each stop sequence must contain non-whitespace'
  return null
}

function isClosed(schema: JsonSchema & { additionalProperties?: unknown }): boolean {
  if (schema.type === 'object' && schema.additionalProperties !== false) return false
  const inner = [
    ...Object.values(schema.properties ?? {}),
    ...(schema.anyOf ?? []),
    ...(schema.items ? [schema.items] : []),
  ]
  return inner.every(isClosed)
}

function wrongWithTools(rules: ModelRules, { tools, tool_choice: choice, thinking }: MessageBody): string | null {
  if (choice && !tools) return 'tool_choice may only be specified while providing tools.'
  const names = (tools ?? []).map(({ name }) => name)
  if (new Set(names).size < names.length) return 'tools: Tool names must be unique.'
  const isForced = choice?.type === 'any' || choice?.type === 'tool'
  if (choice?.type === 'tool' && !names.includes(choice.name ?? ''))
    return `tool_choice.name: Tool '${choice.name}' not found in provided tools`
  if (isForced && !rules.forcesTools) return `tool_choice: "${choice.type}" is not supported for this model.`
  if (isForced && thinking?.type === 'enabled') return 'Thinking may not be enabled when tool_choice forces tool use.'
  return null
}

function wrongWithBlocks(version: Version, body: MessageBody): string | null {
  const { messages, system, tools } = body
  if (messages.length === 0) return 'messages: at least one message is required'
  const all: Block[] = [...blocksIn(system), ...messages.flatMap(({ content }) => blocksIn(content))]
  const texts = [...all, ...all.flatMap((block) => (block.type === 'tool_result' ? blocksIn(block.content) : []))]
  for (const block of texts) {
    if (block.type !== 'text') continue
    if (block.text === '') return 'messages: text content blocks must be non-empty'
    if (block.text?.trim() === '') return 'messages: text content blocks must contain non-whitespace text'
  }
  const marked = [...texts, ...(tools ?? []), body].filter(({ cache_control: mark }) => mark !== undefined)
  if (marked.length > 4) return `A maximum of 4 blocks with cache_control may be provided. Found ${marked.length}.`
  if (version === '2023-06-01') return null
  for (const [at, { role, content }] of messages.entries()) {
    for (const [part, block] of blocksIn(content).entries()) {
      if (role === 'assistant' && block.type === 'document')
        return `messages.${at}.content.${part}: document blocks are not permitted in assistant messages`
      if (role === 'user' && (block.citations?.length ?? 0) > 0)
        return `messages.${at}.content.${part}.citations: citations are not permitted in user messages`
    }
  }
  return null
}

/** Every call has its result at the head of the next turn, and every result its call in the turn before. */
function wrongWithPairs(messages: Turn[]): string | null {
  const turns = joined(messages)
  const known = new Set<string | undefined>()
  for (const [at, { role, content }] of turns.entries()) {
    if (role === 'assistant') {
      const called = content.filter(({ type }) => type === 'tool_use').map(({ id }) => id)
      for (const id of called) {
        if (known.has(id)) return `messages.${at}.content: \`tool_use\` ids must be unique`
        known.add(id)
      }
      const next = turns[at + 1]?.content ?? []
      const answered = new Set(next.filter(({ type }) => type === 'tool_result').map((block) => block.tool_use_id))
      const lost = called.filter((id) => !answered.has(id))
      if (lost.length > 0)
        return `messages.${at}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${lost.join(', ')}.`
      continue
    }
    const called = new Set((turns[at - 1]?.content ?? []).map(({ id }) => id))
    const stray = content.find((block) => block.type === 'tool_result' && !called.has(block.tool_use_id))
    if (stray)
      return `messages.${at}.content.0: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${stray.tool_use_id}.`
    const first = content.findIndex(({ type }) => type !== 'tool_result')
    const lastResult = content.findLastIndex(({ type }) => type === 'tool_result')
    if (first >= 0 && first < lastResult) return `messages.${at}: \`tool_result\` blocks must come first.`
  }
  return null
}

function wrongWithThoughts(body: MessageBody): string | null {
  const { model, thinking } = body
  const turns = joined(body.messages)
  for (const [at, { content }] of turns.entries()) {
    for (const [part, block] of content.entries()) {
      if (block.type !== 'thinking') continue
      const before = digestOf(body, turns.slice(0, at), content.slice(0, part))
      if (!isSigned(model, before, block.thinking ?? '', block.signature ?? ''))
        return `messages.${at}.content.${part}: Invalid \`signature\` in \`thinking\` block`
    }
  }
  if (thinking?.type !== 'enabled') return null
  const inLoop = turns.at(-1)?.content.some(({ type }) => type === 'tool_result') ?? false
  const [first] = turns.at(-2)?.content ?? []
  if (inLoop && first && !first.type.endsWith('thinking'))
    return `messages.${turns.length - 2}.content.0.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${first.type}\`.`
  return null
}
