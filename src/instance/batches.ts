import type { BatchCounts, BatchRecord, BatchRequest } from '../contract/batch.ts'
import { type Fault, ok, type Result, refuse } from '../contract/fault.ts'
import type { JobRequest } from '../contract/job.ts'
import { batchProgress, batchStatus } from '../core/batch.ts'
import { LIMITS } from '../limits.ts'
import { type Principal, projectFor } from './access.ts'
import { NO_MONEY } from './accounts.ts'
import { systemAmbient } from './ambient.ts'
import type { BatchRow } from './batch-store.ts'
import { costOfBatch } from './batch-tally.ts'
import { madeBefore, type SubmitOptions } from './intake.ts'
import type { MoneyOfRow, NewJob } from './job-rows.ts'
import type { Parts } from './parts.ts'
import { queueBound } from './reader.ts'
import { planJob } from './submission.ts'
import { isoTime, isoTimeOrNull } from './views.ts'

/**
 * Takes a batch in, or finds the one that the same Idempotency-Key made. Everything is checked before anything is written,
 * so that a batch is admitted whole or not at all. Runs in a transaction.
 */
export const takeInBatch = (
  parts: Parts,
  principal: Principal,
  requestId: string,
  request: BatchRequest,
  options: Omit<SubmitOptions, 'waitMs'>,
): Result<{ id: string; replayed: boolean }> => {
  const now = systemAmbient.now()
  const scope = principal.project ?? ''
  const { idempotencyKey: key, fingerprint } = options
  const earlier = madeBefore(parts, scope, options, now)
  if (!earlier.ok) return earlier
  if (earlier.value !== null) return ok({ id: earlier.value, replayed: true })
  const asked = projectFor(principal, request.project)
  if (!asked.ok) return asked
  const project = asked.value
  if (parts.books.waiting() + request.jobs.length > queueBound(parts)) {
    return refuse('queue_full', 'The queue of this instance has no room for the whole batch.', {
      retryAfterMs: LIMITS.backoffMaxMs,
    })
  }
  const id = systemAmbient.id('batch')
  const jobs = planJobs(parts, request.jobs, { requestId, project, now, batch: id })
  if (!jobs.ok) return jobs
  const money = admitAll(parts, jobs.value, principal.project !== null, now)
  if (!money.ok) return money
  parts.batches.insert({
    id,
    project,
    metadata: JSON.stringify(request.metadata ?? {}),
    request_id: requestId,
    jobs: JSON.stringify(jobs.value.map((job) => job.id)),
    total: jobs.value.length,
    created_at_ms: now,
  })
  for (const [i, job] of jobs.value.entries()) parts.scheduler.submit(job, money.value[i] ?? NO_MONEY)
  if (key !== null) parts.idempotency.insert(scope, key, fingerprint, id, now)
  return ok({ id, replayed: false })
}

/** The rows of all jobs, or the first refusal, with the path of its field in the batch. Writes nothing. */
const planJobs = (
  parts: Parts,
  requests: readonly JobRequest[],
  origin: { requestId: string; project: string | null; now: number; batch: string },
): Result<NewJob[]> => {
  const jobs: NewJob[] = []
  for (const [i, request] of requests.entries()) {
    const project = request.project ?? origin.project
    if (origin.project !== null && project !== origin.project) {
      return refuse('invalid_request', 'A job of a batch cannot be of another project than the batch.', {
        param: `jobs.${i}.project`,
      })
    }
    const planned = planJob(request, parts.identity.config, parts.books, {
      ...origin,
      project,
      id: systemAmbient.id('job'),
    })
    if (!planned.ok) return { ok: false, fault: within(planned.fault, i) }
    jobs.push(planned.value)
  }
  return ok(jobs)
}

/** Holds the cost of all jobs, or of none. */
const admitAll = (parts: Parts, jobs: readonly NewJob[], ofProject: boolean, now: number): Result<MoneyOfRow[]> => {
  const held: { job: NewJob; money: MoneyOfRow }[] = []
  for (const [i, job] of jobs.entries()) {
    const money = parts.accounts.admit(job, ofProject, now)
    if (!money.ok) {
      for (const before of held) parts.accounts.giveBack(before.job.project, before.money)
      return { ok: false, fault: within(money.fault, i) }
    }
    held.push({ job, money: money.value })
  }
  return ok(held.map(({ money }) => money))
}

const within = (problem: Fault, index: number): Fault => ({
  ...problem,
  param: problem.param === undefined ? `jobs.${index}` : `jobs.${index}.${problem.param}`,
})

/** A key of one project sees that project's batches only. */
export const findBatch = (parts: Parts, principal: Principal, id: string): Result<BatchRow> => {
  const row = parts.batches.find(id)
  if (!row || (principal.project !== null && row.project !== principal.project)) {
    return refuse('not_found', 'There is no such batch.')
  }
  return ok(row)
}

/** Ends every job of the batch that has not ended. Runs in a transaction. */
export const cancelBatch = (parts: Parts, principal: Principal, id: string): Result<null> => {
  const found = findBatch(parts, principal, id)
  if (!found.ok) return found
  for (const job of parts.batches.live(id)) {
    const row = parts.jobs.find(job.id)
    if (row) parts.scheduler.cancel(row)
  }
  return ok(null)
}

export type BatchRecords = { data: BatchRecord[]; next: string | null }

export const readBatches = (
  parts: Parts,
  principal: Principal,
  filter: { project?: string; before?: string; limit: number },
): BatchRecords => {
  const project = principal.project ?? filter.project ?? null
  if (filter.project !== undefined && filter.project !== project) return { data: [], next: null }
  const rows = parts.batches.list(filter.before ?? 'batch_~', project, filter.limit + 1)
  const page = rows.slice(0, filter.limit)
  return {
    data: page.map((row) => batchRecord(parts, row)),
    next: rows.length > filter.limit ? (page.at(-1)?.id ?? null) : null,
  }
}

export const batchRecord = (parts: Parts, row: BatchRow): BatchRecord => {
  const { succeeded, failed, canceled } = row
  const isQuiet = succeeded + failed + canceled === row.total
  const live = isQuiet ? [] : parts.batches.live(row.id)
  const counts: BatchCounts = { scheduled: 0, queued: 0, running: 0, succeeded, failed, canceled }
  for (const { status } of live) counts[status] += 1
  return {
    id: row.id,
    object: 'batch',
    instance: parts.identity.id,
    project: row.project,
    status: batchStatus(counts, row.ended_at_ms !== null),
    counts,
    progress: batchProgress(
      counts,
      live.map(({ id }) => parts.progress.get(id) ?? 0),
    ),
    ...costOfBatch(row, isQuiet),
    jobs: JSON.parse(row.jobs) as string[],
    metadata: JSON.parse(row.metadata) as Record<string, string>,
    request_id: row.request_id,
    created_at: isoTime(row.created_at_ms),
    ended_at: isoTimeOrNull(row.ended_at_ms),
  }
}
