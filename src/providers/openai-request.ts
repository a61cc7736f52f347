import { type ChatInput, outputLimitOf } from '../contract/chat.ts'
import type { AssistantMessage, ChatMessage } from '../contract/chat-message.ts'
import { type CallIds, createCallIds } from './call-ids.ts'
import { DECIDING_FIELDS, type Flavor, LEANING_FIELDS } from './chat-flavor.ts'
import type { ChatCall, ChatCard, Encoded, Refusal } from './dialect.ts'

/** A chat to the body of OpenAI's `POST /chat/completions`, or the reason why this model cannot be asked. */

export const refusesChat = (flavor: Flavor, card: ChatCard, input: ChatInput): Refusal | null =>
  refusesFields(flavor, card, input) ?? refusesImages(card, input) ?? refusesOptions(flavor, input)

const refusesFields = (flavor: Flavor, card: ChatCard, input: ChatInput): Refusal | null => {
  const refuse = (param: string, message: string): Refusal => ({ param, message })
  for (const field of DECIDING_FIELDS) {
    if (input[field] !== undefined && !isPlain(field, input) && lacks(flavor, card, field))
      return refuse(field, `${field} is not taken by ${card.model}.`)
  }
  if (input.tools && !card.tools) return refuse('tools', `${card.model} calls no tools.`)
  const format = input.response_format?.type ?? 'text'
  if ((format === 'json_schema' && !card.jsonSchema) || (format === 'json_object' && !card.jsonObject))
    return refuse('response_format', `${card.model} does not keep to ${format}.`)
  if ((input.logprobs || input.top_logprobs) && !(card.logprobs || samples(card, input)))
    return refuse('logprobs', `${card.model} tells no logprobs.`)
  const effort = input.reasoning_effort
  if (effort !== undefined && card.reasoning.length > 0 && !card.reasoning.includes(effort))
    return refuse('reasoning_effort', `${card.model} takes ${card.reasoning.join(', ')}.`)
  const limit = outputLimitOf(input)
  if (limit !== null && card.maxOutputTokens !== null && limit > card.maxOutputTokens) {
    const field = input.max_completion_tokens === undefined ? 'max_tokens' : 'max_completion_tokens'
    return refuse(field, `${card.model} makes at most ${card.maxOutputTokens} tokens.`)
  }
  return null
}

/** A field that asks for what is done anyway. */
const isPlain = (field: keyof ChatInput, input: ChatInput): boolean =>
  (field === 'n' && input.n === 1) ||
  (field === 'logprobs' && input.logprobs === false) ||
  (field === 'response_format' && input.response_format?.type === 'text') ||
  (field === 'tool_choice' && (input.tool_choice === 'auto' || (input.tool_choice === 'none' && !input.tools)))

const lacks = (flavor: Flavor, card: ChatCard, field: keyof ChatInput): boolean =>
  !flavor.takes.has(field) || card.without?.includes(field) === true

/** Newer reasoning models sample as they are told once they do not reason. */
const samples = (card: ChatCard, input: ChatInput): boolean =>
  card.sampling || (input.reasoning_effort === 'none' && card.reasoning.includes('none'))

const refusesImages = (card: ChatCard, { messages }: ChatInput): Refusal | null => {
  if (card.images) return null
  for (const [at, { role, content }] of messages.entries()) {
    if (role !== 'user' || typeof content === 'string') continue
    const part = content.findIndex(({ type }) => type === 'image_url')
    if (part >= 0) return { param: `messages.${at}.content.${part}`, message: `${card.model} sees no images.` }
  }
  return null
}

/** Never by `provider_options`: what the request has a field for, what sets the form of the answer, what no price covers. */
const OURS = new Set(['model', 'messages', 'stream', 'stream_options', 'metadata', 'functions', 'function_call'])

const refusesOptions = (flavor: Flavor, input: ChatInput): Refusal | null => {
  for (const field of Object.keys(input.provider_options?.[flavor.id] ?? {})) {
    const param = `provider_options.${flavor.id}.${field}`
    if (
      OURS.has(field) ||
      LEANING_FIELDS.has(field as keyof ChatInput) ||
      isDeciding(field) ||
      /^max_.*tokens$/.test(field)
    )
      return { param, message: `${field} stands in the request itself.` }
    if (flavor.nativeFields !== 'any' && !flavor.nativeFields.has(field))
      return { param, message: `${field} is not a field of ${flavor.name} that is passed on.` }
  }
  return null
}

const isDeciding = (field: string): boolean => DECIDING_FIELDS.some((known) => known === field)

export const encodeChat = (flavor: Flavor, call: ChatCall): Encoded => {
  const { card, input } = call
  const dropped: string[] = []
  const body: Record<string, unknown> = {
    ...input.provider_options?.[flavor.id],
    model: card.model,
    messages: messagesOf(flavor, input.messages),
  }
  const limit = outputLimitOf(input)
  if (limit !== null) body[flavor.limitField] = limit
  for (const field of DECIDING_FIELDS) {
    const value = input[field]
    if (value === undefined) continue
    if (lacks(flavor, card, field) || (field === 'tool_choice' && !input.tools)) {
      if (!isPlain(field, input)) dropped.push(field)
    } else body[field] = field === 'tools' ? toolsOf(input) : field === 'response_format' ? formatOf(input) : value
  }
  for (const field of LEANING_FIELDS) {
    const value = input[field]
    if (value === undefined) continue
    if (lacks(flavor, card, field) || !leansOn(field, card, input)) dropped.push(field)
    else body[field] = value
  }
  if (call.stream) {
    body['stream'] = true
    const obfuscation = call.includeObfuscation
    body['stream_options'] = {
      include_usage: true,
      ...(obfuscation === undefined ? {} : { include_obfuscation: obfuscation }),
    }
  }
  const { root, headers } = flavor.reach(call)
  return { url: `${root}/chat/completions`, headers, body, dropped }
}

const SAMPLING = new Set<keyof ChatInput>(['temperature', 'top_p', 'frequency_penalty', 'presence_penalty'])

const leansOn = (field: keyof ChatInput, card: ChatCard, input: ChatInput): boolean => {
  if (SAMPLING.has(field)) return samples(card, input)
  if (field === 'reasoning_effort') return card.reasoning.length > 0
  if (field === 'parallel_tool_calls') return input.tools !== undefined
  return true
}

/** Nulls are absent fields; the reference has them nowhere in a tool but at `strict`. */
const toolsOf = ({ tools }: ChatInput) =>
  tools?.map((tool) =>
    tool.function.parameters === null ? { ...tool, function: { ...tool.function, parameters: undefined } } : tool,
  )

const formatOf = ({ response_format: format }: ChatInput) =>
  format?.type === 'json_schema' && format.json_schema.schema === null
    ? { ...format, json_schema: { ...format.json_schema, schema: undefined } }
    : format

const messagesOf = (flavor: Flavor, messages: ChatMessage[]): unknown[] => {
  const ids = flavor.callIdCharacters === undefined ? AS_THEY_ARE : createCallIds(shortened(flavor.callIdCharacters))
  return messages.map((message) => {
    switch (message.role) {
      case 'assistant':
        return assistantOf(message, ids)
      case 'tool':
        return { role: 'tool', content: message.content, tool_call_id: ids.answered(message.tool_call_id) }
      case 'developer':
        return flavor.developerRole ? named(message) : { ...named(message), role: 'system' }
      default:
        return named(message)
    }
  })
}

const AS_THEY_ARE: CallIds = { turn: () => {}, called: (id) => id, answered: (id) => id }

/** The end of a long id, which is where ids differ, with room for a number behind it. */
const shortened =
  (characters: number) =>
  (id: string): string =>
    id.length <= characters ? id : id.slice(6 - characters)

const named = <M extends ChatMessage>(message: M): M => {
  if (message.name !== null) return message
  const { name: _, ...rest } = message
  return rest as M
}

/** Without what only answers have, and without the state of other providers. */
const assistantOf = (message: AssistantMessage, ids: CallIds): unknown => {
  ids.turn()
  const { content, refusal, name, tool_calls: calls } = message
  return {
    role: 'assistant',
    content: content ?? null,
    ...(refusal ? { refusal } : {}),
    ...(name ? { name } : {}),
    ...(calls && calls.length > 0
      ? { tool_calls: calls.map(({ id, type, function: called }) => ({ id: ids.called(id), type, function: called })) }
      : {}),
  }
}
