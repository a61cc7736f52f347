import * as v from 'valibot'
import { LIMITS } from '../limits.ts'

/** The directory in D1: which organizations and instances exist. Its schema is in `migrations/`. A throw is D1's. */

/** `createdAtMs` is unix milliseconds. */
export type InstanceRow = { id: string; organization: string | null; createdAtMs: number }

/** Adds the organization if it is not there yet. */
export const ensureOrganization = async (db: D1Database, id: string, nowMs: number): Promise<void> => {
  await db
    .prepare('INSERT INTO organizations (id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING')
    .bind(id, nowMs)
    .run()
}

/**
 * Adds the instance and answers whether it is new; one that exists is left as it is, its organization included. The
 * organization must exist (`ensureOrganization`), else D1 throws.
 */
export const createInstanceRow = async (
  db: D1Database,
  id: string,
  organization: string | null,
  nowMs: number,
): Promise<boolean> => {
  const result = await db
    .prepare('INSERT INTO instances (id, organization, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
    .bind(id, organization, nowMs)
    .run()
  return result.meta.changes > 0
}

/**
 * Writes the row of an instance that its actor has just founded at `createdAtMs`. An earlier instance of the same id may be
 * under deletion: its row becomes this one's, or was deleted a moment ago and is made again.
 */
export const settleInstanceRow = async (
  db: D1Database,
  id: string,
  organization: string | null,
  createdAtMs: number,
): Promise<void> => {
  await db
    .prepare(
      `INSERT INTO instances (id, organization, created_at) VALUES (?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET organization = excluded.organization, created_at = excluded.created_at`,
    )
    .bind(id, organization, createdAtMs)
    .run()
}

export const readInstanceRow = async (db: D1Database, id: string): Promise<InstanceRow | null> => {
  const row = await db.prepare('SELECT id, organization, created_at FROM instances WHERE id = ?').bind(id).first()
  return row === null ? null : parseRow(row)
}

/** Instances by id, those behind `after` (null: from the start), at most `limit`. `next` is the `after` of the next page. */
export const listInstances = async (
  db: D1Database,
  after: string | null,
  limit: number,
): Promise<{ rows: InstanceRow[]; next: string | null }> => {
  const size = Math.max(1, Math.min(limit, LIMITS.instancesPerPage))
  const { results } = await db
    .prepare('SELECT id, organization, created_at FROM instances WHERE id > ? ORDER BY id LIMIT ?')
    .bind(after ?? '', size + 1)
    .run()
  const rows = results.slice(0, size).map(parseRow)
  return { rows, next: results.length > size ? (rows.at(-1)?.id ?? null) : null }
}

/** Deletes this very row, not that of an instance made anew under its id. Answers whether it was there. */
export const deleteInstanceRow = async (db: D1Database, { id, createdAtMs }: InstanceRow): Promise<boolean> => {
  const result = await db.prepare('DELETE FROM instances WHERE id = ? AND created_at = ?').bind(id, createdAtMs).run()
  return result.meta.changes > 0
}

const Row = v.object({ id: v.string(), organization: v.nullable(v.string()), created_at: v.number() })

const parseRow = (row: unknown): InstanceRow => {
  const { id, organization, created_at } = v.parse(Row, row)
  return { id, organization, createdAtMs: created_at }
}
