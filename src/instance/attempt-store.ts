import * as v from 'valibot'
import { Recent } from '../core/recent.ts'
import { LIMITS } from '../limits.ts'
import { type AttemptClose, AttemptRow, type OpenAttempt } from './job-rows.ts'

/** Attempts that have ended. One that runs stands in the row of its job. */
export class AttemptStore {
  readonly #sql: SqlStorage
  /** Those of the jobs asked after last. */
  readonly #recent = new Recent<AttemptRow[]>(LIMITS.recentAttempts, (attempts) => 1 + attempts.length)

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  insert(job: string, open: OpenAttempt, end: AttemptClose): void {
    this.#recent.delete(job)
    this.#sql.exec(
      `INSERT INTO attempts (job, number, model, credential, secret, reason, started_at_ms, ended_at_ms, outcome,
         provider_request_id, cost_micros, fault) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      job,
      open.number,
      open.model,
      open.credential,
      open.secret,
      open.reason,
      open.started_at_ms,
      end.at,
      end.outcome,
      end.providerRequestId,
      end.costMicros,
      end.fault ? JSON.stringify(end.fault) : null,
    )
  }

  /** In order. What cannot be read is left out: its number shows that it was there. */
  ofJob(job: string): AttemptRow[] {
    const known = this.#recent.get(job)
    if (known) return known
    const rows = this.#sql.exec('SELECT * FROM attempts WHERE job = ? ORDER BY number', job).toArray()
    const attempts = rows.flatMap((row) => {
      const parsed = v.safeParse(AttemptRow, row)
      return parsed.success ? [parsed.output] : []
    })
    this.#recent.set(job, attempts)
    return attempts
  }

  delete(job: string, number: number): void {
    this.#recent.delete(job)
    this.#sql.exec('DELETE FROM attempts WHERE job = ? AND number = ?', job, number)
  }

  /** Those of the job were deleted. */
  forget(job: string): void {
    this.#recent.delete(job)
  }

  /** A transaction was rolled back. */
  reload(): void {
    this.#recent.clear()
  }
}
