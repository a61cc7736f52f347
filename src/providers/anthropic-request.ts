import { type ChatInput, outputLimitOf, stopsOf } from '../contract/chat.ts'
import { conversationOf, isLoopWithoutThought, refusesMessages } from './anthropic-messages.ts'
import { optionsOf, refusesOptions, type Version, versionOf } from './anthropic-options.ts'
import { isThinking, limitOf, thinkingOf } from './anthropic-thinking.ts'
import { formatOf, refusesTools, toolFields } from './anthropic-tools.ts'
import { LEANING_FIELDS } from './chat-flavor.ts'
import type { ChatCall, ChatCard, Encoded, Refusal } from './dialect.ts'

/** A chat to the body of Anthropic's `POST /v1/messages`, or the reason why this model cannot be asked. */

export const refusesChat = (card: ChatCard, input: ChatInput): Refusal | null =>
  refusesFields(card, input) ??
  refusesTools(card, input) ??
  refusesOptions(card, input) ??
  refusesMessages(card, input.messages)

const refusesFields = (card: ChatCard, input: ChatInput): Refusal | null => {
  const refuse = (param: string, message: string): Refusal => ({ param, message })
  if (input.n !== undefined && input.n > 1) return refuse('n', `${card.model} gives one choice.`)
  if (input.logprobs) return refuse('logprobs', `${card.model} tells no logprobs.`)
  if (input.top_logprobs) return refuse('top_logprobs', `${card.model} tells no logprobs.`)
  if (Object.keys(input.logit_bias ?? {}).length > 0)
    return refuse('logit_bias', `logit_bias is not taken by ${card.model}.`)
  if (stopsOf(input).some((stop) => stop.trim() === ''))
    return refuse('stop', `${card.model} does not stop at blanks alone.`)
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

export const encodeChat = (call: ChatCall): Encoded => {
  const { card, input } = call
  const version = versionOf(card, input)
  const { cache_control: kept } = optionsOf(input)
  const { system, turns } = conversationOf(card, input.messages, kept !== undefined)
  const { fields: tools, forced } = toolFields(input)
  const thinking = thinkingOf(call, forced || isLoopWithoutThought(turns))
  const sampling = samplingOf(card, input, version, isThinking(thinking?.thinking))
  const format = formatOf(input)
  const output = {
    ...(thinking?.effort === undefined ? {} : { effort: thinking.effort }),
    ...(format === null ? {} : { format }),
  }
  const stops = stopsOf(input)
  const user = input.safety_identifier ?? input.user
  const body: Record<string, unknown> = {
    model: card.model,
    max_tokens: limitOf(call),
    ...(system.length > 0 ? { system } : {}),
    messages: turns,
    ...tools,
    ...(thinking?.thinking ? { thinking: thinking.thinking } : {}),
    ...(Object.keys(output).length > 0 ? { output_config: output } : {}),
    ...(stops.length > 0 ? { stop_sequences: stops } : {}),
    ...sampling,
    ...(user ? { metadata: { user_id: user } } : {}),
    ...tierFields(input),
    ...(kept ? { cache_control: kept } : {}),
    ...(call.stream ? { stream: true } : {}),
  }
  return { url: urlOf(call.baseUrl), headers: headersOf(call.secret, version), body, dropped: droppedOf(input, body) }
}

/** The client has the address without a version, applications often with one. */
const urlOf = (baseUrl: string): string => `${baseUrl.replace(/\/v1$/, '')}/v1/messages`

/** Each version as its official client lets itself in; both are taken under either. Nothing where there is no secret. */
const headersOf = (secret: string, version: Version): Record<string, string> => ({
  'anthropic-version': version,
  ...(secret === '' ? {} : version === '2023-06-01' ? { 'x-api-key': secret } : { authorization: `Bearer ${secret}` }),
})

/** Up to 1 here, so that above it is as hot as can be; only one of the two ways of sampling is taken at a time. */
const samplingOf = (card: ChatCard, input: ChatInput, version: Version, thinks: boolean): Record<string, number> => {
  if (!card.sampling || thinks || version !== '2023-06-01') return {}
  const { temperature, top_p } = input
  const { top_k } = optionsOf(input)
  return {
    ...(temperature === undefined ? {} : { temperature: Math.min(temperature, 1) }),
    ...(top_p === undefined || temperature !== undefined ? {} : { top_p }),
    ...(top_k === undefined ? {} : { top_k }),
  }
}

/** Its two tiers under their names here; the others are not of this provider. */
const tierFields = ({ service_tier: tier }: ChatInput): { service_tier?: string } =>
  tier === 'auto' ? { service_tier: 'auto' } : tier === 'default' ? { service_tier: 'standard_only' } : {}

const droppedOf = (input: ChatInput, body: Record<string, unknown>): string[] => {
  const dropped = [...LEANING_FIELDS].filter((field) => input[field] !== undefined && !carries(field, input, body))
  if (input.tool_choice !== undefined && !input.tools && input.tool_choice !== 'none' && input.tool_choice !== 'auto')
    dropped.push('tool_choice')
  return [...dropped, ...droppedInside(input)]
}

/** Whether what this field asks for is in the body, under whatever name. */
const carries = (field: keyof ChatInput, input: ChatInput, body: Record<string, unknown>): boolean => {
  switch (field) {
    case 'reasoning_effort':
      return (
        body['thinking'] !== undefined ||
        (body['output_config'] as { effort?: string } | undefined)?.effort !== undefined
      )
    case 'parallel_tool_calls':
      return body['tools'] !== undefined
    case 'safety_identifier':
      return body['metadata'] !== undefined
    case 'user':
      return body['metadata'] !== undefined && input.safety_identifier === undefined
    case 'modalities':
      return true
    default:
      return body[field] !== undefined
  }
}

/** Parts of messages and tools that only lean on the answer. */
const droppedInside = ({ messages }: ChatInput): string[] => {
  const found = new Set<string>()
  for (const message of messages) {
    if (message.name && message.role !== 'tool') found.add('messages.name')
    if (message.role !== 'user' || typeof message.content === 'string') continue
    for (const part of message.content)
      if (part.type === 'image_url' && (part.image_url.detail ?? 'auto') !== 'auto')
        found.add('messages.image_url.detail')
  }
  return [...found]
}
