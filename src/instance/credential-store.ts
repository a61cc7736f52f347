import * as v from 'valibot'
import { CredentialLimits } from '../contract/credential.ts'
import { ATTEMPT_FAULT_CODES } from '../contract/fault.ts'
import type { SealedSecret } from '../contract/rpc.ts'
import type { CredentialUse } from '../core/credential-use.ts'

/** All SQL about provider credentials and what they were used for. */

const flag = v.pipe(
  v.number(),
  v.transform((value) => value !== 0),
)

const CredentialRow = v.object({
  provider: v.string(),
  name: v.string(),
  weight: v.number(),
  enabled: flag,
  disabled_reason: v.nullable(v.string()),
  hint: v.nullable(v.string()),
  key_id: v.string(),
  iv: v.string(),
  ciphertext: v.string(),
  limits: v.pipe(v.string(), v.parseJson(), CredentialLimits),
  /** Which of the secrets ever set in the instance this is: a higher one is newer. */
  secret: v.number(),
  created_at_ms: v.number(),
  updated_at_ms: v.number(),
  /** Deleted, and kept only for the work under way that needs it. */
  retired_at_ms: v.nullable(v.number()),
})
export type CredentialRow = v.InferOutput<typeof CredentialRow>

export const sealOf = ({ key_id, iv, ciphertext }: CredentialRow): SealedSecret => ({ keyId: key_id, iv, ciphertext })

const Use = v.object({
  attempts: v.number(),
  errors: v.number(),
  costMicros: v.number(),
  lastUsedAtMs: v.nullable(v.number()),
  lastError: v.nullable(v.object({ code: v.picklist(ATTEMPT_FAULT_CODES), atMs: v.number() })),
})

export class CredentialStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** Retired ones included. */
  all(): CredentialRow[] {
    return this.#sql
      .exec('SELECT * FROM credentials ORDER BY provider, name')
      .toArray()
      .map((row) => v.parse(CredentialRow, row))
  }

  save(credential: CredentialRow): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO credentials (provider, name, weight, enabled, disabled_reason, hint, key_id, iv, ciphertext,
         limits, secret, created_at_ms, updated_at_ms, retired_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      credential.provider,
      credential.name,
      credential.weight,
      credential.enabled ? 1 : 0,
      credential.disabled_reason,
      credential.hint,
      credential.key_id,
      credential.iv,
      credential.ciphertext,
      JSON.stringify(credential.limits),
      credential.secret,
      credential.created_at_ms,
      credential.updated_at_ms,
      credential.retired_at_ms,
    )
  }

  /** Puts a new seal on the secret that was read; nothing where it was changed meanwhile. */
  reseal({ provider, name, ciphertext }: CredentialRow, sealed: SealedSecret): void {
    this.#sql.exec(
      'UPDATE credentials SET key_id = ?, iv = ?, ciphertext = ? WHERE provider = ? AND name = ? AND ciphertext = ?',
      sealed.keyId,
      sealed.iv,
      sealed.ciphertext,
      provider,
      name,
      ciphertext,
    )
  }

  delete(provider: string, name: string): void {
    this.#sql.exec('DELETE FROM credentials WHERE provider = ? AND name = ?', provider, name)
  }

  /** The next number of a secret. Never given twice, so that a credential made anew is newer than its namesake. */
  nextSecret(): number {
    const [row] = this.#sql.exec(
      `INSERT INTO meta (key, value) VALUES ('secrets', '1')
       ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) RETURNING value`,
    )
    return Number(v.parse(v.object({ value: v.string() }), row).value)
  }

  /** Whether a job that has not ended goes on from an attempt with this credential. */
  isAwaited(provider: string, name: string): boolean {
    const rows = this.#sql.exec(
      `SELECT 1 FROM jobs INDEXED BY jobs_resumed JOIN attempts ON attempts.job = jobs.id
       WHERE jobs.provider = ?1 AND jobs.resume IS NOT NULL AND attempts.credential = ?2
         AND attempts.number = (SELECT max(number) FROM attempts WHERE job = jobs.id) LIMIT 1`,
      provider,
      name,
    )
    return rows.toArray().length > 0
  }

  // -------------------------------------------------------------------------------------------------- uses

  uses(): Map<string, CredentialUse> {
    const Row = v.object({ name: v.string(), uses: v.pipe(v.string(), v.parseJson(), Use) })
    const rows = this.#sql
      .exec('SELECT name, uses FROM credential_uses')
      .toArray()
      .map((row) => v.parse(Row, row))
    return new Map(rows.map((row) => [row.name, row.uses]))
  }

  saveUse(name: string, use: CredentialUse): void {
    this.#sql.exec('INSERT OR REPLACE INTO credential_uses (name, uses) VALUES (?, ?)', name, JSON.stringify(use))
  }

  deleteUse(name: string): void {
    this.#sql.exec('DELETE FROM credential_uses WHERE name = ?', name)
  }
}
