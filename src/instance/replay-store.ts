import * as v from 'valibot'
import { REPLAY_STATUSES } from '../contract/dead-letter.ts'
import { LIMITS } from '../limits.ts'
import type { Place } from './dead-letter-store.ts'

/** All SQL about replays by filter: what was ordered, how far it is, when it goes on. */

const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const time = v.nullable(count)

const ReplayRow = v.object({
  id: v.string(),
  project: v.nullable(v.string()),
  status: v.picklist(REPLAY_STATUSES),
  /** JSON of a `DeadLetterFilter`, as it was asked for. */
  filter: v.string(),
  rate_per_minute: count,
  /** Between these places lie the dead letters still to be replayed. */
  after_ms: count,
  after_id: v.string(),
  until_ms: count,
  until_id: v.string(),
  matched: count,
  /** 1 where every dead letter was looked at, 0 where only the oldest were. */
  complete: count,
  replayed: count,
  failed: count,
  request_id: v.string(),
  created_at_ms: count,
  ended_at_ms: time,
  due_at_ms: time,
})
export type ReplayRow = v.InferOutput<typeof ReplayRow>

export class ReplayStore {
  readonly #sql: SqlStorage
  /** Nothing is at work: known until something is written, so that a turn need not ask. */
  #isIdle = false

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** Remembers a new one, and forgets the oldest of those that have ended beyond the bound. */
  insert(row: ReplayRow): void {
    this.#isIdle = false
    this.#sql.exec(
      'INSERT INTO replays VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      row.id,
      row.project,
      row.status,
      row.filter,
      row.rate_per_minute,
      row.after_ms,
      row.after_id,
      row.until_ms,
      row.until_id,
      row.matched,
      row.complete,
      row.replayed,
      row.failed,
      row.request_id,
      row.created_at_ms,
      row.ended_at_ms,
      row.due_at_ms,
    )
    this.#sql.exec(
      `DELETE FROM replays WHERE id IN
         (SELECT id FROM replays WHERE ended_at_ms IS NOT NULL ORDER BY id DESC LIMIT 2 OFFSET ?)`,
      LIMITS.replaysKept,
    )
  }

  /** A transaction was rolled back: what is at work must be asked again. */
  reload(): void {
    this.#isIdle = false
  }

  find(id: string): ReplayRow | null {
    const [row] = this.#sql.exec('SELECT * FROM replays WHERE id = ?', id)
    return row ? v.parse(ReplayRow, row) : null
  }

  /** Newest first. There are few enough to look at all of them for one project. */
  list(before: string, project: string | null, limit: number): ReplayRow[] {
    return this.#sql
      .exec(
        'SELECT * FROM replays WHERE id < ?1 AND (?2 IS NULL OR project = ?2) ORDER BY id DESC LIMIT ?3',
        before,
        project,
        limit,
      )
      .toArray()
      .map((row) => v.parse(ReplayRow, row))
  }

  /** How many are at work. */
  open(): number {
    const [row] = this.#sql.exec('SELECT count(*) AS n FROM replays WHERE due_at_ms IS NOT NULL')
    return v.parse(v.object({ n: count }), row).n
  }

  /** The one that goes on first. */
  next(): { id: string; due_at_ms: number } | null {
    if (this.#isIdle) return null
    const [row] = this.#sql.exec(
      'SELECT id, due_at_ms FROM replays WHERE due_at_ms IS NOT NULL ORDER BY due_at_ms LIMIT 1',
    )
    this.#isIdle = !row
    return row ? v.parse(v.object({ id: v.string(), due_at_ms: count }), row) : null
  }

  advance(id: string, after: Place, done: { replayed: number; failed: number }, dueAtMs: number): void {
    this.#sql.exec(
      `UPDATE replays SET after_ms = ?, after_id = ?, replayed = replayed + ?, failed = failed + ?, due_at_ms = ?
       WHERE id = ?`,
      after.atMs,
      after.id,
      done.replayed,
      done.failed,
      dueAtMs,
      id,
    )
  }

  end(id: string, status: 'completed' | 'canceled', now: number): void {
    this.#sql.exec('UPDATE replays SET status = ?, ended_at_ms = ?, due_at_ms = NULL WHERE id = ?', status, now, id)
  }
}
