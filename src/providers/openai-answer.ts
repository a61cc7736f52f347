import type { Choice, CompletionMessage, FinishReason } from '../contract/completion.ts'
import { LIMITS } from '../limits.ts'
import { type Answered, faultOf, isSuccess, parseExact } from './answers.ts'
import type { Flavor } from './chat-flavor.ts'
import { cloudflareCode } from './cloudflare-faults.ts'
import type { ChatCall, ChatCompleted } from './dialect.ts'
import { eventFault, type FaultContext, problemOf, statusFault, withId } from './openai-faults.ts'
import { openAiUsage, recordOf } from './openai-usage.ts'
import { privateTextsOf } from './private-texts.ts'
import type { Failed } from './provider.ts'

/** A whole answer in OpenAI's manner. Servers of one's own leave out ids, usage and more: everything may be missing. */

export const decodeChat = (flavor: Flavor, call: ChatCall, answer: Answered): ChatCompleted | Failed => {
  const context = faultContext(flavor, call)
  if (!isSuccess(answer.status)) return statusFault(answer, context)
  const { name } = flavor
  if (answer.cut)
    return faultOf('outcome_unknown', `${name} took the request, but its answer was lost.`, withId({}, answer))
  const body = recordOf(parseExact(answer.body))
  if (!body) return faultOf('provider_protocol_error', `${name} gave an answer that is not JSON.`, withId({}, answer))
  if (problemOf(body) || cloudflareCode(body) !== null) return { ...eventFault(body, context), ...withId({}, answer) }
  const choices = Array.isArray(body['choices']) ? body['choices'].map(choiceOf) : []
  if (choices.length === 0 || choices.includes(null))
    return faultOf('provider_protocol_error', `${name} gave an answer that cannot be read.`, withId({}, answer))
  const tier = textIn(body['service_tier'])
  return {
    kind: 'completed',
    completion: {
      id: idIn(body['id']) ?? call.id,
      object: 'chat.completion',
      created: secondsIn(body['created']) ?? Math.floor(call.nowMs / 1000),
      model: textIn(body['model']) ?? call.card.model,
      choices: choices as Choice[],
      ...(tier === null ? {} : { service_tier: tier }),
      ...(textIn(body['system_fingerprint']) === null
        ? {}
        : { system_fingerprint: textIn(body['system_fingerprint']) }),
    },
    usage: openAiUsage(body['usage']),
    serviceTier: tier,
    providerRequestId: withId({}, answer).providerRequestId ?? idIn(body['id']),
  }
}

export const faultContext = ({ name }: Flavor, { input, secret, nowMs }: ChatCall): FaultContext => ({
  name,
  nowMs,
  privateTexts: privateTextsOf(input, secret),
})

export const textIn = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null)
/** An id as it is kept with the attempt; one that is longer than an id is none. */
export const idIn = (value: unknown): string | null => {
  const id = textIn(value)
  return id !== null && id.length <= LIMITS.identifierCharacters ? id : null
}
const secondsIn = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : null

const FINISH = new Map<string, FinishReason>(
  Object.entries({
    stop: 'stop',
    length: 'length',
    tool_calls: 'tool_calls',
    content_filter: 'content_filter',
    // Of older servers, and of those that tell their own words.
    function_call: 'tool_calls',
    eos: 'stop',
    eos_token: 'stop',
    stop_sequence: 'stop',
    end_turn: 'stop',
    max_tokens: 'length',
    model_length: 'length',
    load: 'stop',
    unload: 'stop',
  }),
)

/** One of the four. Any other word ends an answer that is whole; null and nothing say that it goes on. */
export const finishOf = (value: unknown): FinishReason | null =>
  typeof value !== 'string' || value === '' ? null : (FINISH.get(value) ?? 'stop')

const choiceOf = (value: unknown, at: number): Choice | null => {
  const choice = recordOf(value)
  const message = recordOf(choice?.['message'])
  if (!choice || !message) return null
  const read = messageOf(message)
  const calls = read.tool_calls ? 'tool_calls' : 'stop'
  return {
    index: typeof choice['index'] === 'number' ? choice['index'] : at,
    message: read,
    logprobs: (recordOf(choice['logprobs']) ?? null) as Choice['logprobs'],
    finish_reason: finishOf(choice['finish_reason']) ?? calls,
  }
}

/** Some servers write their text in parts. What is no text in them, such as thoughts, is left out. */
export const contentIn = (content: unknown): string | null => {
  if (!Array.isArray(content)) return typeof content === 'string' ? content : null
  return content.map((part) => textIn(recordOf(part)?.['text']) ?? '').join('')
}

const messageOf = (message: Record<string, unknown>): CompletionMessage => {
  const calls = Array.isArray(message['tool_calls']) ? message['tool_calls'].map(toolCallOf) : []
  const thoughts = textIn(message['reasoning_content']) ?? textIn(message['reasoning'])
  return {
    role: 'assistant',
    content: contentIn(message['content']),
    refusal: textIn(message['refusal']),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
    ...(thoughts === null ? {} : { reasoning_content: thoughts }),
    ...(Array.isArray(message['annotations']) ? { annotations: message['annotations'] } : {}),
  }
}

/** Servers of one's own may give no id, and arguments as an object. */
const toolCallOf = (value: unknown, at: number) => {
  const call = recordOf(value) ?? {}
  const called = recordOf(call['function']) ?? {}
  const args = called['arguments']
  return {
    id: textIn(call['id']) ?? `call_${at}`,
    type: 'function' as const,
    function: {
      name: textIn(called['name']) ?? '',
      arguments: typeof args === 'string' ? args : JSON.stringify(args ?? {}),
    },
  }
}
