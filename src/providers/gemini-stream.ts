import type { CompletionChunk, Delta, FinishReason } from '../contract/completion.ts'
import type { Usage } from '../contract/usage.ts'
import { faultOf } from './answers.ts'
import type { ChatCall, ChatPiece, SseEvent, StreamDecoder, StreamEnd } from './dialect.ts'
import { blockFault, endOf, indexOf, logprobsOf, type ReadParts, readParts, stateOf } from './gemini-answer.ts'
import { geminiEventFault, geminiProblem } from './gemini-faults.ts'
import { callId } from './gemini-messages.ts'
import { geminiFlavor } from './gemini-request.ts'
import { countOf, geminiTier, geminiUsage } from './gemini-usage.ts'
import { faultContext, idIn, textIn } from './openai-answer.ts'
import { recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'

/**
 * `streamGenerateContent?alt=sse`: each event is a `GenerateContentResponse` with what is new in it, and the usage so far. No
 * event ends the stream: it is whole when every candidate that was asked for has told its reason, and the connection closes.
 */

const NOTHING: ChatPiece[] = []

export const openGeminiStream = (call: ChatCall): StreamDecoder => new Decoder(call)

class Decoder implements StreamDecoder {
  ended = false
  readonly #call: ChatCall
  #fault: Failed | null = null
  #usage: Usage | null = null
  /** Early events may count the prompt alone, beside text. */
  #isCounted = false
  #hasSaid = false
  #finish: FinishReason | null = null
  /** By candidate: how many tools it has called so far. One that stands here has begun. */
  readonly #calls = new Map<number, number>()
  readonly #finished = new Set<number>()
  #tier: string | null = null
  #id: string | null = null
  #model: string | null = null

  constructor(call: ChatCall) {
    this.#call = call
  }

  push({ data }: SseEvent): ChatPiece[] {
    if (this.ended) return NOTHING
    let event: unknown
    try {
      event = JSON.parse(data)
    } catch {
      return this.#fail(this.#malformed())
    }
    if (geminiProblem(event)) return this.#fail(geminiEventFault(event, faultContext(geminiFlavor, this.#call)))
    const body = recordOf(event)
    return body ? this.#read(body) : this.#fail(this.#malformed())
  }

  finish(): StreamEnd {
    const told = this.#usage
    const isAll = this.#isCounted || !this.#hasSaid
    const end = {
      usage: isAll ? told : null,
      promptUsage: isAll || !told ? null : { ...told, outputTokens: 0, reasoningTokens: 0 },
      finish: this.#finish,
      serviceTier: this.#tier,
      id: this.#id,
      model: this.#model,
    }
    if (this.#fault) return { fault: this.#fault, ...end }
    const isWhole = this.#finished.size >= Math.max(this.#call.input.n ?? 1, this.#calls.size)
    return { fault: isWhole ? null : faultOf('outcome_unknown', 'Gemini broke off its answer.'), ...end }
  }

  #read(body: Record<string, unknown>): ChatPiece[] {
    this.#usage = geminiUsage(body['usageMetadata']) ?? this.#usage
    this.#isCounted ||= countOf(recordOf(body['usageMetadata'])?.['candidatesTokenCount']) !== null
    this.#tier = geminiTier(body['usageMetadata']) ?? this.#tier
    this.#id ??= idIn(body['responseId'])
    this.#model ??= textIn(body['modelVersion'])
    const candidates: unknown = body['candidates'] ?? []
    if (!Array.isArray(candidates)) return this.#fail(this.#malformed())
    const blocked = candidates.length === 0 ? blockFault(body) : null
    if (blocked) return this.#fail(blocked)
    const choices: CompletionChunk['choices'] = []
    let text = ''
    let finish: FinishReason | null = null
    for (const [at, value] of candidates.entries()) {
      const candidate = recordOf(value)
      if (!candidate) return this.#fail(this.#malformed())
      const index = indexOf(candidate, at)
      const before = this.#calls.get(index)
      const read = readParts(candidate['content'], (place) => this.#callId(index, (before ?? 0) + place))
      const called = (before ?? 0) + read.calls.length
      const ending = endOf(candidate['finishReason'], called > 0)
      if (typeof ending === 'object' && ending !== null) return this.#fail(ending)
      this.#calls.set(index, called)
      // A reason that comes again is not told again.
      const told = this.#finished.has(index) ? null : ending
      if (told !== null) this.#finished.add(index)
      if (told !== null && index === 0) this.#finish = told
      const logprobs = logprobsOf(candidate)
      choices.push({
        index,
        delta: { ...(before === undefined ? { role: 'assistant' as const } : {}), ...deltaOf(read, before ?? 0) },
        finish_reason: told,
        ...(logprobs ? { logprobs } : {}),
      })
      text += textOf(read)
      finish = told ?? finish
    }
    this.#hasSaid ||= text !== ''
    if (choices.every((choice) => isNothing(choice))) return NOTHING
    return [{ json: JSON.stringify(this.#chunk(choices)), text, finish }]
  }

  #callId(index: number, place: number): string {
    return callId(this.#id ?? this.#call.id, index, place)
  }

  #chunk(choices: CompletionChunk['choices']): CompletionChunk {
    return {
      id: this.#id ?? this.#call.id,
      object: 'chat.completion.chunk',
      created: Math.floor(this.#call.nowMs / 1000),
      model: this.#model ?? this.#call.card.model,
      choices,
      ...(this.#tier === null ? {} : { service_tier: this.#tier }),
    }
  }

  #fail(fault: Failed): ChatPiece[] {
    this.#fault = this.#id === null ? fault : { ...fault, providerRequestId: this.#id }
    this.ended = true
    return NOTHING
  }

  #malformed(): Failed {
    return faultOf('provider_protocol_error', 'Gemini sent a chunk that cannot be read.')
  }
}

const deltaOf = ({ text, thoughts, calls, signature }: ReadParts, before: number): Delta => ({
  ...(text === '' ? {} : { content: text }),
  ...(thoughts === '' ? {} : { reasoning_content: thoughts }),
  ...(calls.length === 0 ? {} : { tool_calls: calls.map((call, at) => ({ index: before + at, ...call })) }),
  ...(signature === null ? {} : { extra_content: stateOf(signature) }),
})

/** An event that only counts: the clients get usage once, at the end. */
const isNothing = ({ delta, finish_reason: finish }: CompletionChunk['choices'][number]): boolean =>
  finish === null && Object.keys(delta).length === 0

/** All that was generated: what an estimate counts. */
const textOf = ({ text, thoughts, calls }: ReadParts): string =>
  calls.reduce((sum, { function: called }) => sum + called.name + called.arguments, thoughts + text)
