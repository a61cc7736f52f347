import type { DurableEvent, Event } from '../contract/event.ts'
import type { Fault } from '../contract/fault.ts'
import type { Json } from '../contract/fields.ts'
import type { Assignment, AttemptRef } from '../contract/rpc.ts'
import { release } from '../core/admission.ts'
import { releaseProbe } from '../core/breaker.ts'
import { tagJob } from '../core/fair-queue.ts'
import { type JobEvent, type Job as Lifecycle, step } from '../core/lifecycle.ts'
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

/** The database, its mirror, and the world's time and chance: what every decision is made and written with. */
export type Desk = {
  jobs: JobStore
  events: EventStore
  admin: AdminStore
  books: Books
  ambient: Ambient
  /** Where a provider may tell of an attempt; null where this deployment cannot be reached, or the provider does not tell. */
  webhookUrl(provider: string, attempt: AttemptRef): string | null
}

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

  insert(job: NewJob): void {
    const { jobs, books } = this.#desk
    const tag = job.status === 'queued' ? this.#tag(job) : 0
    jobs.insert({ ...job, tag })
    books.enter(job.provider, job.status)
    if (job.status === 'queued') books.enterQueue(job)
    this.#tell(job, 'job.queued', {
      status: job.status,
      type: job.type,
      model: job.model,
      project: job.project,
      priority: job.priority,
      not_before: job.due_at_ms === null ? null : new Date(job.due_at_ms).toISOString(),
    })
  }

  /** False where the event came too late or out of turn, and nothing changed. `data` is told beside what the event says. */
  apply(row: JobRow, event: JobEvent, data: { [key: string]: Json } = {}, lane: number | null = null): boolean {
    const { jobs, books, ambient } = this.#desk
    const now = ambient.now()
    const next = step(lifecycleOf(row), policyOf(row), event, now)
    if (!next) return false
    if (row.status === 'running') this.#leaveRunning(row, event)
    books.leave(row.provider, row.status)
    if (isReady(row.status, row.due_at_ms)) books.leaveQueue(row)
    const place = this.#placeOf(row, next.job, now)
    if (next.job.endedAtMs === null) books.enter(place.provider, next.job.status)
    if (isReady(next.job.status, next.job.dueAtMs))
      books.enterQueue({
        ...place,
        ...row,
        model: next.job.model,
        provider: place.provider,
        queued_at_ms: place.queuedAtMs,
      })
    if (lane !== null) this.#enterLane(lane)
    jobs.save(row.id, next.job, { ...place, lane })
    if (next.emit) this.#tell(row, next.emit.type, { ...next.emit.data, ...data })
    return true
  }

  /** What concerns no job: told to those who see the whole instance. `requestId` is of what brought it about. */
  announce(type: DurableEvent, data: { [key: string]: Json }, requestId: string): void {
    const { books, events, ambient } = this.#desk
    books.seq += 1
    const event = events.append(books.seq, null, type, ambient.now(), data)
    this.#effects.events.push({ event, project: null, requestId })
  }

  assign(lane: number, assignment: Assignment): void {
    const assignments = this.#effects.assign.get(lane) ?? []
    assignments.push(assignment)
    this.#effects.assign.set(lane, assignments)
  }

  /** A job keeps its place through retries; it gets a new one with a new provider, and when it was not waiting before. */
  #placeOf(row: JobRow, job: Lifecycle, now: number): { provider: string; tag: number; queuedAtMs: number } {
    const provider = job.model.split('/')[0] ?? row.provider
    if (row.status === 'scheduled' && job.status === 'queued') {
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
    if (row.lane === null) return
    books.leaveLane(row.lane)
    if (event.type !== 'cancel' && event.type !== 'deadline') return
    const outcome = event.type === 'cancel' ? 'canceled' : 'deadline_exceeded'
    jobs.closeAttempt(row.id, row.attempt, {
      at: ambient.now(),
      outcome,
      providerRequestId: null,
      costMicros: null,
      fault: null,
    })
    jobs.saveResult(row.id, { output: null, costMicros: null, providerMs: 0, storeMs: 0 })
    releaseProbes(this.#desk, row.provider)
    const stops = this.#effects.stop.get(row.lane) ?? []
    stops.push({ job: row.id, attempt: row.attempt })
    this.#effects.stop.set(row.lane, stops)
  }

  #tell(
    job: { id: string; project: string | null; request_id: string },
    type: DurableEvent,
    data: { [key: string]: Json },
  ): void {
    const { books, events, ambient } = this.#desk
    books.seq += 1
    const event = events.append(books.seq, job, type, ambient.now(), data)
    this.#effects.events.push({ event, project: job.project, requestId: job.request_id })
  }
}

/** A probe that ended without a verdict, canceled or lost: the next call probes. */
export const releaseProbes = ({ books, admin }: Desk, provider: string): void => {
  for (const [name, breaker] of books.breakers) {
    const released = releaseProbe(breaker)
    const isOurs = name === books.limiter(provider) || name.startsWith(`${books.limiter(provider)}:`)
    if (released === breaker || !isOurs) continue
    books.breakers.set(name, released)
    admin.saveBreaker(name, released)
  }
}

export const wishesOf = (row: JobRow): Wishes => JSON.parse(row.wishes) as Wishes

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
