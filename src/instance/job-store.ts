import * as v from 'valibot'
import type { Fault } from '../contract/fault.ts'
import type { Usage } from '../contract/usage.ts'
import type { Job as Lifecycle } from '../core/lifecycle.ts'
import type { Place } from '../core/queue-tail.ts'
import { LIMITS } from '../limits.ts'
import { AttemptStore } from './attempt-store.ts'
import { JobCensus } from './job-census-store.ts'
import { JobPages } from './job-pages-store.ts'
import {
  type AttemptClose,
  type AttemptRow,
  CarefulRow,
  CHANGING,
  COLUMNS,
  type JobFilter,
  JobRow,
  type MoneyOfRow,
  type NewJob,
  NOTHING_YET,
  type OpenAttempt,
  openAttemptOf,
  type RunningJob,
  readOpenAttempt,
  SetAside,
} from './job-rows.ts'
import { QueueTails } from './queue-tails.ts'
import { RowMemory } from './row-memory.ts'
import { TimeFloor } from './time-floor.ts'
import { Unreadable } from './unreadable.ts'

/**
 * The jobs, as rows that are parsed where they are read.
 *
 * Rows that a transaction touches are read once and written once: `save` and its like change them in memory, `flush` writes
 * what has changed, and any query that looks for rows flushes first. Rows of running jobs stay in memory between
 * transactions, so that an attempt's end reads nothing; so do some of those asked for last.
 */
export class JobStore {
  readonly unreadable = new Unreadable()
  /** Looks into JSON columns too: set where a turn has failed, which a row may be to blame for. */
  careful = false
  readonly census: JobCensus
  readonly #sql: SqlStorage
  readonly #attempts: AttemptStore
  readonly #pages: JobPages
  readonly #rows = new RowMemory()
  readonly #changed = new Set<string>()
  /** Rows that are not yet in the database. */
  readonly #fresh = new Set<string>()
  /** No job is due, or past its deadline, before these. */
  readonly #dueFloor = new TimeFloor()
  readonly #deadlineFloor = new TimeFloor()
  readonly #tails = new QueueTails()

  constructor(sql: SqlStorage) {
    this.#sql = sql
    this.#attempts = new AttemptStore(sql)
    this.#pages = new JobPages(sql, this.unreadable)
    this.census = new JobCensus(sql, () => this.flush())
  }

  /** A transaction begins: what the last one touched is let go. */
  begin(): void {
    this.#rows.release()
  }

  /** Writes what has changed. A transaction ends with it. */
  flush(): void {
    for (const id of this.#fresh) {
      const row = this.#rows.heldRow(id)
      if (row) this.#create(row)
      this.#changed.delete(id)
    }
    this.#fresh.clear()
    for (const id of this.#changed) {
      const row = this.#rows.heldRow(id)
      if (row) this.#write(row)
    }
    this.#changed.clear()
  }

  /** Forgets what was in memory and not written, and reads the running jobs anew. */
  reload(): void {
    this.#changed.clear()
    this.#fresh.clear()
    this.#rows.clear()
    this.#tails.clear()
    this.#attempts.reload()
    this.#dueFloor.forget()
    this.#deadlineFloor.forget()
    for (const row of this.#select("SELECT * FROM jobs WHERE ended_at_ms IS NULL AND status = 'running'")) {
      this.#rows.hold(row)
    }
  }

  insert(job: NewJob, money: MoneyOfRow): void {
    const row = { ...NOTHING_YET, ...job, ...money }
    this.#rows.hold(row)
    this.#fresh.add(job.id)
    this.#tails.moved(null, row)
    this.#dueFloor.lower(job.due_at_ms)
    this.#deadlineFloor.lower(job.deadline_at_ms)
  }

  find(id: string): JobRow | null {
    const known = this.#rows.find(id)
    if (known) return known
    const [found] = this.#sql.exec('SELECT * FROM jobs WHERE id = ?', id)
    if (!found) return null
    const row = v.parse(JobRow, found)
    this.#rows.keep(row)
    return row
  }

  /** As `find`, and null too where it cannot be read. */
  findReadable(id: string): JobRow | null {
    return this.#rows.heldRow(id) ?? this.#select('SELECT * FROM jobs WHERE id = ?', id)[0] ?? null
  }

  /** Its row was deleted. */
  forget(id: string): void {
    this.#rows.forget(id)
    this.#attempts.forget(id)
  }

  /** Of a running job; null for any other. */
  findRunning(id: string): JobRow | null {
    const row = this.#rows.heldRow(id)
    return row?.status === 'running' ? row : null
  }

  /**
   * The first jobs of one model and priority that could start now, behind `after` where the head is known already. `waiting` is
   * how many wait in all: a queue that is known whole, with its rows, is not asked of the database.
   */
  heads(model: string, priority: number, waiting: number, limit: number, after: Place | null = null): JobRow[] {
    const tail = this.#tails.of({ model, priority })
    const known = this.careful ? null : tail.heads(waiting, limit, after)
    const rows = known?.flatMap(({ id }) => this.#rows.find(id) ?? [])
    if (rows && rows.length === known?.length) {
      for (const row of rows) this.#rows.hold(row)
      return rows
    }
    const found = this.#touched(
      `SELECT * FROM jobs INDEXED BY jobs_queue WHERE model = ? AND priority = ? AND status = 'queued'
       AND due_at_ms IS NULL AND (tag, id) > (?, ?) ORDER BY tag, id LIMIT ?`,
      model,
      priority,
      after?.tag ?? -1,
      after?.id ?? '',
      limit,
    )
    if (after === null && found.length === waiting) tail.sawAll(found)
    return found
  }

  due(now: number): JobRow[] {
    if (!this.#dueFloor.isReached(now)) return []
    this.#dueFloor.forget()
    return this.#touched(
      'SELECT * FROM jobs WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT ?',
      now,
      LIMITS.claimsPerTurn,
    )
  }

  overdue(now: number): JobRow[] {
    if (!this.#deadlineFloor.isReached(now)) return []
    this.#deadlineFloor.forget()
    return this.#touched(
      'SELECT * FROM jobs WHERE ended_at_ms IS NULL AND deadline_at_ms <= ? ORDER BY deadline_at_ms LIMIT ?',
      now,
      LIMITS.claimsPerTurn,
    )
  }

  /** When the first job is due, or earlier where that job has ended meanwhile; null where none waits for a time. */
  nextDue(): number | null {
    return this.#dueFloor.read(() => this.#number('SELECT min(due_at_ms) AS n FROM jobs WHERE due_at_ms IS NOT NULL'))
  }

  /** The clock was set back: who waits to be tried again keeps what was left of its wait. What clients asked for stays. */
  setBack(ms: number): void {
    this.flush()
    this.#sql.exec(
      `UPDATE jobs SET due_at_ms = max(0, due_at_ms - ?) WHERE due_at_ms IS NOT NULL AND status = 'queued'`,
      ms,
    )
    this.#rows.forgetDue()
    this.#dueFloor.forget()
  }

  /** When the first deadline is, or earlier where its job has ended meanwhile. */
  nextDeadline(): number | null {
    return this.#deadlineFloor.read(() =>
      this.#number('SELECT min(deadline_at_ms) AS n FROM jobs WHERE ended_at_ms IS NULL'),
    )
  }

  /** The new state of a job, its place in the queue included. */
  save(
    id: string,
    job: Lifecycle,
    place: { provider: string; tag: number; queuedAtMs: number; lane: number | null },
    money: MoneyOfRow,
  ): void {
    this.#dueFloor.lower(job.dueAtMs)
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
      ...money,
    })
  }

  /** `leftMs`: what of the deadline is kept while the job waits for its budget; null when it runs again. */
  saveDeadline(id: string, deadlineAtMs: number, leftMs: number | null): void {
    this.#deadlineFloor.lower(deadlineAtMs)
    this.#change(id, { deadline_at_ms: deadlineAtMs, deadline_left_ms: leftMs })
  }

  saveUsage(id: string, usage: Usage): void {
    this.#change(id, { usage: JSON.stringify(usage) })
  }

  /** What a replay changes beside the job's state: a new round begins behind the attempts made so far. */
  restart(id: string, now: number, deadlineMs: number, replay: string | null): void {
    const row = this.find(id)
    if (!row) return
    // While it waits for its budget the whole of its deadline is kept.
    const waits = row.budget_scope !== null
    const deadlineAtMs = waits ? row.deadline_at_ms : now + deadlineMs
    this.#deadlineFloor.lower(deadlineAtMs)
    this.#change(id, {
      deadline_at_ms: deadlineAtMs,
      deadline_left_ms: waits ? deadlineMs : null,
      round_after: row.attempt,
      replays: row.replays + 1,
      discarded_at_ms: null,
      replayed_by: replay ?? row.replayed_by,
    })
  }

  /** Takes a job out of the dead letters. What it could have gone on from goes with it. */
  discard(id: string, now: number): void {
    this.#change(id, { discarded_at_ms: now, resume: null })
  }

  /** Jobs that wait for this budget, the oldest first, behind `after`. */
  overBudget(scope: string, after: string, limit: number): JobRow[] {
    return this.#touched(
      'SELECT * FROM jobs INDEXED BY jobs_over_budget WHERE budget_scope = ? AND id > ? ORDER BY id LIMIT ?',
      scope,
      after,
      limit,
    )
  }

  saveResult(
    id: string,
    result: { output: string | null; costMicros: number | null; providerMs: number; storeMs: number },
  ): void {
    const before = this.find(id)
    this.#change(id, {
      output: result.output,
      cost_micros: result.costMicros,
      // A clock may have been set back meanwhile.
      provider_ms: (before?.provider_ms ?? 0) + Math.max(0, result.providerMs),
      store_ms: (before?.store_ms ?? 0) + Math.max(0, result.storeMs),
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
    const open: OpenAttempt = {
      number,
      model,
      credential: credential.name,
      secret: credential.secret,
      reason,
      started_at_ms: now,
    }
    this.#change(job, { open_attempt: JSON.stringify(open) })
  }

  closeAttempt(job: string, number: number, end: AttemptClose): void {
    const open = readOpenAttempt(this.find(job)?.open_attempt ?? null)
    if (open?.number !== number) return
    this.#attempts.insert(job, open, end)
    this.#change(job, { open_attempt: null })
  }

  /** The numbers of the others stay as they are, so that what is left out can be seen. */
  forgetAttempt(job: string, number: number): void {
    this.#attempts.delete(job, number)
  }

  /** In order, the one that runs last. */
  attempts(job: string): AttemptRow[] {
    const row = this.find(job)
    return row ? this.attemptsOf(row) : this.#attempts.ofJob(job)
  }

  /** The same of a row that is at hand. */
  attemptsOf(row: JobRow): AttemptRow[] {
    const open = openAttemptOf(row)
    const ended = row.attempt <= (open ? 1 : 0) ? [] : this.#attempts.ofJob(row.id)
    return open ? [...ended, open] : ended
  }

  /**
   * A row that cannot be read. One that waits is put off, for a version that can read it, or whoever mends it, may come
   * before its deadline. After that, and where it runs or its state is unknown, it ends as failed, with what is no JSON
   * replaced, and is answered. Null where there is nothing to do yet.
   */
  setAside(id: string, problem: Fault, now: number): 'put off' | SetAside | null {
    this.flush()
    // What follows is written behind the memory's back.
    this.forget(id)
    this.#dueFloor.forget()
    this.#tails.clear()
    const putOff = this.#sql.exec(
      `UPDATE jobs SET due_at_ms = min(deadline_at_ms, ?) WHERE id = ? AND status IN ('queued', 'scheduled')
       AND deadline_at_ms > ?`,
      now + LIMITS.unreadableRetryMs,
      id,
      now,
    )
    if (putOff.rowsWritten > 0) return 'put off'
    const [ended] = this.#sql.exec(
      `UPDATE jobs SET status = 'failed', due_at_ms = NULL, lane = NULL, ended_at_ms = ?, resume = NULL, output = NULL,
         fault = ?, input = iif(json_valid(input), input, '{}'), metadata = iif(json_valid(metadata), metadata, '{}'),
         wishes = iif(json_valid(wishes), wishes, '{"skipped":[]}')
       WHERE id = ? AND ended_at_ms IS NULL AND (deadline_at_ms <= ? OR status NOT IN ('queued', 'scheduled', 'running'))
       RETURNING id, project, request_id, provider, attempt, open_attempt`,
      now,
      JSON.stringify(problem),
      id,
      now,
    )
    if (!ended) return null
    const aside = v.parse(SetAside, ended)
    const open = readOpenAttempt(aside.open_attempt)
    if (open) {
      const end = {
        at: now,
        outcome: 'outcome_unknown',
        providerRequestId: null,
        costMicros: null,
        fault: problem,
      } as const
      this.#attempts.insert(id, open, end)
      this.#sql.exec('UPDATE jobs SET open_attempt = NULL WHERE id = ?', id)
    }
    return aside
  }

  /** Jobs that run, in memory. */
  running(): RunningJob[] {
    return [...this.#rows.held].flatMap((row) => {
      const open = openAttemptOf(row)
      if (row.status !== 'running' || !open) return []
      const { credential, started_at_ms } = open
      return [{ id: row.id, attempt: row.attempt, lane: row.lane, model: row.model, credential, started_at_ms }]
    })
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

  /** Jobs of the same model and priority that stand behind this one, a waiting job; null where they would have to be counted. */
  behind(row: JobRow): number | null {
    const known = this.#tails.of(row).behind(row)
    if (known !== null) return known
    const someBehind = this.#number(
      `SELECT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_queue WHERE model = ? AND priority = ?
         AND status = 'queued' AND due_at_ms IS NULL AND (tag, id) > (?, ?)) AS n`,
      row.model,
      row.priority,
      row.tag,
      row.id,
    )
    if (someBehind !== 0) return null
    this.#tails.of(row).sawLast(row)
    return 0
  }

  /** Newest first. `next` is the id to go on before, or null at the end; a filtered page may be short and still have one. */
  list(filter: JobFilter): { rows: JobRow[]; next: string | null } {
    this.flush()
    return this.#pages.read(filter)
  }

  /** Rows that a transaction is going to change: kept, so that they are not read again. */
  #touched(query: string, ...bindings: (string | number | null)[]): JobRow[] {
    const rows = this.#select(query, ...bindings)
    for (const row of rows) this.#rows.hold(row)
    return rows
  }

  #change(id: string, changes: Partial<JobRow>): void {
    const row = this.find(id)
    if (!row) return
    const changed = { ...row, ...changes }
    this.#rows.hold(changed)
    this.#changed.add(id)
    this.#tails.moved(row, changed)
  }

  #create(row: JobRow): void {
    this.#sql.exec(INSERT, ...COLUMNS.map((column) => row[column]))
  }

  #write(row: JobRow): void {
    this.#sql.exec(UPDATE, ...CHANGING.map((column) => row[column]), row.id)
  }

  #select(query: string, ...bindings: (string | number | null)[]): JobRow[] {
    this.flush()
    const rows = this.#sql.exec(query, ...bindings).toArray()
    return this.unreadable.readable(this.careful ? CarefulRow : JobRow, rows)
  }

  #number(query: string, ...bindings: (string | number | null)[]): number | null {
    this.flush()
    return v.parse(v.object({ n: v.nullable(v.number()) }), this.#sql.exec(query, ...bindings).one()).n
  }
}

const INSERT = `INSERT INTO jobs (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`
const UPDATE = `UPDATE jobs SET ${CHANGING.map((column) => `${column} = ?`).join(', ')} WHERE id = ?`
