import type { Event } from '../contract/event.ts'
import { type Fault, fault } from '../contract/fault.ts'
import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import type { Status } from '../contract/job.ts'
import type { Assignment, AttemptEnd, AttemptRef } from '../contract/rpc.ts'
import { admit, nextRequestAt, release, slow } from '../core/admission.ts'
import { earliest } from '../core/alarm.ts'
import { pickByWeight } from '../core/credential.ts'
import { laneWithRoom } from '../core/lanes.ts'
import { type JobEvent, type Job as Lifecycle, step } from '../core/lifecycle.ts'
import { type Alternative, FAULT_TABLE } from '../core/outcome.ts'
import { LIMITS } from '../limits.ts'
import { findModel } from '../providers/registry.ts'
import type { AdminStore } from './admin-store.ts'
import type { Ambient } from './ambient.ts'
import type { Books } from './books.ts'
import type { EventStore } from './event-store.ts'
import type { JobRow, JobStore, NewJob, Wishes } from './job-store.ts'

/** What a transaction asks the world to do once it is committed. */
export type Effects = {
  events: { event: Event; project: string | null; requestId: string }[]
  assign: Map<number, Assignment[]>
  stop: Map<number, AttemptRef[]>
}

const noEffects = (): Effects => ({ events: [], assign: new Map(), stop: new Map() })

/**
 * The one place where a job's state changes. It asks the pure core what follows, writes it, mirrors it in the books,
 * and collects what to do after the commit. Every method runs inside the caller's transaction.
 */
export class Scheduler {
  readonly #jobs: JobStore
  readonly #events: EventStore
  readonly #admin: AdminStore
  readonly #books: Books
  readonly #ambient: Ambient
  #effects: Effects = noEffects()

  constructor(jobs: JobStore, events: EventStore, admin: AdminStore, books: Books, ambient: Ambient) {
    this.#jobs = jobs
    this.#events = events
    this.#admin = admin
    this.#books = books
    this.#ambient = ambient
  }

  /** Hands over what the transaction collected, and forgets it. */
  takeEffects(): Effects {
    const effects = this.#effects
    this.#effects = noEffects()
    return effects
  }

  submit(job: NewJob): void {
    this.#jobs.insert(job)
    this.#books.enter(job.provider, job.status)
    this.#tell(job, 'job.queued', {
      status: job.status,
      type: job.type,
      model: job.model,
      project: job.project,
      priority: job.priority,
      not_before: job.due_at_ms === null ? null : new Date(job.due_at_ms).toISOString(),
    })
  }

  /** False where the job had already ended. */
  cancel(row: JobRow): boolean {
    return this.#apply(row, { type: 'cancel' })
  }

  /** An attempt ended. Late news, of an attempt that is no longer the job's, changes nothing. */
  end(ref: AttemptRef, end: AttemptEnd): void {
    const row = this.#jobs.find(ref.job)
    if (row?.status !== 'running' || row.attempt !== ref.attempt) return
    const now = this.#ambient.now()
    this.#jobs.closeAttempt(ref.job, ref.attempt, {
      at: now,
      outcome: end.fault ? attemptCode(end.fault) : 'done',
      providerRequestId: end.providerRequestId,
      costMicros: end.costMicros,
      fault: end.fault,
    })
    this.#jobs.saveResult(row.id, {
      output: end.output ? JSON.stringify(end.output) : null,
      costMicros: this.#costOf(row.id),
      providerMs: end.providerMs,
      storeMs: end.storeMs,
    })
    if (end.fault) this.#apply(row, this.#failed(row, end.fault, end.resume))
    else this.#apply(row, { type: 'done' }, { cost_usd: usd(this.#costOf(row.id)), output: end.output })
  }

  /** The lane of a running attempt knows nothing of it: nobody can say whether the provider was called. */
  lose(ref: AttemptRef): void {
    const row = this.#jobs.find(ref.job)
    if (row?.status !== 'running' || row.attempt !== ref.attempt) return
    const lost = fault(
      'outcome_unknown',
      'The process that ran the attempt ended before it could say what became of it.',
    )
    this.end(ref, {
      output: null,
      fault: lost,
      costMicros: null,
      providerRequestId: null,
      providerMs: 0,
      storeMs: 0,
      resume: row.resume,
    })
  }

  /**
   * One turn: what is due comes back, what is past its deadline ends, and every provider with room gets the best jobs
   * that wait for it. Returns when the actor must wake again if nothing else happens, or null.
   */
  turn(): number | null {
    const now = this.#ambient.now()
    for (const row of this.#jobs.due(now)) this.#apply(row, { type: 'due' })
    for (const row of this.#jobs.overdue(now)) this.#apply(row, { type: 'deadline' })
    let wakeAt = earliest(this.#jobs.nextDue(), this.#jobs.nextDeadline())
    for (const [provider, setup] of this.#books.setups) {
      if (this.#books.live(provider, 'queued') > 0 && setup.rules.enabled)
        wakeAt = earliest(wakeAt, this.#claim(provider, now))
    }
    return wakeAt
  }

  /** Claims until the provider, its queue or the lanes are exhausted; returns when a rate would admit the next. */
  #claim(provider: string, now: number): number | null {
    const setup = this.#books.setups.get(provider)
    const before = this.#books.load(provider)
    if (!setup || before.running >= setup.rules.concurrency) return null
    const waitMs = nextRequestAt(before, setup.rules, now)
    if (waitMs > now) return waitMs
    const room = Math.min(setup.rules.concurrency - before.running, LIMITS.claimsPerTurn)
    let wakeAt: number | null = null
    let claimed = 0
    for (const row of this.#jobs.heads(provider, room)) {
      const admission = admit(this.#books.load(provider), setup.rules, now)
      const lane = admission.admitted ? laneWithRoom(this.#books.lanes) : null
      if (!admission.admitted) wakeAt = admission.untilMs
      if (!admission.admitted || lane === null) break
      this.#books.loads.set(provider, admission.load)
      this.#start(row, lane)
      claimed += 1
    }
    if (claimed > 0) this.#admin.saveLimiter(this.#books.limiter(provider), this.#books.load(provider))
    const full = claimed === LIMITS.claimsPerTurn
    return full ? now : wakeAt
  }

  #start(row: JobRow, lane: number): void {
    const provider = row.provider
    const setup = this.#books.setups.get(provider)
    const credential = pickByWeight(setup?.credentials.filter((item) => item.enabled) ?? [], this.#ambient.random())
    if (!setup || !credential) return
    this.#apply(row, { type: 'claimed' }, {}, lane)
    this.#jobs.openAttempt(row.id, row.attempt + 1, row.model, this.#ambient.now())
    const wishes = wishesOf(row)
    const assignments = this.#effects.assign.get(lane) ?? []
    assignments.push({
      job: row.id,
      attempt: row.attempt + 1,
      type: row.type,
      model: row.model,
      input: row.input,
      baseUrl: setup.baseUrl,
      timeoutMs: setup.timeoutMs,
      credential: {
        identity: this.credentialIdentity(provider, credential.name),
        sealed: { keyId: credential.key_id, iv: credential.iv, ciphertext: credential.ciphertext },
      },
      maxCostMicros: wishes.maxCostMicros,
      deadlineAtMs: row.deadline_at_ms,
      resume: row.resume,
      requestId: row.request_id,
    })
    this.#effects.assign.set(lane, assignments)
  }

  /** What a credential's ciphertext is bound to, so that it opens in no other place. */
  credentialIdentity(provider: string, name: string): string {
    return `${this.#books.limiter(provider)}:credential:${name}`
  }

  #failed(row: JobRow, problem: Fault, resume: string | null): JobEvent {
    const model = findModel(row.model)
    const code = attemptCode(problem)
    const now = this.#ambient.now()
    if (FAULT_TABLE[code].breaker === 'slows') {
      this.#books.loads.set(
        row.provider,
        slow(this.#books.load(row.provider), now, problem.retryAfterMs || LIMITS.backoffBaseMs),
      )
      this.#admin.saveLimiter(this.#books.limiter(row.provider), this.#books.load(row.provider))
    }
    const attempts = this.#jobs.attempts(row.id)
    return {
      type: 'failed',
      fault: problem,
      attempt: {
        code,
        retryAfterMs: problem.retryAfterMs,
        idempotent: model?.card.idempotent ?? false,
        resumable: resume !== null,
      },
      resume,
      earlier: attempts
        .filter((item) => item.model === row.model && item.number < row.attempt)
        .flatMap((item) => (item.outcome && item.outcome !== 'done' ? [item.outcome] : [])),
      alternatives: this.#alternatives(row, new Set(attempts.map((item) => item.model)), now),
      jitter: this.#ambient.random(),
    }
  }

  #alternatives(row: JobRow, tried: Set<string>, now: number): Alternative[] {
    const input = JSON.parse(row.input) as ImageInput
    return wishesOf(row).models.flatMap((name) => {
      const found = findModel(name)
      const setup = found ? this.#books.setups.get(found.provider.id) : undefined
      if (!found || tried.has(name) || !setup?.rules.enabled || found.provider.refuses(found.card.model, input))
        return []
      return [{ model: name, readyAtMs: nextRequestAt(this.#books.load(setup.id), setup.rules, now) }]
    })
  }

  /** The one way in which a job changes. Returns false where the event came too late. */
  #apply(row: JobRow, event: JobEvent, data: { [key: string]: Json } = {}, lane: number | null = null): boolean {
    const next = step(lifecycleOf(row), policyOf(row), event, this.#ambient.now())
    if (!next) return false
    const provider = next.job.model.split('/')[0] ?? row.provider
    if (row.status === 'running') this.#leaveLane(row, event)
    this.#books.leave(row.provider, row.status)
    if (next.job.endedAtMs === null) this.#books.enter(provider, next.job.status)
    if (lane !== null) this.#enterLane(lane)
    this.#jobs.save(row, next.job, provider, lane)
    if (next.emit) this.#tell(row, next.emit.type, { ...next.emit.data, ...data })
    return true
  }

  #enterLane(lane: number): void {
    this.#books.enterLane(lane)
    if (lane < this.#books.lanesOpened) return
    this.#books.lanesOpened = lane + 1
    this.#admin.setMeta('lanes', String(lane + 1))
  }

  #leaveLane(row: JobRow, event: JobEvent): void {
    this.#books.loads.set(row.provider, release(this.#books.load(row.provider)))
    if (row.lane === null) return
    this.#books.leaveLane(row.lane)
    if (event.type !== 'cancel' && event.type !== 'deadline') return
    const outcome = event.type === 'cancel' ? 'canceled' : 'deadline_exceeded'
    this.#jobs.closeAttempt(row.id, row.attempt, {
      at: this.#ambient.now(),
      outcome,
      providerRequestId: null,
      costMicros: null,
      fault: null,
    })
    this.#jobs.saveResult(row.id, { output: null, costMicros: null, providerMs: 0, storeMs: 0 })
    const stops = this.#effects.stop.get(row.lane) ?? []
    stops.push({ job: row.id, attempt: row.attempt })
    this.#effects.stop.set(row.lane, stops)
  }

  #tell(
    job: { id: string; project: string | null; request_id: string },
    type: Event['type'] & `job.${string}`,
    data: { [key: string]: Json },
  ): void {
    if (type === 'job.progress') return
    const event = this.#events.append(++this.#books.seq, job, type, this.#ambient.now(), data)
    this.#effects.events.push({ event, project: job.project, requestId: job.request_id })
  }

  /** Sum over the attempts; unknown as soon as one is, and zero only where nothing was bought. */
  #costOf(job: string): number | null {
    return this.#jobs
      .attempts(job)
      .filter((item) => item.ended_at_ms !== null)
      .reduce<number | null>(
        (sum, item) => (sum === null || item.cost_micros === null ? null : sum + item.cost_micros),
        0,
      )
  }
}

const usd = (micros: number | null): number | null => (micros === null ? null : micros / 1_000_000)

/** A fault that is not an attempt's own would be a bug of an adapter: it is treated as a malformed answer. */
const attemptCode = (problem: Fault): keyof typeof FAULT_TABLE =>
  problem.code in FAULT_TABLE ? (problem.code as keyof typeof FAULT_TABLE) : 'provider_protocol_error'

const wishesOf = (row: JobRow): Wishes => JSON.parse(row.wishes) as Wishes

const policyOf = (row: JobRow) => ({ ...wishesOf(row), deadlineAtMs: row.deadline_at_ms })

const lifecycleOf = (row: JobRow): Lifecycle => ({
  status: row.status satisfies Status,
  dueAtMs: row.due_at_ms,
  model: row.model,
  attempt: row.attempt,
  counted: row.counted,
  resume: row.resume,
  fault: row.fault === null ? null : (JSON.parse(row.fault) as Fault),
  startedAtMs: row.started_at_ms,
  endedAtMs: row.ended_at_ms,
})
