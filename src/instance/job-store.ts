import * as v from 'valibot'
import { ATTEMPT_FAULT_CODES, type AttemptFaultCode, type Fault } from '../contract/fault.ts'
import { NODE_TYPES, STATUSES, type Status } from '../contract/job.ts'
import type { Job as Lifecycle } from '../core/lifecycle.ts'
import { LIMITS } from '../limits.ts'

/** All SQL about jobs, their attempts and idempotency keys. Rows are parsed where they are read. */

const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const time = v.nullable(count)
const text = v.nullable(v.string())

const JobRow = v.object({
  id: v.string(),
  status: v.picklist(STATUSES),
  due_at_ms: time,
  provider: v.string(),
  model: v.string(),
  tag: v.number(),
  queued_at_ms: count,
  tokens: count,
  lane: v.nullable(count),
  attempt: count,
  counted: count,
  deadline_at_ms: count,
  created_at_ms: count,
  started_at_ms: time,
  ended_at_ms: time,
  provider_ms: time,
  store_ms: time,
  cost_micros: time,
  type: v.picklist(NODE_TYPES),
  project: text,
  priority: count,
  request_id: v.string(),
  input: v.string(),
  wishes: v.string(),
  metadata: v.string(),
  resume: text,
  output: text,
  fault: text,
  open_attempt: text,
})
export type JobRow = v.InferOutput<typeof JobRow>

const AttemptRow = v.object({
  number: count,
  model: v.string(),
  credential: v.string(),
  /** The number of the secret with which it began. */
  secret: count,
  reason: v.string(),
  started_at_ms: count,
  ended_at_ms: time,
  outcome: v.nullable(v.picklist(['done', ...ATTEMPT_FAULT_CODES])),
  provider_request_id: text,
  cost_micros: time,
  fault: text,
})
export type AttemptRow = v.InferOutput<typeof AttemptRow>

/** The attempt that runs, as it stands on its job's row until it ends: its intent costs no row of its own. */
const OpenAttempt = v.object({
  number: count,
  model: v.string(),
  credential: v.string(),
  secret: count,
  reason: v.string(),
  started_at_ms: count,
})

/** A running job as far as its lane and its credential go. */
export type RunningJob = {
  id: string
  attempt: number
  lane: number
  model: string
  credential: string
  started_at_ms: number
}

/** What the job asked for beyond its input, as one JSON column. */
export type Wishes = {
  models: string[]
  fallback: boolean
  maxAttempts: number
  onContentRejected: 'fail' | 'fallback'
  onOutcomeUnknown: 'fail' | 'retry'
  maxCostMicros: number | null
  prefer: 'cost' | 'speed' | 'quality' | null
  /** Why the first model was chosen, and which were not. */
  reason: string
  skipped: { model: string; reason: string }[]
}

export type NewJob = Omit<
  JobRow,
  | 'lane'
  | 'attempt'
  | 'counted'
  | 'started_at_ms'
  | 'ended_at_ms'
  | 'provider_ms'
  | 'store_ms'
  | 'cost_micros'
  | 'resume'
  | 'output'
  | 'fault'
  | 'open_attempt'
>

export type JobFilter = { status?: Status; type?: string; project?: string; before?: string; limit: number }

/** Rows looked at for one page of a filtered list: a filter that matches little must not scan millions in one turn. */
const SCAN = 5_000

/**
 * Rows that a transaction touches are read once and written once: `save` and its like change them in memory, `flush` writes
 * what has changed, and any query that looks for rows flushes first. Rows of running jobs stay in memory between
 * transactions, so that an attempt's end reads nothing.
 */
export class JobStore {
  readonly #sql: SqlStorage
  /** Rows of running jobs, and those that the last transaction touched. */
  readonly #rows = new Map<string, JobRow>()
  readonly #changed = new Set<string>()
  /** Rows that are not yet in the database. */
  readonly #fresh = new Set<string>()
  /** No job is due, or past its deadline, before these; undefined where that is not known. */
  #dueFloor: number | null | undefined
  #deadlineFloor: number | null | undefined

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** A transaction begins: what the last one touched is let go. */
  begin(): void {
    for (const [id, row] of this.#rows) if (row.status !== 'running') this.#rows.delete(id)
  }

  /** Writes what has changed. A transaction ends with it. */
  flush(): void {
    for (const id of this.#fresh) {
      const row = this.#rows.get(id)
      if (row) this.#create(row)
      this.#changed.delete(id)
    }
    this.#fresh.clear()
    for (const id of this.#changed) {
      const row = this.#rows.get(id)
      if (row) this.#write(row)
    }
    this.#changed.clear()
  }

  /** Forgets what was in memory and not written, and reads the running jobs anew. */
  reload(): void {
    this.#changed.clear()
    this.#fresh.clear()
    this.#rows.clear()
    this.#dueFloor = undefined
    this.#deadlineFloor = undefined
    for (const row of this.#select("SELECT * FROM jobs WHERE ended_at_ms IS NULL AND status = 'running'")) {
      this.#rows.set(row.id, row)
    }
  }

  insert(job: NewJob): void {
    this.#rows.set(job.id, { ...NOTHING_YET, ...job })
    this.#fresh.add(job.id)
    this.#dueFloor = lower(this.#dueFloor, job.due_at_ms)
    this.#deadlineFloor = lower(this.#deadlineFloor, job.deadline_at_ms)
  }

  find(id: string): JobRow | null {
    return this.#rows.get(id) ?? this.#select('SELECT * FROM jobs WHERE id = ?', id)[0] ?? null
  }

  /** Of a running job; null for any other. */
  findRunning(id: string): JobRow | null {
    const row = this.#rows.get(id)
    return row?.status === 'running' ? row : null
  }

  /** The first jobs of one model and priority that could start now, behind `after` where the head is known already. */
  heads(model: string, priority: number, limit: number, after: { tag: number; id: string } | null = null): JobRow[] {
    return this.#touched(
      `SELECT * FROM jobs INDEXED BY jobs_queue WHERE model = ? AND priority = ? AND status = 'queued'
       AND due_at_ms IS NULL AND (tag, id) > (?, ?) ORDER BY tag, id LIMIT ?`,
      model,
      priority,
      after?.tag ?? -1,
      after?.id ?? '',
      limit,
    )
  }

  due(now: number): JobRow[] {
    if (!isReached(this.#dueFloor, now)) return []
    this.#dueFloor = undefined
    return this.#touched(
      'SELECT * FROM jobs WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT ?',
      now,
      LIMITS.claimsPerTurn,
    )
  }

  overdue(now: number): JobRow[] {
    if (!isReached(this.#deadlineFloor, now)) return []
    this.#deadlineFloor = undefined
    return this.#touched(
      'SELECT * FROM jobs WHERE ended_at_ms IS NULL AND deadline_at_ms <= ? ORDER BY deadline_at_ms LIMIT ?',
      now,
      LIMITS.claimsPerTurn,
    )
  }

  /** When the first job is due, or earlier where that job has ended meanwhile; null where none waits for a time. */
  nextDue(): number | null {
    if (this.#dueFloor === undefined)
      this.#dueFloor = this.#number('SELECT min(due_at_ms) AS n FROM jobs WHERE due_at_ms IS NOT NULL')
    return this.#dueFloor
  }

  /** When the first deadline is, or earlier where its job has ended meanwhile. */
  nextDeadline(): number | null {
    if (this.#deadlineFloor === undefined)
      this.#deadlineFloor = this.#number('SELECT min(deadline_at_ms) AS n FROM jobs WHERE ended_at_ms IS NULL')
    return this.#deadlineFloor
  }

  /** The new state of a job, its place in the queue included. */
  save(
    id: string,
    job: Lifecycle,
    place: { provider: string; tag: number; queuedAtMs: number; lane: number | null },
  ): void {
    this.#dueFloor = lower(this.#dueFloor, job.dueAtMs)
    this.#change(id, {
      status: job.status,
      due_at_ms: job.dueAtMs,
      provider: place.provider,
      model: job.model,
      tag: place.tag,
      queued_at_ms: place.queuedAtMs,
      lane: place.lane,
      attempt: job.attempt,
      counted: job.counted,
      started_at_ms: job.startedAtMs,
      ended_at_ms: job.endedAtMs,
      resume: job.resume,
      fault: job.fault ? JSON.stringify(job.fault) : null,
    })
  }

  saveResult(
    id: string,
    result: { output: string | null; costMicros: number | null; providerMs: number; storeMs: number },
  ): void {
    const before = this.find(id)
    this.#change(id, {
      output: result.output,
      cost_micros: result.costMicros,
      provider_ms: (before?.provider_ms ?? 0) + result.providerMs,
      store_ms: (before?.store_ms ?? 0) + result.storeMs,
    })
  }

  openAttempt(
    job: string,
    number: number,
    model: string,
    credential: { name: string; secret: number },
    reason: string,
    now: number,
  ): void {
    const open: v.InferOutput<typeof OpenAttempt> = {
      number,
      model,
      credential: credential.name,
      secret: credential.secret,
      reason,
      started_at_ms: now,
    }
    this.#change(job, { open_attempt: JSON.stringify(open) })
  }

  closeAttempt(
    job: string,
    number: number,
    end: {
      at: number
      outcome: 'done' | AttemptFaultCode
      providerRequestId: string | null
      costMicros: number | null
      fault: Fault | null
    },
  ): void {
    const open = openAttemptOf(this.find(job))
    if (open?.number !== number) return
    this.#sql.exec(
      `INSERT INTO attempts (job, number, model, credential, secret, reason, started_at_ms, ended_at_ms, outcome,
         provider_request_id, cost_micros, fault) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      job,
      number,
      open.model,
      open.credential,
      open.secret,
      open.reason,
      open.started_at_ms,
      end.at,
      end.outcome,
      end.providerRequestId,
      end.costMicros,
      end.fault ? JSON.stringify(end.fault) : null,
    )
    this.#change(job, { open_attempt: null })
  }

  /** In order, the one that runs last. */
  attempts(job: string): AttemptRow[] {
    const row = this.find(job)
    const open = openAttemptOf(row)
    const ended =
      row && row.attempt <= (open ? 1 : 0)
        ? []
        : this.#sql
            .exec('SELECT * FROM attempts WHERE job = ? ORDER BY number', job)
            .toArray()
            .map((attempt) => v.parse(AttemptRow, attempt))
    return open ? [...ended, open] : ended
  }

  /** Jobs that run, in memory. */
  running(): RunningJob[] {
    return [...this.#rows.values()].flatMap((row) => {
      const open = openAttemptOf(row)
      if (row.status !== 'running' || row.lane === null || !open) return []
      const { credential, started_at_ms } = open
      return [{ id: row.id, attempt: row.attempt, lane: row.lane, model: row.model, credential, started_at_ms }]
    })
  }

  /** Counts per provider and status of everything that has not ended. Scans the live jobs: at the actor's start only. */
  liveCounts(): { provider: string; status: Status; count: number }[] {
    const Row = v.object({ provider: v.string(), status: v.picklist(STATUSES), count })
    return this.#sql
      .exec('SELECT provider, status, count(*) AS count FROM jobs WHERE ended_at_ms IS NULL GROUP BY provider, status')
      .toArray()
      .map((row) => v.parse(Row, row))
  }

  /** Per provider, model, priority and minute since when they wait: how many could start. At the actor's start only. */
  readyCounts(): { provider: string; model: string; priority: number; minute: number; count: number }[] {
    const Row = v.object({ provider: v.string(), model: v.string(), priority: count, minute: count, count })
    return this.#sql
      .exec(
        `SELECT provider, model, priority, queued_at_ms / 60000 AS minute, count(*) AS count FROM jobs
         WHERE status = 'queued' AND due_at_ms IS NULL GROUP BY provider, model, priority, minute`,
      )
      .toArray()
      .map((row) => v.parse(Row, row))
  }

  /** Least and greatest tag of what waits, runs or waits for a retry, per provider, priority and project. At the actor's start only. */
  tagRanges(): { provider: string; priority: number; project: string | null; least: number; greatest: number }[] {
    const Row = v.object({
      provider: v.string(),
      priority: count,
      project: text,
      least: v.number(),
      greatest: v.number(),
    })
    return this.#sql
      .exec(
        `SELECT provider, priority, project, min(tag) AS least, max(tag) AS greatest FROM jobs
         WHERE ended_at_ms IS NULL AND status <> 'scheduled' GROUP BY provider, priority, project`,
      )
      .toArray()
      .map((row) => v.parse(Row, row))
  }

  /** Jobs of the same model and priority that stand before this one, counted up to a bound. */
  ahead(row: JobRow, bound: number): number {
    const found = this.#number(
      `SELECT count(*) AS n FROM (SELECT 1 FROM jobs INDEXED BY jobs_queue WHERE model = ? AND priority = ?
         AND status = 'queued' AND due_at_ms IS NULL AND (tag, id) < (?, ?) LIMIT ?)`,
      row.model,
      row.priority,
      row.tag,
      row.id,
      bound,
    )
    return found ?? 0
  }

  /** Newest first. `next` is the id to go on before, or null at the end; a filtered page may be short and still have one. */
  list(filter: JobFilter): { rows: JobRow[]; next: string | null } {
    const before = filter.before ?? 'job_~'
    // The inner query stays a co-routine, so its order holds and no more is read than the page needs.
    const rows = this.#select(
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
    const [scanned] = this.#sql.exec(
      'SELECT id FROM jobs WHERE id < ? ORDER BY id DESC LIMIT 1 OFFSET ?',
      before,
      SCAN - 1,
    )
    return { rows, next: scanned ? v.parse(v.object({ id: v.string() }), scanned).id : null }
  }

  // --------------------------------------------------------------------------------------------- idempotency

  findIdempotent(scope: string, key: string, now: number): { fingerprint: string; job: string } | null {
    const [row] = this.#sql.exec(
      'SELECT fingerprint, job FROM idempotency WHERE scope = ? AND key = ? AND created_at_ms > ?',
      scope,
      key,
      now - LIMITS.idempotencyKeepMs,
    )
    return row ? v.parse(v.object({ fingerprint: v.string(), job: v.string() }), row) : null
  }

  /** Remembers the key and forgets two expired ones, so that the table needs no clean-up of its own. */
  insertIdempotent(scope: string, key: string, fingerprint: string, job: string, now: number): void {
    this.#sql.exec(
      `DELETE FROM idempotency WHERE (scope, key) IN
         (SELECT scope, key FROM idempotency WHERE created_at_ms <= ? ORDER BY created_at_ms LIMIT 2)`,
      now - LIMITS.idempotencyKeepMs,
    )
    this.#sql.exec('INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?)', scope, key, fingerprint, job, now)
  }

  /** Rows that a transaction is going to change: kept, so that they are not read again. */
  #touched(query: string, ...bindings: (string | number | null)[]): JobRow[] {
    const rows = this.#select(query, ...bindings)
    for (const row of rows) this.#rows.set(row.id, row)
    return rows
  }

  #change(id: string, changes: Partial<JobRow>): void {
    const row = this.find(id)
    if (!row) return
    this.#rows.set(id, { ...row, ...changes })
    this.#changed.add(id)
  }

  #create(row: JobRow): void {
    this.#sql.exec(
      `INSERT INTO jobs (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`,
      ...valuesOf(row),
    )
  }

  #write(row: JobRow): void {
    this.#sql.exec(
      `UPDATE jobs SET status = ?, due_at_ms = ?, provider = ?, model = ?, tag = ?, queued_at_ms = ?, lane = ?, attempt = ?,
         counted = ?, started_at_ms = ?, ended_at_ms = ?, provider_ms = ?, store_ms = ?, cost_micros = ?, resume = ?,
         output = ?, fault = ?, open_attempt = ? WHERE id = ?`,
      row.status,
      row.due_at_ms,
      row.provider,
      row.model,
      row.tag,
      row.queued_at_ms,
      row.lane,
      row.attempt,
      row.counted,
      row.started_at_ms,
      row.ended_at_ms,
      row.provider_ms,
      row.store_ms,
      row.cost_micros,
      row.resume,
      row.output,
      row.fault,
      row.open_attempt,
      row.id,
    )
  }

  #select(query: string, ...bindings: (string | number | null)[]): JobRow[] {
    this.flush()
    return this.#sql
      .exec(query, ...bindings)
      .toArray()
      .map((row) => v.parse(JobRow, row))
  }

  #number(query: string, ...bindings: (string | number | null)[]): number | null {
    this.flush()
    return v.parse(v.object({ n: v.nullable(v.number()) }), this.#sql.exec(query, ...bindings).one()).n
  }
}

const COLUMNS = Object.keys(JobRow.entries) as (keyof JobRow)[]
const valuesOf = (row: JobRow) => COLUMNS.map((column) => row[column])

const NOTHING_YET = {
  lane: null,
  attempt: 0,
  counted: 0,
  started_at_ms: null,
  ended_at_ms: null,
  provider_ms: null,
  store_ms: null,
  cost_micros: null,
  resume: null,
  output: null,
  fault: null,
  open_attempt: null,
} as const

const openAttemptOf = (row: JobRow | null): AttemptRow | null =>
  row === null || row.open_attempt === null
    ? null
    : {
        ...v.parse(OpenAttempt, JSON.parse(row.open_attempt)),
        ended_at_ms: null,
        outcome: null,
        provider_request_id: null,
        cost_micros: null,
        fault: null,
      }

const lower = (floor: number | null | undefined, time: number | null): number | null | undefined =>
  floor === undefined || time === null ? floor : floor === null ? time : Math.min(floor, time)

/** A floor that is not known may have been reached. */
const isReached = (floor: number | null | undefined, now: number): boolean =>
  floor === undefined || (floor !== null && floor <= now)
