import * as v from 'valibot'
import { STATUSES } from '../contract/job.ts'
import { type Aged, oldPrefix } from '../core/retention.ts'
import { LIMITS } from '../limits.ts'
import type { JobStore } from './job-store.ts'

/** All SQL that finds and deletes what is old. Each call is bounded in the rows that it looks at and deletes. */

const time = v.pipe(v.number(), v.integer())

const AgedRow = v.pipe(
  v.object({
    id: v.string(),
    status: v.picklist(STATUSES),
    ended_at_ms: v.nullable(time),
    discarded_at_ms: v.nullable(time),
    is_held: v.number(),
  }),
  v.transform(
    (row): Aged => ({
      id: row.id,
      status: row.status,
      endedAtMs: row.ended_at_ms,
      discardedAtMs: row.discarded_at_ms,
      isHeld: row.is_held === 1,
    }),
  ),
)

const AGED = `SELECT id, status, ended_at_ms, discarded_at_ms, batch IS NOT NULL AND EXISTS
    (SELECT 1 FROM batches WHERE batches.id = jobs.batch AND batches.ended_at_ms IS NULL) AS is_held FROM jobs`

/** What one deletion did. `more`: as many were deleted as one step may. `oldestAtMs`: of what is left; null: nothing is. */
export type Trim = { more: boolean; oldestAtMs: number | null }

export class RetentionStore {
  readonly #sql: SqlStorage
  readonly #jobs: JobStore

  constructor(sql: SqlStorage, jobs: JobStore) {
    this.#sql = sql
    this.#jobs = jobs
  }

  // ---------------------------------------------------------------------------------------------------- jobs

  /** Jobs between two ids, both excluded, in order. One whose row cannot be read is left out, and so is never trimmed. */
  jobs(after: string, before: string, limit: number): { jobs: Aged[]; isLast: boolean } {
    this.#jobs.flush()
    const rows = this.#sql.exec(`${AGED} WHERE id > ? AND id < ? ORDER BY id LIMIT ?`, after, before, limit).toArray()
    return { jobs: rows.flatMap(readable), isLast: rows.length < limit }
  }

  aged(ids: readonly string[]): Aged[] {
    this.#jobs.flush()
    const rows = this.#sql.exec(`${AGED} WHERE id IN (SELECT value FROM json_each(?))`, JSON.stringify(ids)).toArray()
    return rows.flatMap(readable)
  }

  hasJobs(): boolean {
    return this.#has('jobs')
  }

  /** Jobs and their attempts. */
  deleteJobs(ids: readonly string[]): void {
    if (ids.length === 0) return
    this.#jobs.flush()
    const list = JSON.stringify(ids)
    this.#sql.exec('DELETE FROM attempts WHERE job IN (SELECT value FROM json_each(?))', list)
    this.#sql.exec('DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(?))', list)
    for (const id of ids) this.#jobs.forget(id)
  }

  /** Batches that ended before this and have no job left; `reached` is the last looked at, null at the end. */
  deleteBatches(after: string, before: string, cutoffMs: number): { reached: string | null; isEmpty: boolean } {
    this.#jobs.flush()
    const Row = v.object({ id: v.string(), is_old: v.number() })
    const rows = this.#sql
      .exec(
        `SELECT id, coalesce(ended_at_ms <= ?1, 0) AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.batch = batches.id) AS is_old
         FROM batches WHERE id > ?2 AND id < ?3 ORDER BY id LIMIT ?4`,
        cutoffMs,
        after,
        before,
        LIMITS.trimRows,
      )
      .toArray()
      .map((row) => v.parse(Row, row))
    const old = rows.filter((row) => row.is_old === 1).map((row) => row.id)
    this.#sql.exec('DELETE FROM batches WHERE id IN (SELECT value FROM json_each(?))', JSON.stringify(old))
    const reached = rows.length === LIMITS.trimRows ? (rows.at(-1)?.id ?? null) : null
    return { reached, isEmpty: !this.#has('batches') }
  }

  /** Replays by filter that ended before this. They are few. */
  deleteReplays(cutoffMs: number): Trim {
    const deleted = this.#deleted(
      `DELETE FROM replays WHERE id IN (SELECT id FROM replays WHERE ended_at_ms <= ? ORDER BY id LIMIT ?) RETURNING 1`,
      cutoffMs,
      LIMITS.trimRows,
    )
    return this.#trimmed(deleted, LIMITS.trimRows, 'SELECT min(ended_at_ms) AS n FROM replays')
  }

  // ------------------------------------------------------------------------------------------ events, the log

  /** The oldest events, by number, so that no hole comes into being. The last one stays: it tells where to count on. */
  deleteEvents(cutoffMs: number): Trim {
    const rows = this.#sql
      .exec('SELECT seq AS at, at_ms FROM events ORDER BY seq LIMIT ?', LIMITS.trimEvents + 1)
      .toArray()
      .map((row) => v.parse(v.object({ at: time, at_ms: time }), row))
    const loose = rows.slice(0, -1)
    const count = oldPrefix(
      loose.map((row) => row.at_ms),
      cutoffMs,
    )
    const last = loose[count - 1]
    if (last) this.#sql.exec('DELETE FROM events WHERE seq <= ?', last.at)
    const left = rows.slice(count)
    return {
      more: count === LIMITS.trimEvents,
      oldestAtMs: left.length > 1 ? (left[0]?.at_ms ?? null) : null,
    }
  }

  deleteLines(cutoffMs: number): Trim {
    const deleted = this.#deleted(
      `DELETE FROM log WHERE at_ms <= ? AND (seq, number) IN (SELECT seq, number FROM log ORDER BY seq, number LIMIT ?) RETURNING 1`,
      cutoffMs,
      LIMITS.trimRows,
    )
    return this.#trimmed(deleted, LIMITS.trimRows, 'SELECT at_ms AS n FROM log ORDER BY seq, number LIMIT 1')
  }

  deleteIdempotency(cutoffMs: number): Trim {
    const deleted = this.#deleted(
      `DELETE FROM idempotency WHERE (scope, key) IN
         (SELECT scope, key FROM idempotency WHERE created_at_ms <= ? ORDER BY created_at_ms LIMIT ?) RETURNING 1`,
      cutoffMs,
      LIMITS.trimRows,
    )
    return this.#trimmed(deleted, LIMITS.trimRows, 'SELECT min(created_at_ms) AS n FROM idempotency')
  }

  #trimmed(deleted: number, atMost: number, oldest: string): Trim {
    const [row] = this.#sql.exec(oldest)
    const oldestAtMs = row ? v.parse(v.object({ n: v.nullable(time) }), row).n : null
    return { more: deleted === atMost, oldestAtMs }
  }

  #deleted(query: string, ...bindings: (string | number)[]): number {
    return this.#sql.exec(query, ...bindings).toArray().length
  }

  #has(table: 'jobs' | 'batches'): boolean {
    return this.#sql.exec(`SELECT 1 FROM ${table} LIMIT 1`).toArray().length > 0
  }
}

const readable = (raw: Record<string, SqlStorageValue>): Aged[] => {
  const row = v.safeParse(AgedRow, raw)
  return row.success ? [row.output] : []
}
