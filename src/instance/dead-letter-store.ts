import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import type { JobStore } from './job-store.ts'

/** All SQL about dead letters: jobs that failed for good and were neither replayed nor discarded. Times in ms. */

/** A place among the dead letters: when the job failed, then its id. */
export type Place = { atMs: number; id: string }

/** The dead letters between two places, both excluded. */
export type Span = { after: Place; before: Place }

/** What must hold of a dead letter; null: anything. */
export type DeadLetterQuery = {
  project: string | null
  code: string | null
  type: string | null
  model: string | null
  provider: string | null
}

/** Jobs found, in order, and the place behind which to go on; null where nothing is left. A page may be short and have one. */
export type Found = { ids: string[]; next: Place | null }

const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const PlaceRow = v.object({ id: v.string(), ended_at_ms: count })

const OPEN = "status = 'failed' AND discarded_at_ms IS NULL"
const MATCH = `(?1 IS NULL OR code = ?1) AND (?2 IS NULL OR type = ?2) AND (?3 IS NULL OR model = ?3)
  AND (?4 IS NULL OR provider = ?4)`

export class DeadLetterStore {
  readonly #sql: SqlStorage
  readonly #jobs: JobStore

  /** `jobs` may hold rows that are not written yet: what is looked for here are theirs. */
  constructor(sql: SqlStorage, jobs: JobStore) {
    this.#sql = sql
    this.#jobs = jobs
  }

  /** Whether this job stands in the dead letters. */
  has(id: string): boolean {
    this.#jobs.flush()
    return this.#sql.exec(`SELECT 1 FROM jobs WHERE id = ? AND ${OPEN}`, id).toArray().length > 0
  }

  newest(query: DeadLetterQuery, span: Span, limit: number): Found {
    return this.#page(query, span, limit, 'DESC')
  }

  oldest(query: DeadLetterQuery, span: Span, limit: number): Found {
    return this.#page(query, span, limit, 'ASC')
  }

  /** How many match, by code. Reads an index only, and no more than a replay covers. */
  countByCode(query: DeadLetterQuery, span: Span): Record<string, number> {
    this.#jobs.flush()
    const Row = v.object({ code: v.string(), n: count })
    const rows = this.#sql
      .exec(
        `SELECT code, count(*) AS n FROM (${scanOf(query, 'ASC')}) WHERE ${MATCH} GROUP BY code`,
        ...bindingsOf(query, span, LIMITS.deadLettersPerReplay),
      )
      .toArray()
      .map((row) => v.parse(Row, row))
    return Object.fromEntries(rows.map(({ code, n }) => [code, n]))
  }

  /** The first place that one replay does not cover, or null where it covers all. */
  beyondReplay(query: DeadLetterQuery, span: Span): Place | null {
    const limit = LIMITS.deadLettersPerReplay + 1
    return this.#nth(query, span, limit, 'ASC')
  }

  #page(query: DeadLetterQuery, span: Span, limit: number, direction: 'ASC' | 'DESC'): Found {
    this.#jobs.flush()
    const rows = this.#sql
      .exec(
        `SELECT id, ended_at_ms FROM (${scanOf(query, direction)}) WHERE ${MATCH} LIMIT ?11`,
        ...bindingsOf(query, span, LIMITS.deadLettersPerScan),
        limit + 1,
      )
      .toArray()
      .map(placeOf)
    const page = rows.slice(0, limit)
    const isFull = rows.length > limit
    const next = isFull ? page.at(-1) : this.#nth(query, span, LIMITS.deadLettersPerScan, direction)
    return { ids: page.map(({ id }) => id), next: next ?? null }
  }

  /** The place of the `n`th dead letter in a span, whether or not it matches, or null where there are fewer. */
  #nth(query: DeadLetterQuery, span: Span, n: number, direction: 'ASC' | 'DESC'): Place | null {
    this.#jobs.flush()
    const [row] = this.#sql.exec(
      `SELECT id, ended_at_ms, code FROM (${scanOf(query, direction)}) LIMIT 1 OFFSET ?11`,
      ...bindingsOf(query, span, n),
      n - 1,
    )
    return row ? placeOf(row) : null
  }
}

/** The dead letters of a span, in bounded number. A project has an index of its own, so that a page shows no other's places. */
const scanOf = (query: DeadLetterQuery, direction: 'ASC' | 'DESC'): string => {
  const source = query.project === null ? 'jobs_dead WHERE ?5 IS NULL' : 'jobs_dead_project WHERE project = ?5'
  return `SELECT id, ended_at_ms, json_extract(fault, '$.code') AS code, type, model, provider FROM jobs INDEXED BY ${source} AND ${OPEN}
    AND (ended_at_ms, id) > (?6, ?7) AND (ended_at_ms, id) < (?8, ?9)
    ORDER BY ended_at_ms ${direction}, id ${direction} LIMIT ?10`
}

const bindingsOf = (query: DeadLetterQuery, { after, before }: Span, scan: number): (string | number | null)[] => [
  query.code,
  query.type,
  query.model,
  query.provider,
  query.project,
  after.atMs,
  after.id,
  before.atMs,
  before.id,
  scan,
]

const placeOf = (raw: Record<string, SqlStorageValue>): Place => {
  const row = v.parse(PlaceRow, raw)
  return { atMs: row.ended_at_ms, id: row.id }
}
