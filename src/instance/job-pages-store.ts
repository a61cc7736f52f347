import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { CarefulRow, type JobFilter, type JobRow } from './job-rows.ts'
import type { Unreadable } from './unreadable.ts'

/** Rows looked at for one page of a filtered list: a filter that matches little must not scan millions in one turn. */
const SCAN = 5_000

/** The list of jobs, page by page, as it is in the database. */
export class JobPages {
  readonly #sql: SqlStorage
  readonly #unreadable: Unreadable

  constructor(sql: SqlStorage, unreadable: Unreadable) {
    this.#sql = sql
    this.#unreadable = unreadable
  }

  read(filter: JobFilter): { rows: JobRow[]; next: string | null } {
    const before = filter.before ?? 'job_~'
    if (filter.batch !== undefined) return this.#readBatch(filter.batch, before, filter)
    // The inner query stays a co-routine, so its order holds and no more is read than the page needs.
    const { rows, cutAt } = this.#page(
      `SELECT * FROM (SELECT * FROM jobs WHERE id < ?1 ORDER BY id DESC LIMIT ?2)
       WHERE (?3 IS NULL OR status = ?3) AND (?4 IS NULL OR type = ?4) AND (?5 IS NULL OR project = ?5) LIMIT ?6`,
      before,
      SCAN,
      filter.status ?? null,
      filter.type ?? null,
      filter.project ?? null,
      filter.limit + 1,
    )
    if (rows.length > filter.limit)
      return { rows: rows.slice(0, filter.limit), next: rows[filter.limit - 1]?.id ?? null }
    if (cutAt !== null) return { rows, next: cutAt }
    const [scanned] = this.#sql.exec(
      'SELECT id FROM jobs WHERE id < ? ORDER BY id DESC LIMIT 1 OFFSET ?',
      before,
      SCAN - 1,
    )
    if (!scanned) return { rows, next: null }
    const { id } = v.parse(v.object({ id: v.string() }), scanned)
    const next = filter.project === undefined ? id : endOfMoment(id)
    return next < before ? { rows: rows.filter((row) => row.id > next), next } : { rows, next: id }
  }

  /** A batch has few jobs, all under one index entry: only long texts make a page short. */
  #readBatch(batch: string, before: string, filter: JobFilter): { rows: JobRow[]; next: string | null } {
    const { rows, cutAt } = this.#page(
      `SELECT * FROM jobs WHERE batch = ?1 AND id < ?2 AND (?3 IS NULL OR status = ?3) AND (?4 IS NULL OR type = ?4)
       AND (?5 IS NULL OR project = ?5) ORDER BY id DESC LIMIT ?6`,
      batch,
      before,
      filter.status ?? null,
      filter.type ?? null,
      filter.project ?? null,
      filter.limit + 1,
    )
    const page = rows.slice(0, filter.limit)
    return { rows: page, next: rows.length > filter.limit ? (page.at(-1)?.id ?? null) : cutAt }
  }

  /** Rows of a page, as many as fit into memory; `cutAt` is the id of the last that was read, where there may be more. */
  #page(query: string, ...bindings: (string | number | null)[]): { rows: JobRow[]; cutAt: string | null } {
    const read: Record<string, SqlStorageValue>[] = []
    let characters = 0
    for (const row of this.#sql.exec(query, ...bindings)) {
      read.push(row)
      characters += String(row['input']).length + String(row['output'] ?? '').length
      if (characters > LIMITS.jobsPageCharacters) break
    }
    const rows = this.#unreadable.readable(CarefulRow, read)
    return { rows, cutAt: characters > LIMITS.jobsPageCharacters ? String(read.at(-1)?.['id']) : null }
  }
}

/**
 * Behind every id of this one's millisecond: a cursor that names no job, where the last one looked at may be another
 * project's. Jobs of that millisecond are looked at again with the next page.
 */
const endOfMoment = (id: string): string => `${id.slice(0, 'job_'.length + 10)}${'Z'.repeat(16)}`
