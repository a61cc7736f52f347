import type { Directives } from './directives.ts'

export type Kind = 'generate' | 'embed'

/** Tokens as the provider counts them: thoughts stand beside the candidates', the images' are parts of the others. */
export interface Tokens {
  prompt: number
  cached: number
  toolUse: number
  candidates: number
  thoughts: number
  imageIn: number
  imageOut: number
}

/** What a test may ask about one accepted call. Times are Unix milliseconds on the emulator's clock. */
export interface CallRecord {
  id: string
  kind: Kind
  model: string
  apiVersion: string
  apiKey: string
  stream: boolean
  at: number
  endedAt: number | null
  /** What was generated until the answer ended, was cut, or the client left. */
  tokens: Tokens
  images: number
  events: number
  /** The whole answer was handed to the client's connection. */
  answered: boolean
  /** The client closed the connection first. */
  clientLeft: boolean
  /** Whether the client was told the usage of the whole. */
  usageTold: boolean
}

export interface GeminiStats {
  /** Requests to the provider's own paths. */
  requests: number
  /** Calls accepted, which is to say billed. */
  accepted: number
  tokens: Tokens
  images: number
  inflight: number
  peakInflight: number
  /** Calls turned away, by HTTP status; `cut` counts connections cut before acceptance, `blocked` prompts. */
  rejected: Record<string, number>
  /** How often each directive took part in a call. */
  directives: Record<string, number>
  clientsLeft: number
  /** Oldest first; the oldest are dropped above 20,000 and the totals keep counting them. */
  calls: CallRecord[]
}

export const maxCalls = 20_000

const noTokens = (): Tokens => ({
  prompt: 0,
  cached: 0,
  toolUse: 0,
  candidates: 0,
  thoughts: 0,
  imageIn: 0,
  imageOut: 0,
})

/** Remembers what was accepted and what of it was generated, in bounded room. */
export class Ledger {
  readonly #calls: CallRecord[] = []
  readonly #seen = new Set<string>()
  readonly #totals = {
    requests: 0,
    accepted: 0,
    tokens: noTokens(),
    images: 0,
    inflight: 0,
    peakInflight: 0,
    rejected: {} as Record<string, number>,
    directives: {} as Record<string, number>,
    clientsLeft: 0,
  }

  countRequest(): void {
    this.#totals.requests += 1
  }

  accept(call: Pick<CallRecord, 'id' | 'kind' | 'model' | 'apiVersion' | 'apiKey' | 'stream' | 'at'>): CallRecord {
    const record: CallRecord = {
      ...call,
      endedAt: null,
      tokens: noTokens(),
      images: 0,
      events: 0,
      answered: false,
      clientLeft: false,
      usageTold: false,
    }
    this.#totals.accepted += 1
    this.#totals.inflight += 1
    this.#totals.peakInflight = Math.max(this.#totals.peakInflight, this.#totals.inflight)
    this.#calls.push(record)
    if (this.#calls.length > maxCalls) this.#calls.splice(0, maxCalls / 10)
    return record
  }

  /** A prompt that was blocked: looked at, but nothing was made for it, and nothing is billed. */
  takeBack(record: CallRecord, now: number): void {
    record.endedAt = now
    this.#calls.splice(this.#calls.indexOf(record), 1)
    this.#totals.accepted -= 1
    this.#totals.inflight -= 1
    this.countRejected('blocked')
  }

  settle(record: CallRecord, now: number, ending: 'answered' | 'left' | 'cut'): void {
    if (record.endedAt !== null) return
    record.endedAt = now
    record.answered = ending === 'answered'
    record.clientLeft = ending === 'left'
    this.#totals.inflight -= 1
    this.#totals.images += record.images
    if (ending === 'left') this.#totals.clientsLeft += 1
    for (const kind of Object.keys(record.tokens) as (keyof Tokens)[]) {
      this.#totals.tokens[kind] += record.tokens[kind]
    }
  }

  countRejected(status: number | 'cut' | 'blocked'): void {
    this.#totals.rejected[status] = (this.#totals.rejected[status] ?? 0) + 1
  }

  countDirectives(directives: Directives): void {
    for (const name of directives.keys()) this.#totals.directives[name] = (this.#totals.directives[name] ?? 0) + 1
  }

  /** Whether this prompt is new; all are forgotten above the bound. */
  isFirstSight(prompt: string): boolean {
    if (this.#seen.has(prompt)) return false
    if (this.#seen.size >= maxCalls) this.#seen.clear()
    this.#seen.add(prompt)
    return true
  }

  /** A copy, with at most the newest `limit` calls. */
  stats(limit = maxCalls): GeminiStats {
    const { tokens, rejected, directives, ...totals } = this.#totals
    const kept = limit === 0 ? [] : this.#calls.slice(-limit)
    return {
      ...totals,
      tokens: { ...tokens },
      rejected: { ...rejected },
      directives: { ...directives },
      calls: kept.map((call) => ({ ...call, tokens: { ...call.tokens } })),
    }
  }
}
