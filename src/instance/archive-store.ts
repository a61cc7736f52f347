import * as v from 'valibot'
import { neighbourhood } from '../core/archive.ts'
import { LIMITS } from '../limits.ts'

/** All SQL about the archive: a row per object, which tells what ids it spans. */

const Entry = v.object({ name: v.string(), last_id: v.string() })
const Written = v.pipe(
  v.object({ name: v.string(), written_at_ms: v.number() }),
  v.transform(({ name, written_at_ms: writtenAtMs }) => ({ name, writtenAtMs })),
)
export type ArchiveEntry = v.InferOutput<typeof Entry>

export class ArchiveStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** An object is going to be written: known before, so that what a crash leaves behind is found. */
  announce(name: string, ids: readonly string[]): void {
    this.#sql.exec(
      'INSERT INTO archives (last_id, name, first_id, jobs, written_at_ms) VALUES (?, ?, ?, ?, NULL)',
      ids.at(-1) ?? '',
      name,
      ids[0] ?? '',
      ids.length,
    )
  }

  /** It is written, and its jobs are deleted: from now on it is read. */
  confirm(name: string, lastId: string, now: number): void {
    this.#sql.exec('UPDATE archives SET written_at_ms = ? WHERE last_id = ? AND name = ?', now, lastId, name)
  }

  /** Objects that may hold this job. Usually one; more where jobs of one time ended at very different ones. */
  mayHold(id: string): { name: string; writtenAtMs: number }[] {
    return this.#sql
      .exec(
        `SELECT name, written_at_ms FROM archives WHERE last_id >= ? AND last_id < ? AND first_id <= ? AND written_at_ms IS NOT NULL
         ORDER BY last_id`,
        id,
        neighbourhood(id).to,
        id,
      )
      .toArray()
      .map((row) => v.parse(Written, row))
  }

  /** Announced and never confirmed, in bounded number. */
  unconfirmed(): ArchiveEntry[] {
    return this.#entries('SELECT name, last_id FROM archives WHERE written_at_ms IS NULL LIMIT ?')
  }

  /** Written before this, the oldest, in bounded number. */
  old(cutoffMs: number): ArchiveEntry[] {
    return this.#entries(
      'SELECT name, last_id FROM archives WHERE written_at_ms <= ? ORDER BY written_at_ms LIMIT ?',
      cutoffMs,
    )
  }

  /** When the oldest was written; null where there is none. */
  oldestAtMs(): number | null {
    const row = this.#sql.exec('SELECT min(written_at_ms) AS n FROM archives').one()
    return v.parse(v.object({ n: v.nullable(v.number()) }), row).n
  }

  remove(entries: readonly ArchiveEntry[]): void {
    for (const { name, last_id } of entries)
      this.#sql.exec('DELETE FROM archives WHERE last_id = ? AND name = ?', last_id, name)
  }

  #entries(query: string, ...bindings: number[]): ArchiveEntry[] {
    return this.#sql
      .exec(query, ...bindings, LIMITS.archivesPerStep)
      .toArray()
      .map((row) => v.parse(Entry, row))
  }
}
