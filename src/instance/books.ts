import type { CredentialLimits } from '../contract/credential.ts'
import { providerIdOf } from '../contract/ids.ts'
import type { InstanceConfig, ProviderLimits } from '../contract/instance.ts'
import type { Status } from '../contract/job.ts'
import type { Route } from '../contract/route.ts'
import {
  initialLoad,
  isSameRates,
  type Limiter,
  type LimiterLoad,
  type LimiterRules,
  release,
  underRules,
} from '../core/admission.ts'
import { type Breaker, initialBreaker } from '../core/breaker.ts'
import { type CredentialUse, initialUse } from '../core/credential-use.ts'
import { emptyOrder, joinLine, leaveLine, type QueueOrder, restoreTags } from '../core/fair-queue.ts'
import { emptyRecord, type TrackRecord } from '../core/track-record.ts'
import { LIMITS } from '../limits.ts'
import type { CountsBy } from '../providers/provider.ts'
import { routedBaseUrl } from '../providers/routes.ts'
import { UPSTREAMS } from '../providers/upstreams.ts'
import type { AdminStore } from './admin-store.ts'
import type { CredentialRow } from './credential-store.ts'
import type { EventStore } from './event-store.ts'
import type { JobStore } from './job-store.ts'
import { ModelPaces, type Pace, type PaceOf } from './model-paces.ts'
import type { PriceBook } from './price-book.ts'
import { QueueCounts, type Queued } from './queue-counts.ts'
import { standInFor } from './stand-in.ts'
import { TokenCharges } from './token-charges.ts'
import { UsageMirror } from './usage.ts'

/** A provider as this instance configured it, defaults filled in. */
export type ProviderSetup = {
  id: string
  enabled: boolean
  /** By the route, if there is one. */
  baseUrl: string
  route: Route | null
  limits: ProviderLimits
  countsBy: CountsBy
  models: Record<string, { limits: ProviderLimits }>
  timeoutMs: number
  credentials: CredentialRow[]
  /** What stands for a credential where calls need none. */
  standIn: CredentialRow | null
  /** Deleted ones that work under way still needs. */
  retired: CredentialRow[]
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
  weights: Record<string, number> = {}
  /** Master keys at hand, the one that seals first: a credential sealed under another cannot be used, and its jobs wait. */
  keyIds: ReadonlySet<string> = new Set()
  readonly prices: PriceBook
  readonly setups = new Map<string, ProviderSetup>()
  readonly breakers = new Map<string, Breaker>()
  readonly records = new Map<string, TrackRecord>()
  readonly uses = new Map<string, CredentialUse>()
  readonly usage = new UsageMirror()
  readonly tokenCharges = new TokenCharges()
  readonly queues = new QueueCounts()
  readonly paces: ModelPaces
  readonly #rules = new Map<string, LimiterRules>()
  /** Of a model, what stands before its calls. */
  readonly #before = new Map<string, { name: string; rules: LimiterRules }[]>()
  readonly #loads = new Map<string, LimiterLoad>()
  readonly #orders = new Map<string, QueueOrder>()
  /** Whose places each running job holds: a credential's, and of its model with it. */
  readonly #held = new Map<string, PaceOf & { credential: string }>()
  /** Per `provider status`, jobs that have not ended. */
  readonly #live = new Map<string, number>()
  readonly #instance: string
  #jobs: JobStore | null = null

  constructor(instance: string, prices: PriceBook) {
    this.#instance = instance
    this.prices = prices
    this.paces = new ModelPaces(this)
  }

  reload(jobs: JobStore, events: EventStore, admin: AdminStore): void {
    this.#jobs = jobs
    jobs.reload()
    events.discard()
    const mirrors = [
      this.#loads,
      this.#held,
      this.#orders,
      this.#live,
      this.breakers,
      this.usage,
      this.tokenCharges,
      this.queues,
      this.paces,
    ]
    for (const mirror of mirrors) mirror.clear()
    this.seq = events.bounds().last
    this.lanesOpened = Number(admin.meta('lanes') ?? 0)
    this.applyConfig((JSON.parse(admin.meta('instance') ?? '{}') as { config?: InstanceConfig }).config ?? {})
    this.prices.reload()
    this.#configure(admin)
    for (const [name, load] of admin.limiters()) {
      this.#loads.set(name, { ...load, running: 0 })
      this.paces.restore(name)
    }
    for (const [name, breaker] of admin.breakers()) this.breakers.set(name, breaker)
    for (const [model, record] of admin.trackRecords()) this.records.set(model, record)
    // What was counted since it was written is newer; only a new process has nothing.
    if (this.uses.size === 0) for (const [name, use] of admin.credentials.uses()) this.uses.set(name, use)
    for (const row of jobs.census.liveCounts()) this.#live.set(`${row.provider} ${row.status}`, row.count)
    for (const row of jobs.census.readyCounts())
      this.queues.enter({ ...row, queued_at_ms: row.minute * MINUTE_MS }, row.count)
    for (const { provider, priority, project, ...tags } of jobs.census.tagRanges()) {
      restoreTags(this.order(provider), priority, project ?? '', this.weightOf(project), tags)
    }
    this.lanes = []
    for (const row of jobs.running()) {
      if (row.lane !== null) this.enterLane(row.lane)
      for (const limiter of this.limiters(row.model))
        this.setLoad(limiter.name, { ...limiter.load, running: limiter.load.running + 1 })
      const held = { provider: providerIdOf(row.model), model: row.model, credential: row.credential }
      for (const { name, load } of this.placesOf(held)) this.setLoad(name, { ...load, running: load.running + 1 })
      this.holdCredential(row.id, held)
    }
  }

  applyConfig(config: InstanceConfig): void {
    this.weights = config.project_weights ?? {}
    this.prices.allowUnverified = config.prices?.allow_unverified ?? false
  }

  /** Reads providers and credentials anew: after every change of them. */
  configure(admin: AdminStore): void {
    this.#configure(admin)
    // A model's limiter may be new, or may not have been there when a job of it ended.
    const running = new Map<string, number>()
    for (const { model } of this.#jobs?.running() ?? []) running.set(model, (running.get(model) ?? 0) + 1)
    for (const { id, models } of this.setups.values()) {
      for (const model of Object.keys(models)) {
        const name = this.modelLimiter(id, model)
        this.setLoad(name, { ...this.load(name), running: running.get(`${id}/${model}`) ?? 0 })
      }
    }
  }

  /** The same after an operator's change: what stands in a bucket is measured by the rate that holds from now on. */
  reconfigure(admin: AdminStore, now: number): void {
    const before = this.#allRules()
    this.configure(admin)
    const after = this.#allRules()
    for (const name of new Set([...before.keys(), ...after.keys()])) {
      const [old, rules] = [before.get(name) ?? NO_RULES, after.get(name) ?? NO_RULES]
      if (!after.has(name) && this.load(name).running === 0) {
        this.#forgetLimiter(name)
        admin.deleteLimiter(name)
        continue
      }
      if (isSameRates(old, rules)) continue
      const load = underRules(this.load(name), old, rules, now)
      this.setLoad(name, load)
      admin.saveLimiter(name, load)
      // They were counted by the old measure.
      this.tokenCharges.forgetLimiter(name)
    }
  }

  #allRules(): Map<string, LimiterRules> {
    return new Map([...this.#rules, ...this.paces.rules()])
  }

  #configure(admin: AdminStore): void {
    const rows = new Map(admin.providers().map((row) => [row.id, row]))
    const credentials = admin.credentials.all()
    this.setups.clear()
    this.#rules.clear()
    this.#before.clear()
    for (const upstream of UPSTREAMS) {
      const { id, defaultBaseUrl, defaultLimits, countsBy } = upstream
      const row = rows.get(id)
      const limits: ProviderLimits = {
        concurrency: defaultLimits.concurrency,
        requests_per_minute: defaultLimits.requestsPerMinute ?? null,
        requests_per_day: defaultLimits.requestsPerDay ?? null,
        tokens_per_minute: defaultLimits.tokensPerMinute ?? null,
        ...row?.limits,
      }
      const models = row?.models ?? {}
      const route = row?.route ?? null
      this.setups.set(id, {
        id,
        enabled: row?.enabled ?? true,
        baseUrl: routedBaseUrl(route, id, row?.base_url ?? defaultBaseUrl),
        route,
        limits,
        countsBy,
        models,
        timeoutMs: row?.timeout_ms ?? LIMITS.providerTimeoutMs,
        credentials: credentials.filter((item) => item.provider === id && item.retired_at_ms === null),
        standIn: standInFor(upstream, { route, keyless: row?.keyless ?? false }),
        retired: credentials.filter((item) => item.provider === id && item.retired_at_ms !== null),
      })
      this.#rules.set(this.limiter(id), rulesOf(limits))
      for (const [model, { limits }] of Object.entries(models))
        this.#rules.set(this.modelLimiter(id, model), rulesOf(limits))
    }
    for (const row of credentials) this.#rules.set(this.credentialName(row.provider, row.name), rulesOf(row.limits))
    this.paces.configure()
  }

  // ------------------------------------------------------------------------------------- limiters and breakers

  /** The name under which a provider's limits are kept and shown. */
  limiter(provider: string): string {
    return `instance:${this.#instance}:provider:${provider}`
  }

  modelLimiter(provider: string, model: string): string {
    return `${this.limiter(provider)}:model:${model}`
  }

  credentialName(provider: string, name: string): string {
    return `${this.limiter(provider)}:credential:${name}`
  }

  /** What stands before a call of `provider/model`: the provider's limiter, then those of the model where it has any. */
  limiters(name: string): Limiter[] {
    const limiters = this.configured(name)
    const pace = this.paces.find(name, null)
    if (pace) limiters.push(pace)
    return limiters
  }

  /** Without what was learned. */
  configured(name: string): Limiter[] {
    const before = this.#before.get(name) ?? this.#rulesBefore(name)
    return before.map(({ name, rules }) => ({ name, rules, load: this.load(name) }))
  }

  /** Asked for several times for every job, so the names are put together once. */
  #rulesBefore(name: string): { name: string; rules: LimiterRules }[] {
    const slash = name.indexOf('/')
    const provider = name.slice(0, slash)
    const limiters = [this.limiter(provider), this.modelLimiter(provider, name.slice(slash + 1))]
    const before = limiters.flatMap((limiter) => {
      const rules = this.#rules.get(limiter)
      return rules ? [{ name: limiter, rules }] : []
    })
    // Servers of one's own have models of any name.
    if (this.#before.size >= LIMITS.modelsRemembered) this.#before.clear()
    this.#before.set(name, before)
    return before
  }

  /** What stands before a call with one credential: its own limits, none where the operator set none. */
  credentialLimiter(provider: string, name: string): Limiter {
    const limiter = this.credentialName(provider, name)
    return {
      name: limiter,
      rules: this.#rules.get(limiter) ?? NO_RULES,
      load: this.load(limiter),
    }
  }

  /** The place is taken with the claim. */
  holdCredential(job: string, of: PaceOf & { credential: string }): void {
    this.#held.set(job, of)
  }

  leaveCredential(job: string): void {
    const held = this.#held.get(job)
    if (held === undefined) return
    this.#held.delete(job)
    for (const { name, load } of this.placesOf(held)) this.setLoad(name, release(load))
  }

  /** What stands before a call of a model with one credential, beside what stands before all calls of the model. */
  placesOf({ provider, model, credential }: PaceOf & { credential: string }): Limiter[] {
    const pace = this.paces.find(model, credential)
    return [this.credentialLimiter(provider, credential), ...(pace ? [pace] : [])]
  }

  /** Whether what the provider says of its limits concerns one model. */
  countsByModel(provider: string): boolean {
    return this.setups.get(provider)?.countsBy === 'model'
  }

  /** A model has been narrowed by itself, or is otherwise than before. Answers its load as it is kept. */
  keepPace(pace: Pace, load: LimiterLoad): LimiterLoad {
    const { model, credential } = pace.of
    const isOf = (held: PaceOf) => held.model === model && (credential === null || held.credential === credential)
    return this.paces.keep(pace, load, () => [...this.#held.values()].filter(isOf).length)
  }

  dropPace(name: string): void {
    this.paces.drop(name)
    this.#forgetLimiter(name)
  }

  #forgetLimiter(name: string): void {
    this.#loads.delete(name)
    this.tokenCharges.forgetLimiter(name)
  }

  load(limiter: string): LimiterLoad {
    return this.#loads.get(limiter) ?? initialLoad()
  }

  use(credential: string): CredentialUse {
    return this.uses.get(credential) ?? initialUse()
  }

  /** A credential that is gone for good. */
  forgetCredential(name: string): void {
    this.#forgetLimiter(name)
    this.breakers.delete(name)
    this.uses.delete(name)
  }

  setLoad(limiter: string, load: LimiterLoad): void {
    this.#loads.set(limiter, load)
  }

  breaker(name: string): Breaker {
    return this.breakers.get(name) ?? initialBreaker()
  }

  record(model: string): TrackRecord {
    return this.records.get(model) ?? emptyRecord()
  }

  // ------------------------------------------------------------------------------------------------ the queue

  order(provider: string): QueueOrder {
    const order = this.#orders.get(provider) ?? emptyOrder()
    this.#orders.set(provider, order)
    return order
  }

  /** A job could start from now on: `job` is as it will be written. */
  joinQueue(job: Queued & { project: string | null }): void {
    this.queues.enter(job)
    joinLine(this.order(job.provider), job.priority, job.project ?? '')
  }

  /** It could not any more; `hadTurn` where it has started. */
  leaveQueue(job: Queued & { project: string | null }, hadTurn: boolean): void {
    this.queues.leave(job)
    leaveLine(this.order(job.provider), job.priority, job.project ?? '', hadTurn)
  }

  weightOf(project: string | null): number {
    return (project !== null && Object.hasOwn(this.weights, project) && this.weights[project]) || 1
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

  // ---------------------------------------------------------------------------------------------------- lanes

  enterLane(lane: number): void {
    while (this.lanes.length <= lane) this.lanes.push(0)
    this.lanes[lane] = (this.lanes[lane] ?? 0) + 1
  }

  leaveLane(lane: number): void {
    this.lanes[lane] = Math.max(0, (this.lanes[lane] ?? 0) - 1)
  }
}

const NO_RULES: LimiterRules = { concurrency: null, rates: [] }
const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * 60 * 1000

const rulesOf = (limits: ProviderLimits | CredentialLimits): LimiterRules => {
  const rates: LimiterRules['rates'] = []
  if (limits.requests_per_minute)
    rates.push({ id: 'per_minute', limit: limits.requests_per_minute, windowMs: MINUTE_MS })
  if (limits.requests_per_day) rates.push({ id: 'per_day', limit: limits.requests_per_day, windowMs: DAY_MS })
  if (limits.tokens_per_minute)
    rates.push({ id: 'tokens_per_minute', limit: limits.tokens_per_minute, windowMs: MINUTE_MS })
  return { concurrency: limits.concurrency ?? null, rates }
}
