import type { BatchCounts, BatchStatus } from '../contract/batch.ts'

/** What a batch is as a whole, from the states of its jobs. */

const totalOf = (counts: BatchCounts): number => Object.values(counts).reduce((sum, count) => sum + count, 0)

const endedOf = (counts: BatchCounts): number => counts.succeeded + counts.failed + counts.canceled

/**
 * `hasEnded` says that all its jobs had ended once. From then on the batch stays ended: a job that is replayed counts as
 * not succeeded until it has.
 */
export const batchStatus = (counts: BatchCounts, hasEnded: boolean): BatchStatus => {
  if (!hasEnded) return endedOf(counts) + counts.running > 0 ? 'running' : 'queued'
  const total = totalOf(counts)
  if (counts.succeeded === total) return 'succeeded'
  if (counts.canceled === total) return 'canceled'
  return counts.succeeded > 0 ? 'partial' : 'failed'
}

/** 0…1. `running` holds the progress of each job that runs; it is one only when every job has ended. */
export const batchProgress = (counts: BatchCounts, running: readonly number[]): number => {
  const total = totalOf(counts)
  const ended = endedOf(counts)
  if (ended === total) return 1
  const sum = running.reduce((all, progress) => all + progress, ended)
  return Math.min(0.99, Math.round((sum / total) * 100) / 100)
}
