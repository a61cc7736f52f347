import * as v from 'valibot'
import { packSketch, unpackSketch } from '../core/sketch.ts'
import type { Tally } from '../core/tally.ts'
import { LIMITS } from '../limits.ts'
import type { AdminStore } from './admin-store.ts'

/** All SQL about usage: one row per hour or day, project and model. Rows are parsed where they are read. */

/** `project` is empty for jobs without one. `startMs`: the hour of UTC or the midnight with which it begins. */
export type UsageKey = { startMs: number; project: string; model: string }
export type UsageRow = UsageKey & { tally: Tally }

/** What may be added up at one go: all rows, or those of one project. */
export type UsageRange = { fromMs: number; beforeMs: number; project: string | null }

type Table = 'usage_hours' | 'usage_days'

const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const counts = v.pipe(
  v.string(),
  v.parseJson(),
  v.array(v.tuple([v.string(), count])),
  v.transform((pairs) => new Map(pairs)),
)
// What is in the list is checked where it is unpacked: once more here would cost as much as all the rest.
const sketch = v.pipe(
  v.string(),
  v.transform((packed) => unpackSketch(JSON.parse(packed) as number[])),
)

const Row = v.pipe(
  v.object({
    start_ms: v.pipe(v.number(), v.integer()),
    project: v.string(),
    model: v.string(),
    attempts: count,
    succeeded: count,
    failed: count,
    canceled: count,
    images: count,
    cost_micros: count,
    unknown_costs: count,
    errors: counts,
    tokens: counts,
    provider_ms: sketch,
    queue_ms: sketch,
    total_ms: sketch,
  }),
  v.transform(
    (row): UsageRow => ({
      startMs: row.start_ms,
      project: row.project,
      model: row.model,
      tally: {
        attempts: row.attempts,
        succeeded: row.succeeded,
        failed: row.failed,
        canceled: row.canceled,
        errors: row.errors,
        images: row.images,
        tokens: row.tokens,
        costMicros: row.cost_micros,
        unknownCosts: row.unknown_costs,
        providerMs: row.provider_ms,
        queueMs: row.queue_ms,
        totalMs: row.total_ms,
      },
    }),
  ),
)

/** Up to which row of the hours all have been added to their days. */
const FOLDED = 'usage_folded'
const Folded = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ startMs: v.number(), project: v.string(), model: v.string() }),
)

export class UsageStore {
  readonly #sql: SqlStorage
  readonly #admin: AdminStore

  constructor(sql: SqlStorage, admin: AdminStore) {
    this.#sql = sql
    this.#admin = admin
  }

  find(table: Table, { startMs, project, model }: UsageKey): UsageRow | null {
    const [row] = this.#sql.exec(
      `SELECT * FROM ${table} WHERE start_ms = ? AND project = ? AND model = ?`,
      startMs,
      project,
      model,
    )
    return row ? v.parse(Row, row) : null
  }

  save(table: Table, { startMs, project, model, tally }: UsageRow): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO ${table} (start_ms, project, model, attempts, succeeded, failed, canceled, images, cost_micros,
         unknown_costs, errors, tokens, provider_ms, queue_ms, total_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      startMs,
      project,
      model,
      tally.attempts,
      tally.succeeded,
      tally.failed,
      tally.canceled,
      tally.images,
      tally.costMicros,
      tally.unknownCosts,
      JSON.stringify([...tally.errors]),
      JSON.stringify([...tally.tokens]),
      JSON.stringify(packSketch(tally.providerMs)),
      JSON.stringify(packSketch(tally.queueMs)),
      JSON.stringify(packSketch(tally.totalMs)),
    )
  }

  /** In order of time; at most `limit`. */
  read(table: Table, range: UsageRange, limit: number): UsageRow[] {
    const { fromMs, beforeMs, project } = range
    if (project === null) {
      const query = `SELECT * FROM ${table} WHERE start_ms >= ? AND start_ms < ? ORDER BY start_ms LIMIT ?`
      return this.#rows(query, fromMs, beforeMs, limit)
    }
    // From one start to the next by the index: other projects' rows, however many, are not read.
    return this.#rows(
      `WITH RECURSIVE starts (at) AS (
         SELECT min(start_ms) FROM ${table} WHERE start_ms >= ?1 AND start_ms < ?2
         UNION ALL
         SELECT (SELECT min(start_ms) FROM ${table} WHERE start_ms > at AND start_ms < ?2) FROM starts WHERE at IS NOT NULL
       )
       SELECT usage.* FROM starts CROSS JOIN ${table} AS usage ON usage.start_ms = starts.at AND usage.project = ?3 LIMIT ?4`,
      fromMs,
      beforeMs,
      project,
      limit,
    )
  }

  folded(): UsageKey | null {
    const text = this.#admin.meta(FOLDED)
    return text === null ? null : v.parse(Folded, text)
  }

  saveFolded({ startMs, project, model }: UsageKey): void {
    this.#admin.setMeta(FOLDED, JSON.stringify({ startMs, project, model }))
  }

  /** Hours behind `after` in the order in which they are added to their days. */
  unfolded(after: UsageKey | null, beforeMs: number, limit: number): UsageRow[] {
    return this.#rows(
      `SELECT * FROM usage_hours WHERE (start_ms, project, model) > (?, ?, ?) AND start_ms < ?
       ORDER BY start_ms, project, model LIMIT ?`,
      after?.startMs ?? -1,
      after?.project ?? '',
      after?.model ?? '',
      beforeMs,
      limit,
    )
  }

  /** Answers how many were dropped, of a bounded number. */
  dropHours(beforeMs: number): number {
    const dropped = this.#sql.exec(
      `DELETE FROM usage_hours WHERE (start_ms, project, model) IN
         (SELECT start_ms, project, model FROM usage_hours WHERE start_ms < ? ORDER BY start_ms LIMIT ?) RETURNING 1`,
      beforeMs,
      LIMITS.usageFoldRows,
    )
    return dropped.toArray().length
  }

  #rows(query: string, ...bindings: (string | number)[]): UsageRow[] {
    return this.#sql
      .exec(query, ...bindings)
      .toArray()
      .map((row) => v.parse(Row, row))
  }
}
