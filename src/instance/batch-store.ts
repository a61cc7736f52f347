import * as v from 'valibot'
import { type FinalStatus, STATUSES, type Status } from '../contract/job.ts'
import type { JobStore } from './job-store.ts'

/** All SQL about batches. What has ended is counted in the batch's own row; what has not is at most a hundred jobs. */

const count = v.pipe(v.number(), v.integer(), v.minValue(0))

const BatchRow = v.object({
  id: v.string(),
  project: v.nullable(v.string()),
  metadata: v.string(),
  request_id: v.string(),
  /** JSON of the ids, in the order of the request. */
  jobs: v.string(),
  total: count,
  succeeded: count,
  failed: count,
  canceled: count,
  /** The known part, and of how many ended jobs the cost is unknown. */
  cost_micros: count,
  unknown_costs: count,
  created_at_ms: count,
  ended_at_ms: v.nullable(count),
})
export type BatchRow = v.InferOutput<typeof BatchRow>
export type NewBatch = Pick<BatchRow, 'id' | 'project' | 'metadata' | 'request_id' | 'jobs' | 'total' | 'created_at_ms'>

export type Cost = { knownMicros: number; isWhole: boolean }

export class BatchStore {
  readonly #sql: SqlStorage
  readonly #jobs: JobStore

  constructor(sql: SqlStorage, jobs: JobStore) {
    this.#sql = sql
    this.#jobs = jobs
  }

  insert(batch: NewBatch): void {
    this.#sql.exec(
      `INSERT INTO batches (id, project, metadata, request_id, jobs, total, created_at_ms, succeeded, failed, canceled,
         cost_micros, unknown_costs) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0)`,
      batch.id,
      batch.project,
      batch.metadata,
      batch.request_id,
      batch.jobs,
      batch.total,
      batch.created_at_ms,
    )
  }

  find(id: string): BatchRow | null {
    const [row] = this.#sql.exec('SELECT * FROM batches WHERE id = ?', id)
    return row ? v.parse(BatchRow, row) : null
  }

  /** Newest first, all or those of one project. */
  list(before: string, project: string | null, limit: number): BatchRow[] {
    const rows =
      project === null
        ? this.#sql.exec('SELECT * FROM batches WHERE id < ? ORDER BY id DESC LIMIT ?', before, limit)
        : this.#sql.exec(
            'SELECT * FROM batches WHERE project = ? AND id < ? ORDER BY id DESC LIMIT ?',
            project,
            before,
            limit,
          )
    return rows.toArray().map((row) => v.parse(BatchRow, row))
  }

  /** A job ended (`by` 1), or one that had ended runs again (`by` -1). */
  count(id: string, status: FinalStatus, by: 1 | -1, cost: Cost): void {
    this.#sql.exec(
      `UPDATE batches SET ${status} = ${status} + ?1, cost_micros = cost_micros + ?2, unknown_costs = unknown_costs + ?3
       WHERE id = ?4`,
      by,
      by * cost.knownMicros,
      cost.isWhole ? 0 : by,
      id,
    )
  }

  end(id: string, now: number): void {
    this.#sql.exec('UPDATE batches SET ended_at_ms = ? WHERE id = ? AND ended_at_ms IS NULL', now, id)
  }

  /** Jobs of a batch that have not ended. */
  live(id: string): { id: string; status: Status }[] {
    this.#jobs.flush()
    const Row = v.object({ id: v.string(), status: v.picklist(STATUSES) })
    return this.#sql
      .exec('SELECT id, status FROM jobs WHERE batch = ? AND ended_at_ms IS NULL', id)
      .toArray()
      .map((row) => v.parse(Row, row))
  }

  /** What the ended attempts of a job cost, as far as anyone knows. */
  costOf(job: string): Cost {
    const Row = v.object({ known: count, unknown: count })
    const [row] = this.#sql.exec(
      `SELECT coalesce(sum(cost_micros), 0) AS known, count(*) - count(cost_micros) AS unknown FROM attempts
       WHERE job = ? AND ended_at_ms IS NOT NULL`,
      job,
    )
    const { known, unknown } = v.parse(Row, row)
    return { knownMicros: known, isWhole: unknown === 0 }
  }
}
