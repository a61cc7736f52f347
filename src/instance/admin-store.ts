import * as v from 'valibot'
import { ProviderLimits, ROLES, SCOPES } from '../contract/instance.ts'
import { Route } from '../contract/route.ts'
import type { LimiterLoad } from '../core/admission.ts'
import type { Breaker } from '../core/breaker.ts'
import type { TrackRecord } from '../core/track-record.ts'
import { CredentialStore } from './credential-store.ts'

/** All SQL about the instance itself, its API keys, tickets, providers and limiters. */

const flag = v.pipe(
  v.number(),
  v.transform((value) => value !== 0),
)
const json = <S extends v.GenericSchema>(schema: S) => v.pipe(v.string(), v.parseJson(), schema)

const KeyRow = v.object({
  id: v.string(),
  name: v.string(),
  role: v.picklist(ROLES),
  project: v.nullable(v.string()),
  scopes: json(v.array(v.picklist(SCOPES))),
  digest: v.string(),
  created_at_ms: v.number(),
  expires_at_ms: v.nullable(v.number()),
})
export type KeyRow = v.InferOutput<typeof KeyRow>

const ProviderRow = v.object({
  id: v.string(),
  enabled: flag,
  base_url: v.nullable(v.string()),
  route: v.nullable(json(Route)),
  limits: json(ProviderLimits),
  models: json(v.record(v.string(), v.object({ limits: ProviderLimits }))),
  timeout_ms: v.number(),
  /** Called without a credential, where it is one that may be: its address was set while it had none. */
  keyless: flag,
})
export type ProviderRow = v.InferOutput<typeof ProviderRow>

const TicketRow = v.object({ key_id: v.nullable(v.string()), expires_at_ms: v.number() })

const Load = v.object({
  running: v.number(),
  blockedUntilMs: v.number(),
  fullAtMs: v.object({
    per_minute: v.exactOptional(v.number()),
    per_day: v.exactOptional(v.number()),
    tokens_per_minute: v.exactOptional(v.number()),
  }),
  adaptive: v.object({ share: v.number(), narrowedAtMs: v.number() }),
})

const BreakerValue = v.variant('state', [
  v.object({ state: v.literal('closed'), failures: v.number() }),
  v.object({ state: v.literal('open'), untilMs: v.number(), openings: v.number() }),
  v.object({
    state: v.literal('half_open'),
    openings: v.number(),
    probing: v.boolean(),
    holder: v.exactOptional(v.string()),
  }),
])

const Record = v.object({ outcomes: v.array(v.boolean()), durationsMs: v.array(v.number()) })

export class AdminStore {
  readonly credentials: CredentialStore
  readonly #sql: SqlStorage
  /** Limiters that a transaction has changed: every call of a group takes from the same ones. */
  readonly #unsaved = new Map<string, LimiterLoad>()

  constructor(sql: SqlStorage) {
    this.credentials = new CredentialStore(sql)
    this.#sql = sql
  }

  /** Writes what has changed. A transaction ends with it. */
  flush(): void {
    for (const [name, load] of this.#unsaved) {
      this.#sql.exec('INSERT OR REPLACE INTO limiters (name, load) VALUES (?, ?)', name, JSON.stringify(load))
    }
    this.#unsaved.clear()
  }

  /** Forgets what was not written. */
  reload(): void {
    this.#unsaved.clear()
  }

  meta(key: string): string | null {
    const [row] = this.#sql.exec('SELECT value FROM meta WHERE key = ?', key)
    return row ? v.parse(v.object({ value: v.string() }), row).value : null
  }

  setMeta(key: string, value: string): void {
    this.#sql.exec('INSERT OR REPLACE INTO meta VALUES (?, ?)', key, value)
  }

  // ---------------------------------------------------------------------------------------------------- keys

  keys(): KeyRow[] {
    return this.#sql
      .exec('SELECT * FROM api_keys ORDER BY created_at_ms, id')
      .toArray()
      .map((row) => v.parse(KeyRow, row))
  }

  insertKey(key: KeyRow): void {
    this.#sql.exec(
      'INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      key.id,
      key.name,
      key.role,
      key.project,
      JSON.stringify(key.scopes),
      key.digest,
      key.created_at_ms,
      key.expires_at_ms,
    )
  }

  deleteKey(id: string): void {
    this.#sql.exec('DELETE FROM api_keys WHERE id = ?', id)
    this.#sql.exec('DELETE FROM tickets WHERE key_id = ?', id)
  }

  insertTicket(digest: string, keyId: string | null, expiresAtMs: number, now: number): void {
    this.#sql.exec('DELETE FROM tickets WHERE expires_at_ms <= ?', now)
    this.#sql.exec('INSERT INTO tickets VALUES (?, ?, ?)', digest, keyId, expiresAtMs)
  }

  /** Open tickets of a key, null for the super admin, and of all. */
  countTickets(keyId: string | null, now: number): { ofKey: number; ofAll: number } {
    return v.parse(
      v.object({ ofKey: v.number(), ofAll: v.number() }),
      this.#sql
        .exec(
          'SELECT count(*) AS ofAll, count(*) FILTER (WHERE key_id IS ?) AS ofKey FROM tickets WHERE expires_at_ms > ?',
          keyId,
          now,
        )
        .one(),
    )
  }

  /** Takes the ticket out: it serves once. `keyId` is null where the super admin asked for it. */
  takeTicket(digest: string, now: number): { keyId: string | null } | null {
    const [row] = this.#sql
      .exec('DELETE FROM tickets WHERE digest = ? RETURNING key_id, expires_at_ms', digest)
      .toArray()
    if (!row) return null
    const ticket = v.parse(TicketRow, row)
    return ticket.expires_at_ms > now ? { keyId: ticket.key_id } : null
  }

  // ----------------------------------------------------------------------------------------------- providers

  providers(): ProviderRow[] {
    return this.#sql
      .exec('SELECT * FROM providers ORDER BY id')
      .toArray()
      .map((row) => v.parse(ProviderRow, row))
  }

  saveProvider(provider: ProviderRow): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO providers (id, enabled, base_url, limits, models, timeout_ms, route, keyless)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      provider.id,
      provider.enabled ? 1 : 0,
      provider.base_url,
      JSON.stringify(provider.limits),
      JSON.stringify(provider.models),
      provider.timeout_ms,
      provider.route && JSON.stringify(provider.route),
      provider.keyless ? 1 : 0,
    )
  }

  // ---------------------------------------------------------------------- limiters, breakers, track records

  limiters(): Map<string, LimiterLoad> {
    this.flush()
    return this.#values('SELECT name, load AS value FROM limiters', Load)
  }

  /** Fractions of a millisecond are kept: pacing at thousands a second needs them. */
  saveLimiter(name: string, load: LimiterLoad): void {
    this.#unsaved.set(name, load)
  }

  deleteLimiter(name: string): void {
    this.#unsaved.delete(name)
    this.#sql.exec('DELETE FROM limiters WHERE name = ?', name)
  }

  breakers(): Map<string, Breaker> {
    return this.#values('SELECT name, breaker AS value FROM breakers', BreakerValue)
  }

  saveBreaker(name: string, breaker: Breaker): void {
    this.#sql.exec('INSERT OR REPLACE INTO breakers (name, breaker) VALUES (?, ?)', name, JSON.stringify(breaker))
  }

  deleteBreaker(name: string): void {
    this.#sql.exec('DELETE FROM breakers WHERE name = ?', name)
  }

  trackRecords(): Map<string, TrackRecord> {
    return this.#values('SELECT model AS name, record AS value FROM track_records', Record)
  }

  saveTrackRecord(model: string, record: TrackRecord): void {
    this.#sql.exec('INSERT OR REPLACE INTO track_records (model, record) VALUES (?, ?)', model, JSON.stringify(record))
  }

  deleteTrackRecord(model: string): void {
    this.#sql.exec('DELETE FROM track_records WHERE model = ?', model)
  }

  #values<S extends v.GenericSchema>(query: string, schema: S): Map<string, v.InferOutput<S>> {
    const Row = v.object({ name: v.string(), value: json(schema) })
    const rows = this.#sql
      .exec(query)
      .toArray()
      .map((row) => v.parse(Row, row))
    return new Map(rows.map((row) => [row.name, row.value]))
  }
}
