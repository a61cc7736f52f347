import * as v from 'valibot'
import { DURABLE_EVENTS, type DurableEvent, type Event } from '../contract/event.ts'
import type { Json } from '../contract/fields.ts'
import { LIMITS } from '../limits.ts'
import type { EventFilter } from './audience.ts'

/** The instance's story: numbered from 1 without gaps, written in the transaction of what it tells. */

const EventRow = v.object({
  seq: v.number(),
  job: v.nullable(v.string()),
  batch: v.nullable(v.string()),
  type: v.picklist(DURABLE_EVENTS),
  at_ms: v.number(),
  data: v.string(),
})

/** The platform binds at most 100 values to a statement. */
const ROWS_PER_STATEMENT = 14

/** Events looked at in one go for a subscriber of one project: other projects' events must not make a long turn. */
const SCAN = 5_000

export class EventStore {
  readonly #sql: SqlStorage
  /** Of the transaction under way: written together when it ends, since a statement costs more than a row. */
  readonly #unwritten: (string | number | null)[][] = []

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** `id` is null where the event concerns a project or, with no `project`, the whole instance. */
  append(
    seq: number,
    job: { id: string | null; project: string | null; batch?: string | null },
    type: DurableEvent,
    atMs: number,
    data: { [key: string]: Json },
  ): Event {
    this.#unwritten.push([seq, job.id, job.project, type, atMs, JSON.stringify(data), job.batch ?? null])
    return { seq, type, job: job.id, ...batchOf(job.batch), at: new Date(atMs).toISOString(), data }
  }

  /** Writes what was appended. A transaction ends with it. */
  flush(): void {
    while (this.#unwritten.length > 0) {
      const rows = this.#unwritten.splice(0, ROWS_PER_STATEMENT)
      const places = rows.map(() => '(?, ?, ?, ?, ?, ?, ?)').join(', ')
      this.#sql.exec(
        `INSERT INTO events (seq, job, project, type, at_ms, data, batch) VALUES ${places}`,
        ...rows.flat(),
      )
    }
  }

  /** Drops what a transaction that was rolled back has appended. */
  discard(): void {
    this.#unwritten.length = 0
  }

  /** First and last number kept; `last` is 0 before the first event. */
  bounds(): { first: number; last: number } {
    const Row = v.object({ first: v.nullable(v.number()), last: v.nullable(v.number()) })
    const row = this.#sql
      .exec('SELECT (SELECT min(seq) FROM events) AS first, (SELECT max(seq) FROM events) AS last')
      .one()
    const { first, last } = v.parse(Row, row)
    return { first: first ?? 1, last: last ?? 0 }
  }

  /** Whether the story of one job or batch is kept from its beginning. */
  isWhole({ job, batch }: EventFilter): boolean {
    const [column, id] = job ? ['job', job] : ['batch', batch]
    if (!id) return false
    const [row] = this.#sql.exec(`SELECT type FROM events WHERE ${column} = ? ORDER BY seq LIMIT 1`, id)
    return row?.['type'] === 'job.queued'
  }

  /** The next events behind `cursor`, and the number up to which the story has now been read. */
  after(cursor: number, filter: EventFilter, head: number): { events: Event[]; cursor: number } {
    const events = this.#read(cursor, filter)
    const last = events.at(-1)
    if (last && events.length === LIMITS.replayEvents) return { events, cursor: last.seq }
    return {
      events,
      cursor: filter.project === null || filter.job || filter.batch ? head : Math.min(head, cursor + SCAN),
    }
  }

  #read(cursor: number, filter: EventFilter): Event[] {
    const limit = LIMITS.replayEvents
    if (filter.job) {
      return this.#events(
        'SELECT * FROM events WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?',
        filter.job,
        cursor,
        limit,
      )
    }
    if (filter.batch) {
      return this.#events(
        'SELECT * FROM events WHERE batch = ? AND seq > ? ORDER BY seq LIMIT ?',
        filter.batch,
        cursor,
        limit,
      )
    }
    if (filter.project === null)
      return this.#events('SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?', cursor, limit)
    return this.#events(
      'SELECT * FROM events WHERE seq > ? AND seq <= ? AND project = ? ORDER BY seq LIMIT ?',
      cursor,
      cursor + SCAN,
      filter.project,
      limit,
    )
  }

  #events(query: string, ...bindings: (string | number)[]): Event[] {
    return this.#sql
      .exec(query, ...bindings)
      .toArray()
      .map(toEvent)
  }
}

/** Only events of a batch bear the field. */
const batchOf = (batch: string | null | undefined): { batch?: string } => (batch ? { batch } : {})

const toEvent = (raw: Record<string, SqlStorageValue>): Event => {
  const row = v.parse(EventRow, raw)
  return {
    seq: row.seq,
    type: row.type,
    job: row.job,
    ...batchOf(row.batch),
    at: new Date(row.at_ms).toISOString(),
    data: JSON.parse(row.data) as Event['data'],
  }
}
