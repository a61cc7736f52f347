import type { DeadLetterFilter, ReplayRecord, ReplayRequest } from '../contract/dead-letter.ts'
import { ok, type Result, refuse } from '../contract/fault.ts'
import { replayPace } from '../core/replay-pace.ts'
import { LIMITS } from '../limits.ts'
import type { Ambient } from './ambient.ts'
import type { DeadLetterStore, Place } from './dead-letter-store.ts'
import { type DeadLetters, queryOf, spanOf } from './dead-letters.ts'
import type { JobStore } from './job-store.ts'
import type { ReplayRow, ReplayStore } from './replay-store.ts'
import { isoTime, isoTimeOrNull } from './views.ts'

/**
 * Replays by filter: ordered once, then worked off in steps by the actor's alarm. How far one is stands in its row and is
 * written with the jobs that it replayed, so a crash neither skips nor repeats any. Every method runs inside the caller's
 * transaction.
 */
export class Replays {
  readonly #store: ReplayStore
  readonly #letters: DeadLetterStore
  readonly #jobs: JobStore
  readonly #deadLetters: DeadLetters
  readonly #ambient: Ambient

  constructor(
    store: ReplayStore,
    letters: DeadLetterStore,
    jobs: JobStore,
    deadLetters: DeadLetters,
    ambient: Ambient,
  ) {
    this.#store = store
    this.#letters = letters
    this.#jobs = jobs
    this.#deadLetters = deadLetters
    this.#ambient = ambient
  }

  reload(): void {
    this.#store.reload()
  }

  /** Covers what matches at this moment. Its first step is due at once. */
  order(request: ReplayRequest, project: string | null, requestId: string): Result<ReplayRow> {
    if (this.#store.open() >= LIMITS.replaysOpen) {
      return refuse('rate_limited', `At most ${LIMITS.replaysOpen} replays by filter run at once.`, {
        retryAfterMs: LIMITS.backoffMaxMs,
      })
    }
    const { rate_per_minute = LIMITS.replaysPerMinuteDefault, ...filter } = request
    const now = this.#ambient.now()
    const query = queryOf(filter, project)
    const asked = spanOf(filter)
    // What fails from now on is not meant, so that nothing goes round in circles.
    const whole = { after: asked.after, before: { atMs: Math.min(asked.before.atMs, now + 1), id: '' } }
    const beyond = this.#letters.beyondReplay(query, whole)
    const span = { ...whole, before: beyond ?? whole.before }
    const row: ReplayRow = {
      id: this.#ambient.id('replay'),
      project: query.project,
      status: 'running',
      filter: JSON.stringify(filter),
      rate_per_minute,
      after_ms: span.after.atMs,
      after_id: span.after.id,
      until_ms: span.before.atMs,
      until_id: span.before.id,
      matched: sum(Object.values(this.#letters.countByCode(query, span))),
      complete: beyond === null ? 1 : 0,
      replayed: 0,
      failed: 0,
      request_id: requestId,
      created_at_ms: now,
      ended_at_ms: null,
      due_at_ms: now,
    }
    this.#store.insert(row)
    return ok(row)
  }

  /** Those of one project see no other's. */
  find(id: string, project: string | null): Result<ReplayRow> {
    const row = this.#store.find(id)
    if (!row || (project !== null && row.project !== project)) return refuse('not_found', 'There is no such replay.')
    return ok(row)
  }

  list(before: string | undefined, project: string | null, limit: number): { rows: ReplayRow[]; next: string | null } {
    const rows = this.#store.list(before ?? 'replay_~', project, limit + 1)
    const page = rows.slice(0, limit)
    return { rows: page, next: rows.length > limit ? (page.at(-1)?.id ?? null) : null }
  }

  /** Jobs already replayed go on. */
  cancel(id: string, project: string | null): Result<ReplayRow> {
    const found = this.find(id, project)
    if (!found.ok || found.value.status === 'canceled') return found
    if (found.value.status === 'completed') return refuse('conflict', 'The replay has already completed.')
    this.#store.end(id, 'canceled', this.#ambient.now())
    return this.find(id, project)
  }

  /** One step of the one that is due. Answers when to take the next, or null. */
  turn(): number | null {
    const next = this.#store.next()
    if (!next || next.due_at_ms > this.#ambient.now()) return next?.due_at_ms ?? null
    const row = this.#store.find(next.id)
    if (row) this.#step(row)
    return this.#store.next()?.due_at_ms ?? null
  }

  #step(row: ReplayRow): void {
    const now = this.#ambient.now()
    const { jobs: count, everyMs } = replayPace(row.rate_per_minute)
    const after: Place = { atMs: row.after_ms, id: row.after_id }
    const span = { after, before: { atMs: row.until_ms, id: row.until_id } }
    const found = this.#letters.oldest(queryOf(JSON.parse(row.filter) as DeadLetterFilter, row.project), span, count)
    const done = { replayed: 0, failed: 0 }
    let reached = after
    let unreadable = 0
    for (const id of found.ids) {
      const job = this.#jobs.findReadable(id)
      // Damaged, or of a newer version: it stays a dead letter, and keeps no other from running.
      if (!job) unreadable += 1
      // A clock that was set back could bring a job here twice.
      if (!job || job.ended_at_ms === null || job.replayed_by === row.id) continue
      const readmitted = this.#deadLetters.readmit(job, row.id)
      // A full queue is no fault of the job: the step goes on here when there is room.
      if (!readmitted.ok && readmitted.fault.code === 'queue_full') {
        this.#store.advance(row.id, reached, done, now + Math.max(everyMs, LIMITS.backoffBaseMs))
        return
      }
      reached = { atMs: job.ended_at_ms, id }
      done[readmitted.ok ? 'replayed' : 'failed'] += 1
      done.failed += unreadable
      unreadable = 0
    }
    done.failed += unreadable
    this.#store.advance(row.id, found.next ?? reached, done, now + (found.ids.length === 0 ? 0 : everyMs))
    if (found.next === null) this.#store.end(row.id, 'completed', now)
  }
}

const sum = (counts: readonly number[]): number => counts.reduce((all, count) => all + count, 0)

export const replayRecord = (row: ReplayRow, instance: string): ReplayRecord => ({
  id: row.id,
  object: 'replay',
  instance,
  project: row.project,
  status: row.status,
  filter: JSON.parse(row.filter) as DeadLetterFilter,
  rate_per_minute: row.rate_per_minute,
  matched: row.matched,
  complete: row.complete === 1,
  replayed: row.replayed,
  failed_to_replay: row.failed,
  request_id: row.request_id,
  created_at: isoTime(row.created_at_ms),
  ended_at: isoTimeOrNull(row.ended_at_ms),
})
