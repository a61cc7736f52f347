import type { Choice, CompletionMessage, FinishReason } from '../contract/completion.ts'
import { type Answered, faultOf, isSuccess, parseJson } from './answers.ts'
import type { ChatCall, ChatCompleted } from './dialect.ts'
import { geminiEventFault, geminiProblem, geminiStatusFault } from './gemini-faults.ts'
import { callId } from './gemini-messages.ts'
import { geminiFlavor } from './gemini-request.ts'
import { geminiTier, geminiUsage } from './gemini-usage.ts'
import { STATE_OF } from './gemini-wire.ts'
import { faultContext, idIn, textIn } from './openai-answer.ts'
import { withId } from './openai-faults.ts'
import { recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'

/** A whole `GenerateContentResponse` (https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse). */
export const decodeGemini = (call: ChatCall, answer: Answered): ChatCompleted | Failed => {
  const context = faultContext(geminiFlavor, call)
  if (!isSuccess(answer.status)) return geminiStatusFault(answer, context)
  const fail = (code: Failed['code'], message: string) => faultOf(code, `Gemini ${message}`, withId({}, answer))
  if (answer.cut) return fail('outcome_unknown', 'took the request, but its answer was lost.')
  const parsed = parseJson(answer.body)
  if (geminiProblem(parsed)) return withId(geminiEventFault(parsed, context), answer)
  const body = recordOf(parsed)
  if (!body) return fail('provider_protocol_error', 'gave an answer that is not JSON.')
  const providerRequestId = idIn(body['responseId']) ?? withId({}, answer).providerRequestId ?? null
  const candidates: unknown[] = Array.isArray(body['candidates']) ? body['candidates'] : []
  if (candidates.length === 0)
    return {
      ...(blockFault(body) ?? fail('provider_protocol_error', 'gave an answer without a candidate.')),
      providerRequestId,
    }
  const choices: Choice[] = []
  for (const [at, value] of candidates.entries()) {
    const choice = choiceOf(value, at, idIn(body['responseId']) ?? call.id)
    if (!choice) return fail('provider_protocol_error', 'gave an answer that cannot be read.')
    if ('kind' in choice) return { ...choice, providerRequestId }
    choices.push(choice)
  }
  const tier = geminiTier(body['usageMetadata'])
  return {
    kind: 'completed',
    completion: {
      id: idIn(body['responseId']) ?? call.id,
      object: 'chat.completion',
      created: Math.floor(call.nowMs / 1000),
      model: textIn(body['modelVersion']) ?? call.card.model,
      choices,
      ...(tier === null ? {} : { service_tier: tier }),
    },
    usage: geminiUsage(body['usageMetadata']),
    serviceTier: tier,
    providerRequestId,
  }
}

/** A prompt that the provider would not answer, in a 200 without a candidate; null where it was not that. */
export const blockFault = (body: Record<string, unknown>): Failed | null => {
  const reason = textIn(recordOf(body['promptFeedback'])?.['blockReason'])
  if (reason === null || reason === 'BLOCK_REASON_UNSPECIFIED') return null
  const told = /^[A-Z_]{1,40}$/.test(reason) ? ` (${reason})` : ''
  return faultOf('content_rejected', `The safety system of Gemini refused the request${told}.`)
}

const FINISH = new Map<string, FinishReason>(Object.entries({ STOP: 'stop', MAX_TOKENS: 'length' }))

/** The model's own failures: there is no answer in them, and another try may give one. */
const BROKEN = new Set(['MALFORMED_FUNCTION_CALL', 'MALFORMED_RESPONSE', 'UNEXPECTED_TOOL_CALL', 'TOO_MANY_TOOL_CALLS'])

/**
 * One of the four, or the fault that it is; null while it goes on. Every other word, of today (SAFETY, RECITATION, LANGUAGE,
 * SPII, …) and of tomorrow, says that the provider ended the answer and not the model.
 */
export const endOf = (value: unknown, hasCalls: boolean): FinishReason | Failed | null => {
  const reason = textIn(value)
  if (reason === null || reason === 'FINISH_REASON_UNSPECIFIED') return null
  if (reason === 'MISSING_THOUGHT_SIGNATURE')
    return faultOf('provider_rejected', 'Gemini misses a thought signature in the messages.', { param: 'messages' })
  if (BROKEN.has(reason)) return faultOf('provider_protocol_error', `Gemini broke its answer off (${reason}).`)
  const known = FINISH.get(reason)
  return known === 'stop' && hasCalls ? 'tool_calls' : (known ?? 'content_filter')
}

const choiceOf = (value: unknown, at: number, answerId: string): Choice | Failed | null => {
  const candidate = recordOf(value)
  if (!candidate) return null
  const index = indexOf(candidate, at)
  const read = readParts(candidate['content'], (place) => callId(answerId, index, place))
  const ending = endOf(candidate['finishReason'], read.calls.length > 0)
  if (typeof ending === 'object' && ending !== null) return ending
  const finish = ending ?? (read.calls.length > 0 ? 'tool_calls' : 'stop')
  return { index, message: messageOf(read, finish), logprobs: logprobsOf(candidate), finish_reason: finish }
}

/** Proto's JSON leaves a zero out. */
export const indexOf = (candidate: Record<string, unknown>, at: number): number =>
  typeof candidate['index'] === 'number' ? candidate['index'] : at

const messageOf = ({ text, thoughts, calls, signature }: ReadParts, finish: FinishReason): CompletionMessage => ({
  role: 'assistant',
  content: text === '' && finish !== 'stop' ? null : text,
  refusal: null,
  ...(calls.length > 0 ? { tool_calls: calls } : {}),
  ...(thoughts === '' ? {} : { reasoning_content: thoughts }),
  ...(signature === null ? {} : { extra_content: stateOf(signature) }),
})

export type ReadParts = {
  text: string
  thoughts: string
  calls: NonNullable<CompletionMessage['tool_calls']>
  /** Of a part that calls nothing: the last one's. */
  signature: string | null
}

export const stateOf = (signature: string) => ({ [STATE_OF]: { thought_signature: signature } })

/** What a candidate says. Parts of kinds that were not asked for are passed over. `idOf` makes ids where it gives none. */
export const readParts = (content: unknown, idOf: (place: number) => string): ReadParts => {
  const read: ReadParts = { text: '', thoughts: '', calls: [], signature: null }
  const parts: unknown = recordOf(content)?.['parts']
  for (const value of Array.isArray(parts) ? parts : []) {
    const part = recordOf(value) ?? {}
    const signature = textIn(part['thoughtSignature'])
    const called = recordOf(part['functionCall'])
    if (called) {
      read.calls.push({
        id: textIn(called['id']) ?? idOf(read.calls.length),
        type: 'function',
        function: { name: textIn(called['name']) ?? '', arguments: JSON.stringify(recordOf(called['args']) ?? {}) },
        ...(signature === null ? {} : { extra_content: stateOf(signature) }),
      })
      continue
    }
    if (signature !== null) read.signature = signature
    if (typeof part['text'] !== 'string') continue
    if (part['thought'] === true) read.thoughts += part['text']
    else read.text += part['text']
  }
  return read
}

/** Tokens and their likelihoods in OpenAI's form; null where none are told. */
export const logprobsOf = (candidate: Record<string, unknown>): Choice['logprobs'] => {
  const told = recordOf(candidate['logprobsResult'])
  const chosen: unknown = told?.['chosenCandidates']
  if (!Array.isArray(chosen)) return null
  const top: unknown = told?.['topCandidates']
  const content = chosen.map((item, at) => {
    const others: unknown = Array.isArray(top) ? top[at]?.candidates : null
    return { ...likelihoodOf(item), top_logprobs: Array.isArray(others) ? others.map(likelihoodOf) : [] }
  })
  return { content, refusal: null }
}

const likelihoodOf = (item: unknown) => {
  const { token, logProbability } = recordOf(item) ?? {}
  const text = typeof token === 'string' ? token : ''
  return {
    token: text,
    logprob: typeof logProbability === 'number' ? logProbability : 0,
    bytes: [...new TextEncoder().encode(text)],
  }
}
