import { type AttemptFaultCode, fault } from '../../../src/contract/fault.ts'
import { isFinal } from '../../../src/contract/job.ts'
import { admit, initialLoad, type Limiter, relax, release, slow, withinReach } from '../../../src/core/admission.ts'
import { type Breaker, initialBreaker, passBreaker, releaseProbe, stepBreaker } from '../../../src/core/breaker.ts'
import { emptyOrder, nextClass, type QueueOrder, restoreTags, serveJob, tagJob } from '../../../src/core/fair-queue.ts'
import { type Job, type JobEvent, type Policy, type Step, step } from '../../../src/core/lifecycle.ts'
import { FAULT_TABLE } from '../../../src/core/outcome.ts'

/** A job with its place in the queue, and everything that happened to it, in true time. */
export type Entry = {
  id: number
  priority: number
  project: string
  tokens: number
  policy: Policy
  models: string[]
  job: Job
  tag: number
  queuedAtMs: number
  told: NonNullable<Step['emit']>[]
  faults: { model: string; code: AttemptFaultCode }[]
}
export type Call = { job: number; attempt: number; provider: string; model: string; tokens: number; at: number }
export type Outcome = { code: AttemptFaultCode | 'done'; resumable: boolean; retryAfterMs?: number | undefined }

const providerOf = (model: string): string => model.slice(0, model.indexOf('/'))

/**
 * The Instance in memory: its decisions are those of the real core, in the order in which the Instance makes them. What is
 * kept over a crash is what the Instance has in its database.
 */
export class History {
  readonly jobs: Entry[] = []
  readonly calls: Call[] = []
  readonly limiters: Map<string, Limiter>
  /** True time; the clock shows `clockOffset` more. */
  trueTime = 1_790_000_000_000
  clockOffset = 0
  readonly #breakers = new Map<string, Breaker>()
  readonly #orders = new Map<string, QueueOrder>()
  /** Called for every call that goes out. */
  readonly #onCall: (call: Call, breaker: Breaker, now: number) => void

  constructor(limiters: Limiter[], onCall: (call: Call, breaker: Breaker, now: number) => void) {
    this.limiters = new Map(limiters.map((limiter) => [limiter.name, limiter]))
    this.#onCall = onCall
  }

  get now(): number {
    return this.trueTime + this.clockOffset
  }

  submit(wish: Pick<Entry, 'priority' | 'project' | 'tokens' | 'models' | 'policy'>, notBeforeMs: number | null): void {
    const job: Job = {
      status: notBeforeMs === null ? 'queued' : 'scheduled',
      dueAtMs: notBeforeMs,
      model: wish.models[0] ?? 'a/1',
      attempt: 0,
      counted: 0,
      resume: null,
      fault: null,
      startedAtMs: null,
      endedAtMs: null,
    }
    const entry: Entry = { ...wish, id: this.jobs.length, job, tag: 0, queuedAtMs: this.now, told: [], faults: [] }
    if (job.status === 'queued') entry.tag = this.#tag(entry, job.model)
    this.jobs.push(entry)
  }

  apply(entry: Entry, event: JobEvent): boolean {
    const next = step(entry.job, entry.policy, event, this.now)
    if (!next) return false
    const before = entry.job
    if (before.status === 'running') this.#leaveRunning(entry, event)
    if ((before.status === 'scheduled' || before.status === 'failed') && next.job.status === 'queued') {
      entry.tag = this.#tag(entry, next.job.model)
      entry.queuedAtMs = this.now
    } else if (providerOf(before.model) !== providerOf(next.job.model) && next.job.status === 'queued') {
      entry.tag = this.#tag(entry, next.job.model)
    }
    entry.job = next.job
    if (next.emit) entry.told.push(next.emit)
    return true
  }

  /** A failed job runs again: another round, with its deadline and its faults begun anew. */
  replay(entry: Entry, lengthMs: number): boolean {
    const model = entry.models[0] ?? entry.job.model
    if (!this.apply(entry, { type: 'replay', model, resume: null })) return false
    entry.policy = { ...entry.policy, deadlineAtMs: this.now + lengthMs }
    entry.faults = []
    return true
  }

  /** Late news, of an attempt that is no longer the job's, changes nothing. */
  end(entry: Entry, attempt: number, outcome: Outcome): void {
    if (entry.job.status !== 'running' || entry.job.attempt !== attempt) return
    this.#learn(entry, outcome)
    if (outcome.code === 'done') {
      this.apply(entry, { type: 'done' })
      return
    }
    const { code } = outcome
    const { model } = entry.job
    const earlier = entry.faults.filter((item) => item.model === model).map((item) => item.code)
    const tried = new Set([model, ...entry.faults.map((item) => item.model)])
    entry.faults.push({ model, code })
    this.apply(entry, {
      type: 'failed',
      fault: fault(code, 'It went wrong.', { source: 'provider' }),
      attempt: {
        code,
        retryAfterMs: outcome.retryAfterMs,
        idempotent: false,
        resumable: outcome.resumable,
        otherCredential: true,
      },
      resume: outcome.resumable ? '{}' : null,
      earlier,
      alternatives: entry.models
        .filter((name) => !tried.has(name))
        .map((name) => ({ model: name, readyAtMs: this.now })),
      jitter: 0.5,
    })
  }

  /** The process dies: what was in memory alone is made anew from what is kept. Attempts go on in their lanes. */
  crash(): void {
    this.#orders.clear()
    for (const limiter of this.limiters.values()) limiter.load = { ...limiter.load, running: 0 }
    for (const entry of this.jobs) {
      const { model, status, dueAtMs } = entry.job
      if (status === 'running') {
        for (const limiter of this.limitersOf(model))
          limiter.load = { ...limiter.load, running: limiter.load.running + 1 }
      }
      if (status !== 'queued' || dueAtMs !== null) continue
      const queue = this.jobs.filter(
        (item) =>
          item.job.status === 'queued' &&
          item.job.dueAtMs === null &&
          providerOf(item.job.model) === providerOf(model) &&
          item.priority === entry.priority &&
          item.project === entry.project,
      )
      const tags = queue.map((item) => item.tag)
      const range = { least: Math.min(...tags), greatest: Math.max(...tags), waiting: queue.length }
      restoreTags(this.#order(providerOf(model)), entry.priority, entry.project, 1, range)
    }
  }

  /** What is due comes back, what is past its deadline ends, every provider with room gets the jobs whose turn it is. */
  turn(): void {
    const { now } = this
    for (const entry of this.jobs) {
      if (entry.job.dueAtMs !== null && entry.job.dueAtMs <= now) this.apply(entry, { type: 'due' })
    }
    for (const entry of this.jobs) if (entry.policy.deadlineAtMs <= now) this.apply(entry, { type: 'deadline' })
    for (const provider of ['a', 'b']) this.#claim(provider, now)
  }

  ready(provider: string): Entry[] {
    return this.jobs.filter(
      ({ job }) => job.status === 'queued' && job.dueAtMs === null && providerOf(job.model) === provider,
    )
  }

  limitersOf(model: string): Limiter[] {
    return [providerOf(model), model].flatMap((name) => this.limiters.get(name) ?? [])
  }

  #claim(provider: string, now: number): void {
    const blocked = new Set<string>()
    for (;;) {
      const waiting = this.ready(provider).filter(({ job }) => !blocked.has(job.model))
      const classes = [...new Set(waiting.map(({ priority }) => priority))].map((priority) => ({
        priority,
        oldestAtMs: Math.min(...waiting.filter((item) => item.priority === priority).map((item) => item.queuedAtMs)),
      }))
      const priority = nextClass(this.#order(provider), classes, now)
      const [head] = waiting.filter((item) => item.priority === priority).sort((a, b) => a.tag - b.tag || a.id - b.id)
      if (!head) return
      const started = this.#start(head, provider, now)
      if (started === 'provider waits') return
      if (started === 'model waits') blocked.add(head.job.model)
      else serveJob(this.#order(provider), head.priority, head.project, head.tag)
    }
  }

  #start(entry: Entry, provider: string, now: number): 'started' | 'provider waits' | 'model waits' {
    const breaker = this.#breakers.get(provider) ?? initialBreaker()
    const passage = passBreaker(breaker, now, `${entry.id}/${entry.job.attempt + 1}`)
    if (!passage.passes) return 'provider waits'
    const limiters = this.limitersOf(entry.job.model)
    for (const limiter of limiters) limiter.load = withinReach(limiter, now)
    const admission = admit(limiters, entry.tokens, now)
    if (!admission.admitted) return admission.limit === provider ? 'provider waits' : 'model waits'
    for (const [i, limiter] of limiters.entries()) limiter.load = admission.loads[i] ?? initialLoad()
    this.#breakers.set(provider, passage.breaker)
    const { model } = entry.job
    if (!this.apply(entry, { type: 'claimed' })) throw new Error('a job that was ready could not be claimed')
    const call = { job: entry.id, attempt: entry.job.attempt, provider, model, tokens: entry.tokens, at: this.trueTime }
    this.calls.push(call)
    this.#onCall(call, breaker, now)
    return 'started'
  }

  #learn(entry: Entry, { code, retryAfterMs }: Outcome): void {
    const { model } = entry.job
    const provider = providerOf(model)
    const meaning = code === 'done' ? 'no' : FAULT_TABLE[code].breaker
    const limiter = this.limiters.get(provider)
    if (limiter && meaning === 'slows') limiter.load = slow(limiter.load, this.now, retryAfterMs ?? 500)
    else if (limiter && code === 'done') limiter.load = relax(limiter.load)
    const breaker = this.#breakers.get(provider) ?? initialBreaker()
    if (meaning === 'counts') this.#breakers.set(provider, stepBreaker(breaker, 'failure', this.now))
    else if (meaning === 'no') this.#breakers.set(provider, stepBreaker(breaker, 'success', this.now))
    else this.#breakers.set(provider, releaseProbe(breaker, callOf(entry)))
  }

  #leaveRunning(entry: Entry, event: JobEvent): void {
    const { job } = entry
    for (const limiter of this.limitersOf(job.model)) limiter.load = release(limiter.load)
    if (event.type !== 'cancel' && event.type !== 'deadline') return
    const breaker = this.#breakers.get(providerOf(job.model))
    if (breaker) this.#breakers.set(providerOf(job.model), releaseProbe(breaker, callOf(entry)))
  }

  #order(provider: string): QueueOrder {
    const order = this.#orders.get(provider) ?? emptyOrder()
    this.#orders.set(provider, order)
    return order
  }

  #tag(entry: Pick<Entry, 'priority' | 'project'>, model: string): number {
    return tagJob(this.#order(providerOf(model)), entry.priority, entry.project, 1)
  }
}

const callOf = ({ id, job }: Entry): string => `${id}/${job.attempt}`

export const unfinished = (history: History): Entry[] => history.jobs.filter(({ job }) => !isFinal(job.status))
