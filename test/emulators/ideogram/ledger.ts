import type { Faults } from './faults.ts'
import type { Size } from './models.ts'

export type GenerationStatus = 'pending' | 'completed' | 'failed'

/** What a test may ask about one accepted generation. Times are Unix milliseconds on the emulator's clock. */
export interface GenerationRecord {
  id: string
  api: 'v1' | 'v2'
  model: string
  /** As it was sent, directives included. */
  prompt: string
  seed: number
  images: number
  async: boolean
  acceptedAt: number
  completedAt: number | null
  status: GenerationStatus
  /** Charged at acceptance; 0 after an asynchronous failure. */
  costUsdMicros: number
  /** A well-formed acceptance answer was handed to the client's connection in full. */
  responded: boolean
  /** The connection closed before an answer was handed to it in full. */
  closedUnanswered: boolean
  polls: number
  downloads: number
  webhooksDelivered: number
  webhooksFailed: number
}

export interface IdeogramStats {
  /** Requests to the provider's own paths. */
  requests: number
  /** Generations accepted, which is to say billed. */
  accepted: number
  completed: number
  failed: number
  billed_usd_micros: number
  quotes: number
  /** Generations running now, over all keys. */
  inflight: number
  /** Most generations that one key ever had running. */
  peakInflight: number
  /** As `peakInflight`, counting the request that was turned away for being too many. */
  maxInflight: number
  rejectedInflight: number
  /** Generate requests turned away, by HTTP status; `cut` counts connections cut before acceptance. */
  rejected: Record<string, number>
  polls: number
  downloads: number
  /** How often each directive took part in a request. */
  faults: Record<string, number>
  /** Requests let in, by key. */
  perKey: Record<string, number>
  /** Oldest first; the oldest are dropped above 20,000 and the totals keep counting them. */
  generations: GenerationRecord[]
}

export interface Image {
  id: string
  seed: number
  generation: Generation
  downloads: number
}

export interface Generation {
  record: GenerationRecord
  apiKey: string
  /** The prompt without its directives. */
  text: string
  size: Size
  transparent: boolean
  styleType: string | null
  webhookUrl: string | null
  faults: Faults
  images: Image[]
  failureReason: string | null
  /** Unix seconds, set at completion. */
  urlsExpireAt: number
}

interface Account {
  inflight: number
}

export const maxGenerations = 20_000

/** Remembers what was accepted and what it cost, in bounded room. */
export class Ledger {
  readonly generations = new Map<string, Generation>()
  readonly images = new Map<string, Image>()
  readonly promptsSeen = new Set<string>()
  readonly totals: Omit<IdeogramStats, 'generations' | 'inflight'> = {
    requests: 0,
    accepted: 0,
    completed: 0,
    failed: 0,
    billed_usd_micros: 0,
    quotes: 0,
    peakInflight: 0,
    maxInflight: 0,
    rejectedInflight: 0,
    rejected: {},
    polls: 0,
    downloads: 0,
    faults: {},
    perKey: {},
  }
  readonly #accounts = new Map<string, Account>()

  /** Takes one of the key's places, or returns undefined when all are taken. Call the result once to give it back. */
  enter(apiKey: string, limit: number): (() => void) | undefined {
    const account = this.#accounts.get(apiKey) ?? { inflight: 0 }
    this.#accounts.set(apiKey, account)
    this.totals.maxInflight = Math.max(this.totals.maxInflight, account.inflight + 1)
    if (account.inflight >= limit) {
      this.totals.rejectedInflight += 1
      return undefined
    }
    account.inflight += 1
    this.totals.peakInflight = Math.max(this.totals.peakInflight, account.inflight)
    return () => {
      account.inflight -= 1
      if (account.inflight === 0 && this.#accounts.get(apiKey) === account) this.#accounts.delete(apiKey)
    }
  }

  accept(generation: Generation): void {
    this.totals.accepted += 1
    this.totals.billed_usd_micros += generation.record.costUsdMicros
    this.generations.set(generation.record.id, generation)
    for (const image of generation.images) this.images.set(image.id, image)
    if (this.generations.size <= maxGenerations) return
    const [oldestId, oldest] = this.generations.entries().next().value as [string, Generation]
    this.generations.delete(oldestId)
    for (const image of oldest.images) this.images.delete(image.id)
  }

  settle(generation: Generation, now: number): void {
    const { record } = generation
    record.completedAt = now
    record.status = generation.failureReason === null ? 'completed' : 'failed'
    if (record.status === 'completed') {
      this.totals.completed += 1
      return
    }
    this.totals.failed += 1
    this.totals.billed_usd_micros -= record.costUsdMicros
    record.costUsdMicros = 0
  }

  countRejected(status: number | 'cut'): void {
    this.totals.rejected[status] = (this.totals.rejected[status] ?? 0) + 1
  }

  countKey(apiKey: string): void {
    this.totals.perKey[apiKey] = (this.totals.perKey[apiKey] ?? 0) + 1
  }

  countFaults(faults: Faults): void {
    for (const name of faults.keys()) this.totals.faults[name] = (this.totals.faults[name] ?? 0) + 1
  }

  /** Whether this prompt is new; the oldest are forgotten above the bound on generations. */
  isFirstSight(prompt: string): boolean {
    if (this.promptsSeen.has(prompt)) return false
    if (this.promptsSeen.size >= maxGenerations) this.promptsSeen.delete(this.promptsSeen.keys().next().value as string)
    this.promptsSeen.add(prompt)
    return true
  }

  /** A copy, with at most the newest `limit` generations. */
  stats(limit = maxGenerations): IdeogramStats {
    const kept = limit === 0 ? [] : [...this.generations.values()].slice(-limit)
    let inflight = 0
    for (const account of this.#accounts.values()) inflight += account.inflight
    const { rejected, faults, perKey, ...totals } = this.totals
    return {
      ...totals,
      inflight,
      rejected: { ...rejected },
      faults: { ...faults },
      perKey: { ...perKey },
      generations: kept.map((generation) => ({ ...generation.record })),
    }
  }
}
