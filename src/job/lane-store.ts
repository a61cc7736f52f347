import * as v from 'valibot'
import type { Assignment, AttemptRef } from '../contract/rpc.ts'

/** All SQL of a lane. Secrets in an assignment are sealed, so a row may lie on disk. */

const Row = v.object({ assignment: v.string(), resume: v.string(), due_at_ms: v.number() })

export type KeptAttempt = { assignment: Assignment; resume: string; dueAtMs: number }

export class LaneStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  keep(assignment: Assignment, resume: string, dueAtMs: number): void {
    this.#sql.exec(
      'INSERT OR REPLACE INTO attempts (job, attempt, assignment, resume, due_at_ms) VALUES (?, ?, ?, ?, ?)',
      assignment.job,
      assignment.attempt,
      JSON.stringify(assignment),
      resume,
      dueAtMs,
    )
  }

  forget(ref: AttemptRef): void {
    this.#sql.exec('DELETE FROM attempts WHERE job = ? AND attempt = ?', ref.job, ref.attempt)
  }

  find(ref: AttemptRef): KeptAttempt | null {
    const [row] = this.#sql
      .exec('SELECT assignment, resume, due_at_ms FROM attempts WHERE job = ? AND attempt = ?', ref.job, ref.attempt)
      .toArray()
    return row ? keptOf(row) : null
  }

  all(): KeptAttempt[] {
    return this.#sql.exec('SELECT assignment, resume, due_at_ms FROM attempts ORDER BY due_at_ms').toArray().map(keptOf)
  }
}

const keptOf = (raw: Record<string, SqlStorageValue>): KeptAttempt => {
  const row = v.parse(Row, raw)
  return { assignment: JSON.parse(row.assignment) as Assignment, resume: row.resume, dueAtMs: row.due_at_ms }
}
