import type { ProviderLimits } from '../contract/instance.ts'
import type { Status } from '../contract/job.ts'
import { initialLoad, type ProviderLoad, type ProviderRules } from '../core/admission.ts'
import type { Rate } from '../core/token-bucket.ts'
import { LIMITS } from '../limits.ts'
import { PROVIDERS } from '../providers/registry.ts'
import type { AdminStore, CredentialRow } from './admin-store.ts'
import type { EventStore } from './event-store.ts'
import type { JobStore } from './job-store.ts'

/** A provider as this instance configured it, defaults filled in. */
export type ProviderSetup = {
  id: string
  enabled: boolean
  baseUrl: string
  limits: ProviderLimits
  timeoutMs: number
  credentials: CredentialRow[]
  rules: ProviderRules
}

/**
 * What the actor keeps in memory so that a turn reads little: a mirror of the database, made from it at the start and
 * after a transaction that was rolled back. It decides nothing.
 */
export class Books {
  /** Number of the last durable event. */
  seq = 0
  /** What each lane runs: `lanes[n]` attempts in lane n. */
  lanes: number[] = []
  /** Lanes that were ever opened: what a deletion has to visit. */
  lanesOpened = 0
  readonly setups = new Map<string, ProviderSetup>()
  readonly loads = new Map<string, ProviderLoad>()
  /** Per provider and status, jobs that have not ended. */
  readonly #live = new Map<string, number>()
  readonly #instance: string

  constructor(instance: string) {
    this.#instance = instance
  }

  reload(jobs: JobStore, events: EventStore, admin: AdminStore): void {
    this.seq = events.bounds().last
    this.configure(admin)
    this.loads.clear()
    const limiters = admin.limiters()
    for (const provider of PROVIDERS)
      this.loads.set(provider.id, limiters.get(this.limiter(provider.id)) ?? initialLoad())
    this.#live.clear()
    for (const row of jobs.liveCounts()) this.#live.set(`${row.provider} ${row.status}`, row.count)
    this.lanesOpened = Number(admin.meta('lanes') ?? 0)
    this.lanes = []
    for (const row of jobs.running()) {
      this.enterLane(row.lane)
      const load = this.load(row.provider)
      this.loads.set(row.provider, { ...load, running: load.running + 1 })
    }
  }

  /** Reads providers and credentials anew: after every change of them. */
  configure(admin: AdminStore): void {
    const rows = new Map(admin.providers().map((row) => [row.id, row]))
    const credentials = admin.credentials()
    this.setups.clear()
    for (const provider of PROVIDERS) {
      const row = rows.get(provider.id)
      const usable = credentials.filter((item) => item.provider === provider.id)
      const limits: ProviderLimits = {
        concurrency: provider.defaultLimits.concurrency,
        requests_per_minute: provider.defaultLimits.requestsPerMinute ?? null,
        requests_per_day: provider.defaultLimits.requestsPerDay ?? null,
        tokens_per_minute: provider.defaultLimits.tokensPerMinute ?? null,
        ...row?.limits,
      }
      const enabled = row?.enabled ?? true
      this.setups.set(provider.id, {
        id: provider.id,
        enabled,
        baseUrl: row?.base_url ?? provider.defaultBaseUrl,
        limits,
        timeoutMs: row?.timeout_ms ?? LIMITS.providerTimeoutMs,
        credentials: usable,
        rules: {
          enabled: enabled && usable.some((item) => item.enabled && item.weight > 0),
          concurrency: limits.concurrency ?? LIMITS.concurrencyDefault,
          rates: ratesOf(limits),
        },
      })
    }
  }

  /** The name under which a provider's limits are kept and shown. */
  limiter(provider: string): string {
    return `instance:${this.#instance}:provider:${provider}`
  }

  load(provider: string): ProviderLoad {
    return this.loads.get(provider) ?? initialLoad()
  }

  live(provider: string, status: Status): number {
    return this.#live.get(`${provider} ${status}`) ?? 0
  }

  /** Jobs that wait, over all providers. */
  waiting(): number {
    let sum = 0
    for (const [key, count] of this.#live) if (!key.endsWith(' running')) sum += count
    return sum
  }

  enter(provider: string, status: Status): void {
    this.#live.set(`${provider} ${status}`, this.live(provider, status) + 1)
  }

  leave(provider: string, status: Status): void {
    this.#live.set(`${provider} ${status}`, Math.max(0, this.live(provider, status) - 1))
  }

  enterLane(lane: number): void {
    while (this.lanes.length <= lane) this.lanes.push(0)
    this.lanes[lane] = (this.lanes[lane] ?? 0) + 1
  }

  leaveLane(lane: number): void {
    this.lanes[lane] = Math.max(0, (this.lanes[lane] ?? 0) - 1)
  }
}

/** Rates in a fixed order, absent ones as a rate that never binds: the buckets are stored by position. */
const ratesOf = (limits: ProviderLimits): Rate[] => [
  { limit: limits.requests_per_minute ?? LIMITS.requestsPerMinuteMax * 60, windowMs: 60_000 },
  { limit: limits.requests_per_day ?? LIMITS.requestsPerDayMax * 1_000, windowMs: 24 * 60 * 60 * 1000 },
]
