import { type CompletionChunk, type Delta, FINISH_REASONS, type FinishReason } from '../contract/completion.ts'
import type { Usage } from '../contract/usage.ts'
import { faultOf } from './answers.ts'
import type { Flavor } from './chat-flavor.ts'
import { cloudflareCode } from './cloudflare-faults.ts'
import type { ChatCall, ChatPiece, SseEvent, StreamDecoder, StreamEnd } from './dialect.ts'
import { contentIn, faultContext, finishOf, idIn, textIn } from './openai-answer.ts'
import { eventFault, problemOf } from './openai-faults.ts'
import { openAiUsage, recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'

/**
 * A stream in OpenAI's manner. A chunk that is as it should be goes on in its own text, so that it is parsed once and never
 * written again: about two microseconds each. The others, and whatever has usage in it, are written anew.
 */

const NOTHING: ChatPiece[] = []

export const openChatStream = (flavor: Flavor, call: ChatCall): StreamDecoder => new Decoder(flavor, call)

class Decoder implements StreamDecoder {
  ended = false
  readonly #flavor: Flavor
  readonly #call: ChatCall
  #fault: Failed | null = null
  #usage: Usage | null = null
  #finish: FinishReason | null = null
  /** Choices that have begun and not yet told why they ended. */
  readonly #open = new Set<number>()
  /** By choice: the latest place of a call of a server that tells none. */
  readonly #places = new Map<number, number>()
  #begun = false
  #tier: string | null = null
  #id: string | null = null
  #model: string | null = null

  constructor(flavor: Flavor, call: ChatCall) {
    this.#flavor = flavor
    this.#call = call
  }

  push({ event, data }: SseEvent): ChatPiece[] {
    if (this.ended) return NOTHING
    if (data.startsWith('[DONE]')) return this.#terminate()
    let chunk: Record<string, unknown> | null
    try {
      chunk = recordOf(JSON.parse(data))
    } catch {
      chunk = null
    }
    if (!chunk) return this.#fail(this.#malformed())
    if (event === 'error' || (chunk['error'] ?? null) !== null || isOtherError(chunk)) {
      return this.#fail(
        eventFault(chunk['error'] === undefined && event === 'error' ? { error: chunk } : chunk, this.#context()),
      )
    }
    return this.#read(chunk, data)
  }

  finish(): StreamEnd {
    const end = { usage: this.#usage, finish: this.#finish, serviceTier: this.#tier, id: this.#id, model: this.#model }
    if (this.#fault) return { fault: this.#fault, ...end }
    const isWhole = this.ended || (!this.#flavor.strictTerminator && this.#begun && this.#open.size === 0)
    return { fault: isWhole ? null : faultOf('outcome_unknown', `${this.#flavor.name} broke off its answer.`), ...end }
  }

  #read(chunk: Record<string, unknown>, data: string): ChatPiece[] {
    const usage = chunk['usage'] ? openAiUsage(chunk['usage']) : null
    if (usage) this.#usage = usage
    if (this.#id === null) this.#id = idIn(chunk['id'])
    if (this.#model === null) this.#model = textIn(chunk['model'])
    if (chunk['service_tier']) this.#tier = textIn(chunk['service_tier'])
    const choices: unknown = chunk['choices']
    if (!Array.isArray(choices)) return usage ? NOTHING : this.#fail(this.#malformed())
    if (choices.length === 0) return NOTHING
    let text = ''
    let finish: FinishReason | null = null
    let plain = isPlain(chunk) && usage === null && !data.includes('\n')
    for (const choice of choices) {
      // A last chunk may have nothing but its reason.
      const delta = recordOf(choice?.delta) ?? (choice?.finish_reason ? {} : null)
      if (!delta) return this.#fail(this.#malformed())
      if (choice.finish_reason === 'error') return this.#fail(this.#broken())
      text += textOfDelta(delta)
      plain &&=
        choice.delta === delta &&
        isPlainDelta(delta) &&
        (choice.finish_reason === null || PLAIN_FINISH.has(choice.finish_reason))
      const index = typeof choice.index === 'number' ? choice.index : 0
      const ends = finishOf(choice.finish_reason)
      if (ends === null) this.#open.add(index)
      else this.#open.delete(index)
      if (ends !== null && index === 0) this.#finish = ends
      finish = ends ?? finish
    }
    this.#begun = true
    return [{ json: plain ? data : JSON.stringify(this.#rebuilt(chunk, choices)), text, finish }]
  }

  /** Every choice that has begun is told to be over, also by a server that forgets to say so. */
  #terminate(): ChatPiece[] {
    if (!this.#begun)
      return this.#fail(faultOf('provider_protocol_error', `${this.#flavor.name} sent an empty stream.`))
    this.ended = true
    if (this.#open.size === 0) return NOTHING
    const choices = [...this.#open].map((index) => ({ index, delta: {}, finish_reason: 'stop' }))
    this.#open.clear()
    this.#finish ??= 'stop'
    return [{ json: JSON.stringify(this.#rebuilt({}, choices)), text: '', finish: 'stop' }]
  }

  #fail(fault: Failed): ChatPiece[] {
    this.#fault = fault
    this.ended = true
    return NOTHING
  }

  #malformed(): Failed {
    return faultOf('provider_protocol_error', `${this.#flavor.name} sent a chunk that cannot be read.`)
  }

  #broken(): Failed {
    return faultOf('provider_unavailable', `${this.#flavor.name} failed while it answered.`)
  }

  #context() {
    return faultContext(this.#flavor, this.#call)
  }

  /** Calls without an index of their own: one that begins stands behind those before it, and the rest belongs to the last. */
  #placeOf(choice: number, begins: boolean): number {
    const last = this.#places.get(choice)
    const place = last === undefined ? 0 : begins ? last + 1 : last
    this.#places.set(choice, place)
    return place
  }

  /** The chunk in the form that clients know, without usage. */
  #rebuilt(chunk: Record<string, unknown>, choices: unknown[]): CompletionChunk {
    return {
      id: idIn(chunk['id']) ?? this.#id ?? this.#call.id,
      object: 'chat.completion.chunk',
      created: typeof chunk['created'] === 'number' ? chunk['created'] : Math.floor(this.#call.nowMs / 1000),
      model: textIn(chunk['model']) ?? this.#model ?? this.#call.card.model,
      choices: choices.map((value) => {
        const choice = recordOf(value) ?? {}
        const index = typeof choice['index'] === 'number' ? choice['index'] : 0
        return {
          index,
          delta: deltaOf(recordOf(choice['delta']) ?? {}, (begins) => this.#placeOf(index, begins)),
          finish_reason: finishOf(choice['finish_reason']),
          ...(choice['logprobs'] ? { logprobs: choice['logprobs'] as CompletionChunk['choices'][0]['logprobs'] } : {}),
        }
      }),
      ...(this.#tier === null ? {} : { service_tier: this.#tier }),
    } as CompletionChunk
  }
}

/** Of a server that speaks of its error in another way than `error`. */
const isOtherError = (chunk: Record<string, unknown>): boolean =>
  (chunk['object'] === 'error' && problemOf(chunk) !== null) || cloudflareCode(chunk) !== null

const PLAIN_FINISH = new Set<unknown>(FINISH_REASONS)

const isPlain = (chunk: Record<string, unknown>): boolean =>
  chunk['object'] === 'chat.completion.chunk' &&
  typeof chunk['id'] === 'string' &&
  chunk['id'] !== '' &&
  typeof chunk['created'] === 'number' &&
  typeof chunk['model'] === 'string' &&
  !chunk['usage']

const isPlainDelta = (delta: Record<string, unknown>): boolean => {
  if (delta['reasoning'] !== undefined || delta['function_call'] !== undefined || Array.isArray(delta['content']))
    return false
  const calls: unknown = delta['tool_calls']
  if (calls === undefined) return true
  return (
    Array.isArray(calls) && calls.every((call) => typeof call?.index === 'number' && isText(call.function?.arguments))
  )
}

const isText = (value: unknown): boolean => value === undefined || typeof value === 'string'

/** All that was generated: what an estimate counts. */
const textOfDelta = (delta: Record<string, unknown>): string => {
  const { refusal, tool_calls: calls } = delta
  let text = contentIn(delta['content']) ?? ''
  if (typeof refusal === 'string') text += refusal
  text += textIn(delta['reasoning_content']) ?? textIn(delta['reasoning']) ?? ''
  if (Array.isArray(calls)) {
    for (const call of calls) text += (textIn(call?.function?.name) ?? '') + argumentsOf(call?.function?.arguments)
  }
  return text
}

const argumentsOf = (value: unknown): string =>
  typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value)

/** Where the next call stands that does not say so itself. */
type Places = (begins: boolean) => number

const deltaOf = (delta: Record<string, unknown>, places: Places): Delta => {
  const thoughts = textIn(delta['reasoning_content']) ?? textIn(delta['reasoning'])
  const calls: unknown = delta['tool_calls']
  const content = contentIn(delta['content'])
  return {
    ...(delta['role'] === undefined ? {} : { role: 'assistant' as const }),
    ...(content === null ? {} : { content }),
    ...(typeof delta['refusal'] === 'string' ? { refusal: delta['refusal'] } : {}),
    ...(thoughts === null ? {} : { reasoning_content: thoughts }),
    ...(Array.isArray(calls) ? { tool_calls: calls.map((call) => callOf(call, places)) } : {}),
  }
}

/** Servers that send a call whole may leave out its index and its id, and give its arguments as an object. */
const callOf = (value: unknown, places: Places) => {
  const call = recordOf(value) ?? {}
  const called = recordOf(call['function'])
  const name = textIn(called?.['name'])
  const told = textIn(call['id'])
  const place = typeof call['index'] === 'number' ? call['index'] : null
  const index = place ?? places(name !== null || told !== null)
  const id = told ?? (name === null || place !== null ? null : `call_${index}`)
  return {
    index,
    ...(id === null ? {} : { id, type: 'function' as const }),
    ...(called
      ? { function: { ...(name === null ? {} : { name }), arguments: argumentsOf(called['arguments']) } }
      : {}),
  }
}
