import * as v from 'valibot'
import { STATUSES, type Status } from '../contract/job.ts'

/**
 * What the books are made from: counts and sums over the jobs that have not ended. Each scans them, so only at the actor's
 * start, after a transaction that was rolled back, for a proof, and where a project gets an account.
 */

const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const text = v.nullable(v.string())
const isStatus = (text: string): text is Status => (STATUSES as readonly string[]).includes(text)

/** What is held, in millionths of a US dollar; `day` is null where it is held for what waits. */
type Held = { project: string | null; day: string | null; micros: number }

export class JobCensus {
  readonly #sql: SqlStorage
  readonly #flush: () => void

  /** `flush` writes what is still in memory. */
  constructor(sql: SqlStorage, flush: () => void) {
    this.#sql = sql
    this.#flush = flush
  }

  /** Counts per provider and status of everything that has not ended. Scans the live jobs: at the actor's start only. */
  liveCounts(): { provider: string; status: Status; count: number }[] {
    const Row = v.object({ provider: v.string(), status: v.string(), count })
    return this.#sql
      .exec('SELECT provider, status, count(*) AS count FROM jobs WHERE ended_at_ms IS NULL GROUP BY provider, status')
      .toArray()
      .map((row) => v.parse(Row, row))
      .flatMap((row) => (isStatus(row.status) ? [{ ...row, status: row.status }] : []))
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
      .flatMap((row) => (v.is(Row, row) ? [row] : []))
  }

  /**
   * Least and greatest tag of what waits, runs or waits for a retry, per provider, priority and project, and how many could start.
   * At the actor's start only.
   */
  tagRanges(): {
    provider: string
    priority: number
    project: string | null
    least: number
    greatest: number
    waiting: number
  }[] {
    const Row = v.object({
      provider: v.string(),
      priority: count,
      project: text,
      least: v.number(),
      greatest: v.number(),
      waiting: count,
    })
    return this.#sql
      .exec(
        `SELECT provider, priority, project, min(tag) AS least, max(tag) AS greatest,
           sum(status = 'queued' AND due_at_ms IS NULL) AS waiting FROM jobs
         WHERE ended_at_ms IS NULL AND status <> 'scheduled' AND budget_scope IS NULL GROUP BY provider, priority, project`,
      )
      .toArray()
      .flatMap((row) => (v.is(Row, row) ? [row] : []))
  }

  /** Per budget: how many wait for it, and the least that one of them needs. At the actor's start only. */
  budgetLines(): { scope: string; count: number; leastMicros: number }[] {
    this.#flush()
    const Row = v.object({ scope: v.string(), count, leastMicros: count })
    return this.#sql
      .exec(
        `SELECT budget_scope AS scope, count(*) AS count, coalesce(min(estimate_micros), 0) AS leastMicros FROM jobs
         WHERE budget_scope IS NOT NULL GROUP BY budget_scope`,
      )
      .toArray()
      .map((row) => v.parse(Row, row))
  }

  /** What jobs that have not ended hold, by project and day. For a proof. */
  holds(): Held[] {
    return this.#holds('project')
  }

  /** The same of those projects alone that are declared or have a budget; the rest stands under null. */
  accountHolds(): Held[] {
    return this.#holds(
      "CASE WHEN project IN (SELECT name FROM projects) OR 'project:' || project IN (SELECT scope FROM budgets) THEN project END",
    )
  }

  /** Of one project, when it gets an account. */
  holdsOf(project: string): Held[] {
    return this.#holds('project', 'AND project = ?', project)
  }

  #holds(project: string, where = '', ...bindings: string[]): Held[] {
    this.#flush()
    const Row = v.object({ project: text, day: text, micros: count })
    return this.#sql
      .exec(
        `SELECT ${project} AS account, held_day AS day, sum(held_micros) AS micros FROM jobs
         WHERE ended_at_ms IS NULL AND held_micros IS NOT NULL ${where} GROUP BY account, held_day`,
        ...bindings,
      )
      .toArray()
      .map(({ account, ...row }) => v.parse(Row, { ...row, project: account }))
  }
}
