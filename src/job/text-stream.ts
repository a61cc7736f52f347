import type { FinishReason } from '../contract/completion.ts'
import type { RateHints } from '../contract/rpc.ts'
import type { Usage } from '../contract/usage.ts'
import { chunksOf, generatedText } from '../core/chunks.ts'
import { LIMITS } from '../limits.ts'
import { faultOf } from '../providers/answers.ts'
import type { ChatCompleted, ChatPiece, StreamDecoder } from '../providers/dialect.ts'
import type { ByteStream } from '../providers/line-http.ts'
import type { Failed } from '../providers/provider.ts'
import { createSseReader } from '../providers/sse.ts'

/** What is known of a stream from its request and the headers of its answer. */
export type StreamAbout = {
  /** Fields of the input that the provider was not told. */
  dropped: string[]
  rate: RateHints
  /** It comes from a cache on the way, and costs nothing. */
  cached: boolean
  startedAtMs: number
  providerRequestId: string | null
}

/**
 * A chat's answer as it comes. `begin` waits for the first text, so that until then another model can still be asked;
 * `next` gives what came since, and null once the stream is over. Nothing is read that nobody asked for: a reader that takes
 * its time slows the provider.
 */
export type ChatStream = StreamAbout & {
  kind: 'streaming'
  /** Null where the model has begun to answer, or the reason why it did not. */
  begin(): Promise<Failed | null>
  next(): Promise<ChatPiece[] | null>
  /** Whether `next` has nothing more: known with the last pieces where the end came with them. */
  readonly isOver: boolean
  /** How it went, once it is over or given up. */
  end(): ChatStreamEnd
  /** Lets the connection go, at once or after its last bytes. Harmless twice. */
  close(): Promise<void>
}

export type ChatStreamEnd = {
  fault: Failed | null
  /** As far as the provider has told. */
  usage: Usage | null
  /** Where `usage` is null: the prompt's part of it, if that was told. */
  promptUsage?: Usage | null | undefined
  /** All that the model wrote: for an estimate where `usage` is null. */
  text: string
  finish: FinishReason | null
  serviceTier: string | null
  /** The provider's id of the answer and name of the model. */
  id: string | null
  model: string | null
  providerMs: number
}

type StreamLimits = { deadlineAtMs: number; name: string }

export const liveStream = (
  bytes: ByteStream,
  decoder: StreamDecoder,
  about: StreamAbout,
  limits: StreamLimits,
  now: () => number,
): ChatStream => new LiveStream(bytes, decoder, about, limits, now)

class LiveStream implements ChatStream {
  readonly kind = 'streaming'
  readonly dropped: string[]
  readonly rate: RateHints
  readonly cached: boolean
  readonly startedAtMs: number
  readonly providerRequestId: string | null
  readonly #bytes: ByteStream
  readonly #decoder: StreamDecoder
  readonly #limits: StreamLimits
  readonly #now: () => number
  readonly #reader = createSseReader()
  /** What came before the first text, and with it. */
  #held: ChatPiece[] | null = null
  #fault: Failed | null = null
  #over = false
  #text = ''
  #endedAtMs: number | null = null

  constructor(bytes: ByteStream, decoder: StreamDecoder, about: StreamAbout, limits: StreamLimits, now: () => number) {
    this.dropped = about.dropped
    this.rate = about.rate
    this.cached = about.cached
    this.startedAtMs = about.startedAtMs
    this.providerRequestId = about.providerRequestId
    this.#bytes = bytes
    this.#decoder = decoder
    this.#limits = limits
    this.#now = now
  }

  async begin(): Promise<Failed | null> {
    const held: ChatPiece[] = []
    this.#expect(LIMITS.firstTextStallMs)
    while (!this.#over && held.length < LIMITS.heldPieces && !held.some(isText)) held.push(...(await this.#read()))
    this.#bytes.watch.rest()
    // A failure in the same bytes as the first text comes before it has been sent: nothing of it need be.
    const fault = this.#over ? this.end().fault : null
    if (fault === null) this.#held = held
    return fault
  }

  async next(): Promise<ChatPiece[] | null> {
    if (this.#held) {
      const held = this.#held
      this.#held = null
      if (held.length > 0) return held
    }
    if (this.#over) return null
    this.#expect(LIMITS.nextTextStallMs)
    while (!this.#over) {
      const pieces = await this.#read()
      if (pieces.length === 0) continue
      this.#bytes.watch.rest()
      return pieces
    }
    return null
  }

  get isOver(): boolean {
    return this.#over && this.#held === null
  }

  end(): ChatStreamEnd {
    const { fault, ...end } = this.#decoder.finish()
    const providerMs = (this.#endedAtMs ?? this.#now()) - this.startedAtMs
    return { ...end, fault: this.#fault ?? fault, text: this.#text, providerMs }
  }

  async close(): Promise<void> {
    if (this.#over && this.#fault === null && this.#decoder.ended) await this.#bytes.finish()
    else this.#bytes.stop()
    this.#stop()
  }

  async #read(): Promise<ChatPiece[]> {
    const bytes = await this.#bytes.read()
    const isLast = bytes === null || bytes === 'broken'
    const pieces: ChatPiece[] = []
    for (const event of isLast ? this.#reader.end() : this.#reader.read(bytes)) {
      for (const piece of this.#decoder.push(event)) {
        // Beyond this an estimate is past caring, and memory is not.
        if (this.#text.length < LIMITS.chatTextCharacters) this.#text += piece.text
        pieces.push(piece)
      }
      if (this.#decoder.ended) break
    }
    if (this.#reader.overflowed)
      this.#fault = faultOf('provider_protocol_error', `${this.#limits.name} sent an event that is too large.`)
    // Broken off behind its end, it is whole all the same.
    if (bytes === 'broken' && this.#decoder.finish().fault !== null) this.#fault ??= this.#whyBroken()
    if (isLast || this.#decoder.ended || this.#fault) this.#stop()
    return pieces
  }

  #stop(): void {
    this.#over = true
    this.#endedAtMs ??= this.#now()
    this.#bytes.watch.rest()
  }

  #expect(stallMs: number): void {
    this.#bytes.watch.expect(Math.max(0, Math.min(stallMs, this.#limits.deadlineAtMs - this.#now())))
  }

  /** Null where the connection broke by itself: the decoder says so. */
  #whyBroken(): Failed | null {
    const { name, deadlineAtMs } = this.#limits
    const cause = this.#bytes.watch.cause()
    if (cause === 'aborted') return faultOf('canceled', 'The call was ended while the answer arrived.')
    if (cause === null) return null
    return this.#now() >= deadlineAtMs
      ? faultOf('deadline_exceeded', 'The call did not end before its deadline.')
      : faultOf('provider_timeout', `${name} stopped in the middle of its answer.`)
  }
}

const isText = ({ text, finish }: ChatPiece): boolean => text !== '' || finish !== null

/** An answer in one piece, to be given as a stream. */
export const wholeStream = (
  { completion, usage, serviceTier }: ChatCompleted,
  about: StreamAbout,
  providerMs: number,
): ChatStream => {
  const text = generatedText(completion)
  let pieces: ChatPiece[] | null = chunksOf(completion).map((chunk) => ({
    json: JSON.stringify(chunk),
    text: '',
    finish: chunk.choices[0]?.finish_reason ?? null,
  }))
  const { id, model, choices } = completion
  const finish = choices[0]?.finish_reason ?? null
  return {
    ...about,
    kind: 'streaming',
    begin: async () => null,
    next: async () => {
      const given = pieces
      pieces = null
      return given
    },
    get isOver() {
      return pieces === null
    },
    end: () => ({ fault: null, usage, text, finish, serviceTier, id, model, providerMs }),
    close: async () => {},
  }
}
