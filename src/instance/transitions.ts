import type { DurableEvent, Event } from '../contract/event.ts'
import type { Fault } from '../contract/fault.ts'
import type { Json } from '../contract/fields.ts'
import type { Opening } from '../contract/foreground-rpc.ts'
import { providerIdOf } from '../contract/ids.ts'
import { type Assignment, type AttemptRef, refText } from '../contract/rpc.ts'
import { release } from '../core/admission.ts'
import { releaseProbe } from '../core/breaker.ts'
import { tagJob } from '../core/fair-queue.ts'
import { type JobEvent, type Job as Lifecycle, type Step, step } from '../core/lifecycle.ts'
import { LIMITS } from '../limits.ts'
import type { Refusal } from './accounts.ts'
import { tallyBatch } from './batch-tally.ts'
import type { Desk } from './desk.ts'
import type { JobRow, MoneyOfRow, NewJob, SetAside } from './job-rows.ts'
import { wishesOf } from './wishes.ts'

/** What a transaction asks the world to do once it is committed. */
export type Effects = {
  events: { event: Event; project: string | null; requestId: string }[]
  assign: Map<number, Assignment[]>
  stop: Map<number, AttemptRef[]>
  /** Attempts that the Worker of a waiting client drives. */
  open: Opening[]
  /** Jobs whose attempt on the line is over. */
  left: string[]
}

const noEffects = (): Effects => ({
  events: [],
  assign: new Map(),
  stop: new Map(),
  open: [],
  left: [],
})

/**
 * The one place where a job's state changes. It asks the lifecycle what follows, writes it, mirrors it in the books, and
 * collects what to do after the commit. Every method runs inside the caller's transaction.
 */
export class Transitions {
  readonly #desk: Desk
  #effects: Effects = noEffects()

  constructor(desk: Desk) {
    this.#desk = desk
  }

  /** Hands over what the transaction collected, and forgets it. */
  takeEffects(): Effects {
    const effects = this.#effects
    this.#effects = noEffects()
    return effects
  }

  insert(job: NewJob, money: MoneyOfRow): void {
    const { jobs, books, ambient } = this.#desk
    const waits = money.budget_scope !== null
    const isReady = job.status === 'queued' && !waits
    const untilMs = ambient.now() + LIMITS.budgetWaitMs
    jobs.insert({ ...job, tag: isReady ? this.#tag(job) : 0, ...(waits ? { due_at_ms: untilMs } : {}) }, money)
    if (waits) jobs.saveDeadline(job.id, untilMs, job.deadline_at_ms - ambient.now())
    books.enter(job.provider, job.status)
    if (isReady) books.joinQueue(job)
    this.#tell(job, 'job.queued', {
      status: job.status,
      type: job.type,
      model: job.model,
      project: job.project,
      priority: job.priority,
      not_before: job.due_at_ms === null ? null : new Date(job.due_at_ms).toISOString(),
      ...(waits ? { waiting_for: 'budget' } : {}),
    })
  }

  /**
   * False where the event came too late or out of turn, and nothing changed. `data` is told beside what the event says.
   * `costMicros` is of the attempt that the event ends, null where nobody knows; then `presumedMicros` may say what it is at most.
   */
  apply(
    row: JobRow,
    event: JobEvent,
    data: { [key: string]: Json } = {},
    lane: number | null = null,
    costMicros: number | null = null,
    presumedMicros: number | null = null,
  ): boolean {
    const { accounts, ambient } = this.#desk
    const now = ambient.now()
    const next = step(lifecycleOf(row), policyOf(row), event, now)
    if (!next) return false
    // Another model may be dearer; the job then stays with its own.
    if (event.type === 'rerouted' && accounts.mayHold(row, next.job.model, now)) return false
    const { money, refusal } = accounts.follow(row, next.job, costMicros, now, presumedMicros)
    if (refusal) this.#turnAway(row, event, { next, money, refusal }, now)
    else this.#write(row, event, next, money, { data, lane, now })
    return true
  }

  /** Whether the budgets let a waiting job begin. Where they do not, it ends or waits for them, and has left the queue. */
  mayStart(row: JobRow): boolean {
    const { accounts, ambient } = this.#desk
    const now = ambient.now()
    const refusal = accounts.mayStart(row, now)
    if (!refusal) return true
    const event: JobEvent =
      refusal.waitsFor === null
        ? { type: 'refused', fault: refusal.fault }
        : { type: 'postponed', dueAtMs: now + LIMITS.budgetWaitMs }
    const next = step(lifecycleOf(row), policyOf(row), event, now)
    if (!next) return false
    const money =
      refusal.waitsFor === null
        ? accounts.follow(row, next.job, null, now).money
        : accounts.setAside(row, refusal.waitsFor)
    this.#write(row, event, next, money, { data: {}, lane: null, now })
    return false
  }

  /** The budgets have no room for the next attempt: the job ends, or goes on when they have. */
  #turnAway(
    row: JobRow,
    event: JobEvent,
    { next, money, refusal }: { next: Step; money: MoneyOfRow; refusal: Refusal },
    now: number,
  ): void {
    const about = { data: {}, lane: null, now }
    if (refusal.waitsFor !== null) {
      const job = { ...next.job, dueAtMs: row.budget_scope === null ? now + LIMITS.budgetWaitMs : row.due_at_ms }
      this.#write(row, event, { ...next, job }, { ...money, budget_scope: refusal.waitsFor }, about)
      return
    }
    const ended = step(lifecycleOf(row), policyOf(row), { type: 'refused', fault: refusal.fault }, now)
    if (ended) this.#write(row, event, ended, money, about)
  }

  #write(
    row: JobRow,
    event: JobEvent,
    next: Step,
    money: MoneyOfRow,
    { data, lane, now }: { data: { [key: string]: Json }; lane: number | null; now: number },
  ): void {
    const { jobs, books } = this.#desk
    if (row.status === 'running') this.#leaveRunning(row, event)
    if (row.ended_at_ms === null) books.leave(row.provider, row.status)
    if (isReady(row.status, row.due_at_ms)) books.leaveQueue(row, event.type === 'claimed')
    const place = this.#placeOf(row, next.job, now)
    if (next.job.endedAtMs === null) books.enter(place.provider, next.job.status)
    if (isReady(next.job.status, next.job.dueAtMs))
      books.joinQueue({
        ...place,
        ...row,
        model: next.job.model,
        provider: place.provider,
        queued_at_ms: place.queuedAtMs,
      })
    if (lane !== null) this.#enterLane(lane)
    jobs.save(row.id, next.job, { ...place, lane }, money)
    this.#keepDeadline(row, next.job, money, now)
    if (next.job.endedAtMs !== null) this.#desk.usage.jobEnded(row, next.job)
    if (next.emit) this.#tell(row, next.emit.type, { ...next.emit.data, ...data })
    if (row.batch !== null) this.#tally(row, row.batch, next.job.status)
  }

  /** While a job waits for its budget its deadline stands still. */
  #keepDeadline(row: JobRow, job: Lifecycle, money: MoneyOfRow, now: number): void {
    const { jobs, accounts } = this.#desk
    accounts.lines.move(row.budget_scope, money.budget_scope, money.estimate_micros ?? 0)
    const waited = row.budget_scope !== null
    const waits = money.budget_scope !== null
    if (waits && !waited) jobs.saveDeadline(row.id, now + LIMITS.budgetWaitMs, Math.max(1, row.deadline_at_ms - now))
    else if (waited && !waits && job.endedAtMs === null)
      jobs.saveDeadline(row.id, now + (row.deadline_left_ms ?? 0), null)
  }

  /** What concerns no job: told to those who see the whole instance. `requestId` is of what brought it about. */
  announce(type: DurableEvent, data: { [key: string]: Json }, requestId: string, project: string | null = null): void {
    this.#tell({ id: null, project, request_id: requestId }, type, data)
  }

  /** A job that nobody could read has been ended. */
  ended(job: SetAside, fault: Fault): void {
    releaseProbes(this.#desk, job)
    this.#tell(job, 'job.failed', { code: fault.code, message: fault.message })
  }

  assign(lane: number, assignment: Assignment): void {
    const assignments = this.#effects.assign.get(lane) ?? []
    assignments.push(assignment)
    this.#effects.assign.set(lane, assignments)
  }

  open(opening: Opening): void {
    this.#effects.open.push(opening)
  }

  /** A job keeps its place through retries; it gets a new one with a new provider, and when it was not waiting before. */
  #placeOf(row: JobRow, job: Lifecycle, now: number): { provider: string; tag: number; queuedAtMs: number } {
    const provider = providerIdOf(job.model)
    const enters = row.status === 'scheduled' || row.status === 'failed' || row.budget_scope !== null
    if (enters && job.status === 'queued') {
      return { provider, tag: this.#tag({ ...row, provider }), queuedAtMs: now }
    }
    const moves = provider !== row.provider && job.status === 'queued'
    return { provider, tag: moves ? this.#tag({ ...row, provider }) : row.tag, queuedAtMs: row.queued_at_ms }
  }

  #tag(job: { provider: string; priority: number; project: string | null }): number {
    const { books } = this.#desk
    return tagJob(books.order(job.provider), job.priority, job.project ?? '', books.weightOf(job.project))
  }

  #enterLane(lane: number): void {
    const { admin, books } = this.#desk
    books.enterLane(lane)
    if (lane < books.lanesOpened) return
    books.lanesOpened = lane + 1
    admin.setMeta('lanes', String(lane + 1))
  }

  #leaveRunning(row: JobRow, event: JobEvent): void {
    const { books, jobs, ambient } = this.#desk
    for (const { name, load } of books.limiters(row.model)) books.setLoad(name, release(load))
    books.leaveCredential(row.id)
    books.tokenCharges.forgetJob(row.id)
    if (row.lane !== null) books.leaveLane(row.lane)
    if (row.foreground === 1) this.#effects.left.push(row.id)
    if (event.type !== 'cancel' && event.type !== 'deadline') return
    // Whoever left the line has said before what the attempt came to.
    if (row.open_attempt === null) return
    const outcome = event.type === 'cancel' ? 'canceled' : 'deadline_exceeded'
    jobs.closeAttempt(row.id, row.attempt, {
      at: ambient.now(),
      outcome,
      providerRequestId: null,
      costMicros: null,
      fault: null,
    })
    jobs.saveResult(row.id, { output: null, costMicros: null, providerMs: 0, storeMs: 0 })
    this.#desk.usage.attemptEnded(row, { outcome, output: null, costMicros: null, providerMs: 0 })
    releaseProbes(this.#desk, row)
    if (row.lane === null) return
    const stops = this.#effects.stop.get(row.lane) ?? []
    stops.push({ job: row.id, attempt: row.attempt })
    this.#effects.stop.set(row.lane, stops)
  }

  /** A batch tells of its end behind the event of the job that ended it. */
  #tally(row: JobRow, batch: string, status: JobRow['status']): void {
    const completed = tallyBatch(this.#desk, batch, row, status)
    if (!completed) return
    const { project, request_id } = completed.row
    this.#tell({ id: null, batch, project, request_id }, 'batch.completed', completed.data)
  }

  #tell(
    job: { id: string | null; project: string | null; request_id: string; batch?: string | null },
    type: DurableEvent,
    data: { [key: string]: Json },
  ): void {
    const { books, events, ambient } = this.#desk
    books.seq += 1
    const event = events.append(books.seq, job, type, ambient.now(), data)
    this.#effects.events.push({ event, project: job.project, requestId: job.request_id })
  }
}

/**
 * The attempt ended without a verdict, canceled, lost or of no account: where it was the probe of a breaker, the next call
 * probes. What another attempt probes is not its business.
 */
export const releaseProbes = (
  { books, admin }: Desk,
  { id, attempt, provider }: Pick<JobRow, 'id' | 'attempt' | 'provider'>,
): void => {
  for (const [name, breaker] of books.breakers) {
    const isOurs = name === books.limiter(provider) || name.startsWith(`${books.limiter(provider)}:`)
    const released = isOurs ? releaseProbe(breaker, refText({ job: id, attempt })) : breaker
    if (released === breaker) continue
    books.breakers.set(name, released)
    admin.saveBreaker(name, released)
  }
}

const isReady = (status: JobRow['status'], dueAtMs: number | null): boolean => status === 'queued' && dueAtMs === null

const policyOf = (row: JobRow) => ({ ...wishesOf(row), deadlineAtMs: row.deadline_at_ms })

const lifecycleOf = (row: JobRow): Lifecycle => ({
  status: row.status,
  dueAtMs: row.due_at_ms,
  model: row.model,
  attempt: row.attempt,
  counted: row.counted,
  resume: row.resume,
  fault: row.fault === null ? null : (JSON.parse(row.fault) as Fault),
  startedAtMs: row.started_at_ms,
  endedAtMs: row.ended_at_ms,
})
