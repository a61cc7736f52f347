import * as v from 'valibot'
import { LIMITS } from '../limits.ts'

/** All SQL about idempotency keys: which job, or batch, each has made. */
export class IdempotencyStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  find(scope: string, key: string, now: number): { fingerprint: string; job: string } | null {
    const [row] = this.#sql.exec(
      'SELECT fingerprint, job FROM idempotency WHERE scope = ? AND key = ? AND created_at_ms > ?',
      scope,
      key,
      now - LIMITS.idempotencyKeepMs,
    )
    return row ? v.parse(v.object({ fingerprint: v.string(), job: v.string() }), row) : null
  }

  /** Remembers the key and forgets two expired ones, so that the table needs no clean-up of its own. */
  insert(scope: string, key: string, fingerprint: string, job: string, now: number): void {
    this.#sql.exec(
      `DELETE FROM idempotency WHERE (scope, key) IN
         (SELECT scope, key FROM idempotency WHERE created_at_ms <= ? ORDER BY created_at_ms LIMIT 2)`,
      now - LIMITS.idempotencyKeepMs,
    )
    this.#sql.exec('INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?)', scope, key, fingerprint, job, now)
  }
}
