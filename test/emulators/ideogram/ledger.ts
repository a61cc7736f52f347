import { type Handed, keep, maxJobs } from '../base/jobs/ledger.ts'
import { count, newest, Sights } from '../base/tally.ts'
import type { Faults } from './faults.ts'
import type { Size } from './models.ts'

export type GenerationStatus = 'pending' | 'completed' | 'failed'

/** What a test may ask about one accepted generation. Times are Unix milliseconds on the emulator's clock. */
export interface GenerationRecord extends Handed {
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

/** Remembers what was accepted and what it cost, in bounded room. */
export class Ledger {
  readonly generations = new Map<string, Generation>()
  readonly images = new Map<string, Image>()
  readonly sights = new Sights(maxJobs)
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
    keep(this.generations, this.images, generation, ({ images }) => images)
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
    count(this.totals.rejected, status)
  }

  countKey(apiKey: string): void {
    count(this.totals.perKey, apiKey)
  }

  countFaults(faults: Faults): void {
    for (const name of faults.keys()) count(this.totals.faults, name)
  }

  /** A copy, with at most the newest `limit` generations. */
  stats(limit = maxJobs): IdeogramStats {
    let inflight = 0
    for (const account of this.#accounts.values()) inflight += account.inflight
    const { rejected, faults, perKey, ...totals } = this.totals
    return {
      ...totals,
      inflight,
      rejected: { ...rejected },
      faults: { ...faults },
      perKey: { ...perKey },
      generations: newest([...this.generations.values()], limit).map(({ record }) => ({ ...record })),
    }
  }
}
