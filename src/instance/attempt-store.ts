import * as v from 'valibot'
import { type AttemptClose, AttemptRow, type OpenAttempt } from './job-rows.ts'

/** Attempts that have ended. One that runs stands in the row of its job. */
export class AttemptStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  insert(job: string, open: OpenAttempt, end: AttemptClose): void {
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
    const rows = this.#sql.exec('SELECT * FROM attempts WHERE job = ? ORDER BY number', job).toArray()
    return rows.flatMap((row) => {
      const parsed = v.safeParse(AttemptRow, row)
      return parsed.success ? [parsed.output] : []
    })
  }

  delete(job: string, number: number): void {
    this.#sql.exec('DELETE FROM attempts WHERE job = ? AND number = ?', job, number)
  }
}
