import * as v from 'valibot'
import { ATTEMPT_FAULT_CODES, type AttemptFaultCode, type Fault } from '../contract/fault.ts'
import { NODE_TYPES, STATUSES, type Status } from '../contract/job.ts'
import type { PriceSnapshot } from '../contract/price.ts'
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
})
export type JobRow = v.InferOutput<typeof JobRow>

const AttemptRow = v.object({
  number: count,
  model: v.string(),
  credential: v.string(),
  reason: v.string(),
  started_at_ms: count,
  ended_at_ms: time,
  outcome: v.nullable(v.picklist(['done', ...ATTEMPT_FAULT_CODES])),
  provider_request_id: text,
  cost_micros: time,
  fault: text,
})
export type AttemptRow = v.InferOutput<typeof AttemptRow>

const RunningRow = v.object({ id: v.string(), attempt: count, lane: count, model: v.string(), started_at_ms: count })
export type RunningRow = v.InferOutput<typeof RunningRow>

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
  /** What the job was judged by, per model that has a price; left out in jobs of versions that kept none. */
  prices?: Record<string, PriceSnapshot>
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
>

export type JobFilter = { status?: Status; type?: string; project?: string; before?: string; limit: number }

/** Rows looked at for one page of a filtered list: a filter that matches little must not scan millions in one turn. */
const SCAN = 5_000

export class JobStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  insert(job: NewJob): void {
    this.#sql.exec(
      `INSERT INTO jobs (id, status, due_at_ms, provider, model, tag, queued_at_ms, tokens, attempt, counted,
         deadline_at_ms, created_at_ms, type, project, priority, request_id, input, wishes, metadata)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      job.id,
      job.status,
      job.due_at_ms,
      job.provider,
      job.model,
      job.tag,
      job.queued_at_ms,
      job.tokens,
      job.deadline_at_ms,
      job.created_at_ms,
      job.type,
      job.project,
      job.priority,
      job.request_id,
      job.input,
      job.wishes,
      job.metadata,
    )
  }

  find(id: string): JobRow | null {
    const [row] = this.#sql.exec('SELECT * FROM jobs WHERE id = ?', id)
    return row ? v.parse(JobRow, row) : null
  }

  /** The little that progress needs to know of a running job. */
  findRunning(id: string): { attempt: number; model: string; project: string | null } | null {
    const Row = v.object({ attempt: count, model: v.string(), project: text })
    const [row] = this.#sql.exec("SELECT attempt, model, project FROM jobs WHERE id = ? AND status = 'running'", id)
    return row ? v.parse(Row, row) : null
  }

  /** The first jobs of one model and priority that could start now, behind `after` where the head is known already. */
  heads(model: string, priority: number, limit: number, after: { tag: number; id: string } | null = null): JobRow[] {
    return this.#rows(
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
    return this.#rows('SELECT * FROM jobs WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT ?', now, LIMITS.claimsPerTurn)
  }

  overdue(now: number): JobRow[] {
    return this.#rows(
      'SELECT * FROM jobs WHERE ended_at_ms IS NULL AND deadline_at_ms <= ? ORDER BY deadline_at_ms LIMIT ?',
      now,
      LIMITS.claimsPerTurn,
    )
  }

  nextDue(): number | null {
    return this.#number('SELECT min(due_at_ms) AS n FROM jobs WHERE due_at_ms IS NOT NULL')
  }

  nextDeadline(): number | null {
    return this.#number('SELECT min(deadline_at_ms) AS n FROM jobs WHERE ended_at_ms IS NULL')
  }

  /** Writes the new state of a job, its place in the queue included. */
  save(
    id: string,
    job: Lifecycle,
    place: { provider: string; tag: number; queuedAtMs: number; lane: number | null },
  ): void {
    this.#sql.exec(
      `UPDATE jobs SET status = ?, due_at_ms = ?, provider = ?, model = ?, tag = ?, queued_at_ms = ?, lane = ?, attempt = ?,
         counted = ?, started_at_ms = ?, ended_at_ms = ?, resume = ?, fault = ? WHERE id = ?`,
      job.status,
      job.dueAtMs,
      place.provider,
      job.model,
      place.tag,
      place.queuedAtMs,
      place.lane,
      job.attempt,
      job.counted,
      job.startedAtMs,
      job.endedAtMs,
      job.resume,
      job.fault ? JSON.stringify(job.fault) : null,
      id,
    )
  }

  saveResult(
    id: string,
    result: { output: string | null; costMicros: number | null; providerMs: number; storeMs: number },
  ): void {
    this.#sql.exec(
      `UPDATE jobs SET output = ?, cost_micros = ?, provider_ms = coalesce(provider_ms, 0) + ?,
         store_ms = coalesce(store_ms, 0) + ? WHERE id = ?`,
      result.output,
      result.costMicros,
      result.providerMs,
      result.storeMs,
      id,
    )
  }

  openAttempt(job: string, number: number, model: string, credential: string, reason: string, now: number): void {
    this.#sql.exec(
      'INSERT INTO attempts (job, number, model, credential, reason, started_at_ms) VALUES (?, ?, ?, ?, ?, ?)',
      job,
      number,
      model,
      credential,
      reason,
      now,
    )
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
    this.#sql.exec(
      `UPDATE attempts SET ended_at_ms = ?, outcome = ?, provider_request_id = ?, cost_micros = ?, fault = ?
       WHERE job = ? AND number = ? AND ended_at_ms IS NULL`,
      end.at,
      end.outcome,
      end.providerRequestId,
      end.costMicros,
      end.fault ? JSON.stringify(end.fault) : null,
      job,
      number,
    )
  }

  attempts(job: string): AttemptRow[] {
    return this.#sql
      .exec('SELECT * FROM attempts WHERE job = ? ORDER BY number', job)
      .toArray()
      .map((row) => v.parse(AttemptRow, row))
  }

  running(): RunningRow[] {
    return this.#sql
      .exec(`SELECT jobs.id, jobs.attempt, jobs.lane, jobs.model, attempts.started_at_ms FROM jobs
         JOIN attempts ON attempts.job = jobs.id AND attempts.number = jobs.attempt WHERE jobs.status = 'running'`)
      .toArray()
      .map((row) => v.parse(RunningRow, row))
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
  ahead(row: JobRow): number {
    const found = this.#number(
      `SELECT count(*) AS n FROM (SELECT 1 FROM jobs INDEXED BY jobs_queue WHERE model = ? AND priority = ?
         AND status = 'queued' AND due_at_ms IS NULL AND (tag, id) < (?, ?) LIMIT ?)`,
      row.model,
      row.priority,
      row.tag,
      row.id,
      LIMITS.queuePositionMax,
    )
    return found ?? 0
  }

  /** Newest first. `next` is the id to go on before, or null at the end; a filtered page may be short and still have one. */
  list(filter: JobFilter): { rows: JobRow[]; next: string | null } {
    const before = filter.before ?? 'job_~'
    // The inner query stays a co-routine, so its order holds and no more is read than the page needs.
    const rows = this.#rows(
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

  #rows(query: string, ...bindings: (string | number | null)[]): JobRow[] {
    return this.#sql
      .exec(query, ...bindings)
      .toArray()
      .map((row) => v.parse(JobRow, row))
  }

  #number(query: string, ...bindings: (string | number | null)[]): number | null {
    return v.parse(v.object({ n: v.nullable(v.number()) }), this.#sql.exec(query, ...bindings).one()).n
  }
}
