import * as v from 'valibot'
import { DURABLE_EVENTS, type DurableEvent } from '../contract/event.ts'
import { LINE_EVENTS, type LineEvent, type LogPlace } from '../contract/log.ts'
import { LIMITS } from '../limits.ts'

/** All SQL about the log: its own lines, and the events of jobs as far as they are lines of it. */

const text = v.nullable(v.string())
const data = v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.any()))

const LineRow = v.object({
  seq: v.number(),
  number: v.number(),
  at_ms: v.number(),
  event: v.picklist(LINE_EVENTS),
  job: text,
  project: text,
  request_id: text,
  data,
})

const EventRow = v.object({
  seq: v.number(),
  number: v.literal(0),
  at_ms: v.number(),
  event: v.picklist(DURABLE_EVENTS),
  job: text,
  project: text,
  request_id: text,
  data,
})
export type LogRow = v.InferOutput<typeof LineRow> | v.InferOutput<typeof EventRow>

export type NewLine = {
  seq: number
  at: number
  event: LineEvent
  job: string | null
  project: string | null
  requestId: string | null
  data: string
}

/** What is looked for, newest first, among what is older than `before`. Times are ms since the epoch. */
export type LogSearch<E> = {
  before: LogPlace
  events: E[]
  /** Null: any. */
  jobs: string[] | null
  project: string | null
  requestId: string | null
  fromMs: number
  toMs: number
  limit: number
}

/** Rows found, and down to which place all was looked at; null where that is all there is. */
export type LogFound = { rows: LogRow[]; reached: LogPlace | null }

/** Those of the partial index `events_notable`, in its very words: SQLite uses it for no others. */
const NOTABLE = [
  'job.retrying',
  'job.fallback',
  'job.failed',
  'job.canceled',
  'job.replayed',
  'credential.disabled',
  'credential.cooled',
  'budget.alert',
]
const IS_NOTABLE = `type IN (${NOTABLE.map((type) => `'${type}'`).join(', ')})`

/** The eight characters in which an id made by Switchyard tells its second. */
const SECOND = /^[0-9A-HJKMNP-TV-Z]{8}$/

export class LogStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** Appends a line, and drops the oldest above the bound. */
  append(line: NewLine): void {
    const number = (this.#number('SELECT number AS n FROM log ORDER BY seq DESC, number DESC LIMIT 1') ?? 0) + 1
    this.#sql.exec(
      'INSERT INTO log (seq, number, at_ms, event, job, project, request_id, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      line.seq,
      number,
      line.at,
      line.event,
      line.job,
      line.project,
      line.requestId,
      line.data,
    )
    const oldest = this.#number('SELECT number AS n FROM log ORDER BY seq, number LIMIT 1') ?? number
    if (number - oldest < LIMITS.logLines) return
    this.#sql.exec('DELETE FROM log WHERE (seq, number) IN (SELECT seq, number FROM log ORDER BY seq, number LIMIT 1)')
  }

  lines(search: LogSearch<LineEvent>): LogFound {
    const { before } = search
    if (search.events.length === 0) return NOTHING
    const rows = this.#sql
      .exec(
        `SELECT * FROM (SELECT * FROM log WHERE (seq, number) < (?1, ?2) ORDER BY seq DESC, number DESC LIMIT ?3)
         WHERE event IN (SELECT value FROM json_each(?4)) AND (?5 IS NULL OR job IN (SELECT value FROM json_each(?5)))
           AND (?6 IS NULL OR project = ?6) AND (?7 IS NULL OR request_id = ?7) AND at_ms >= ?8 AND at_ms < ?9 LIMIT ?10`,
        before.seq,
        before.number,
        LIMITS.logScan,
        JSON.stringify(search.events),
        search.jobs === null ? null : JSON.stringify(search.jobs),
        search.project,
        search.requestId,
        search.fromMs,
        search.toMs,
        search.limit,
      )
      .toArray()
      .map((row) => v.parse(LineRow, row))
    const [edge] = this.#sql.exec(
      'SELECT seq, number FROM log WHERE (seq, number) < (?, ?) ORDER BY seq DESC, number DESC LIMIT 1 OFFSET ?',
      before.seq,
      before.number,
      LIMITS.logScan - 1,
    )
    return found(rows, search.limit, edge ? v.parse(v.object({ seq: v.number(), number: v.number() }), edge) : null)
  }

  /**
   * Events of certain jobs by their index, notable ones by theirs; all others by number, a bounded piece at a time. Where a
   * time is asked for, numbers are narrowed to it first: they rise with time, but for what a clock that was set back shifts.
   */
  events(search: LogSearch<DurableEvent>): LogFound {
    const { before, events, jobs } = search
    if (events.length === 0 || jobs?.length === 0) return NOTHING
    // The event of the place itself is older than the lines behind it.
    const end = Math.min(before.seq + (before.number > 0 ? 1 : 0), this.#firstFrom(search.toMs))
    const piece = [this.#firstFrom(search.fromMs), end, jobs === null ? null : JSON.stringify(jobs), LIMITS.logScan]
    const source = `${sourceOf(events, jobs)} AND seq >= ?1 AND seq < ?2 ORDER BY seq DESC`
    const rows = this.#sql
      .exec(
        `SELECT found.seq, 0 AS number, at_ms, found.type AS event, job, found.project, jobs.request_id, data FROM
           (SELECT * FROM (SELECT * FROM ${source} LIMIT ?4) WHERE type IN (SELECT value FROM json_each(?5))
              AND (?6 IS NULL OR project = ?6) AND at_ms >= ?7 AND at_ms < ?8 LIMIT ?9) AS found
         LEFT JOIN jobs ON jobs.id = found.job ORDER BY found.seq DESC`,
        ...piece,
        JSON.stringify(events),
        search.project,
        search.fromMs,
        search.toMs,
        search.limit,
      )
      .toArray()
      .map((row) => v.parse(EventRow, row))
    const edge = this.#number(`SELECT seq AS n FROM ${source} LIMIT 1 OFFSET ?4 - 1`, ...piece)
    return found(rows, search.limit, edge === null ? null : { seq: edge, number: 0 })
  }

  /**
   * The newest jobs of a request. An id that Switchyard made tells its second as the job's id does, so jobs of that second
   * are looked through; those of any other id stand in the partial index `jobs_request`.
   */
  jobsOf(requestId: string): string[] {
    const Row = v.object({ id: v.string() })
    const indexed = this.#sql
      .exec(
        `SELECT id FROM jobs INDEXED BY jobs_request WHERE request_id = ? AND substr(request_id, 5, 8) <> substr(id, 5, 8)
         ORDER BY id DESC LIMIT ?`,
        requestId,
        LIMITS.logJobsPerRequest,
      )
      .toArray()
    const second = requestId.slice(4, 12)
    const timed = SECOND.test(second)
      ? this.#sql
          .exec(
            'SELECT id FROM jobs WHERE id >= ? AND id < ? AND request_id = ? ORDER BY id DESC LIMIT ?',
            `job_${second}`,
            `job_${second}~`,
            requestId,
            LIMITS.logJobsPerRequest,
          )
          .toArray()
      : []
    return [...indexed, ...timed]
      .map((row) => v.parse(Row, row).id)
      .sort()
      .reverse()
      .slice(0, LIMITS.logJobsPerRequest)
  }

  /** The number of the first event that is not older than this; one behind the last where none is. By halving. */
  #firstFrom(ms: number): number {
    if (ms === 0 || ms === Number.MAX_SAFE_INTEGER) return ms
    let low = this.#number('SELECT min(seq) AS n FROM events') ?? 1
    let high = (this.#number('SELECT max(seq) AS n FROM events') ?? 0) + 1
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const at = this.#number('SELECT at_ms AS n FROM events WHERE seq >= ? ORDER BY seq LIMIT 1', middle)
      if (at === null || at >= ms) high = middle
      else low = middle + 1
    }
    return low
  }

  #number(query: string, ...bindings: (string | number | null)[]): number | null {
    const [row] = this.#sql.exec(query, ...bindings)
    return row ? v.parse(v.object({ n: v.nullable(v.number()) }), row).n : null
  }
}

/** Every source takes the jobs as its third binding. */
const sourceOf = (events: readonly DurableEvent[], jobs: readonly string[] | null): string => {
  if (jobs !== null) return 'events INDEXED BY events_job WHERE job IN (SELECT value FROM json_each(?3))'
  const isNotable = events.every((event) => NOTABLE.includes(event))
  return isNotable ? `events INDEXED BY events_notable WHERE ?3 IS NULL AND ${IS_NOTABLE}` : 'events WHERE ?3 IS NULL'
}

const NOTHING: LogFound = { rows: [], reached: null }

/** With a full page the rest is for the next; else all of the piece was told. */
const found = (rows: LogRow[], limit: number, edge: LogPlace | null): LogFound => {
  const last = rows.at(-1)
  return { rows, reached: last && rows.length === limit ? { seq: last.seq, number: last.number } : edge }
}
