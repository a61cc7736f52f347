import type { Json } from '../contract/fields.ts'
import { microsToUsd } from '../contract/fields.ts'
import { isFinal, type Status } from '../contract/job.ts'
import { batchStatus } from '../core/batch.ts'
import type { Ambient } from './ambient.ts'
import type { BatchRow, BatchStore } from './batch-store.ts'
import type { JobRow } from './job-rows.ts'

/** What a batch says once, when the last of its jobs has ended. */
export type Completed = { row: BatchRow; data: { [key: string]: Json } }

/**
 * Keeps the counts of a batch in step with a job that was `before` and now has `status`. Runs in the transaction of the
 * job's change, once it is written. Answers what to tell where this was the first time that all jobs have ended.
 */
export const tallyBatch = (
  { batches, ambient }: { batches: BatchStore; ambient: Ambient },
  batch: string,
  before: JobRow,
  status: Status,
): Completed | null => {
  if (isFinal(before.status)) batches.count(batch, before.status, -1, batches.costOf(before.id))
  if (!isFinal(status)) return null
  batches.count(batch, status, 1, batches.costOf(before.id))
  const row = batches.find(batch)
  if (!row || row.ended_at_ms !== null || row.succeeded + row.failed + row.canceled < row.total) return null
  batches.end(batch, ambient.now())
  const counts = { succeeded: row.succeeded, failed: row.failed, canceled: row.canceled }
  const all = { ...counts, scheduled: 0, queued: 0, running: 0 }
  return { row, data: { status: batchStatus(all, true), counts, ...costOfBatch(row, true) } }
}

/** The sum, null where a part of it is unknown or still to come, and the part that is known. */
export const costOfBatch = (row: BatchRow, isOver: boolean): { cost_usd: number | null; cost_known_usd: number } => {
  const known = microsToUsd(row.cost_micros)
  return { cost_usd: isOver && row.unknown_costs === 0 ? known : null, cost_known_usd: known }
}
