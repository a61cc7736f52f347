import type { JobRecord } from '../contract/job.ts'
import type { Quota } from '../contract/quota.ts'
import { type Answered, toWire, type Wire } from '../contract/rpc.ts'
import { jobExpiry } from '../core/retention.ts'
import { LIMITS } from '../limits.ts'
import type { Principal } from './access.ts'
import type { JobFilter, JobRow } from './job-rows.ts'
import type { Parts } from './parts.ts'
import { hasImages, isoTime, jobRecord, quotasOf } from './views.ts'

/** Jobs as clients read them. */

export type JobRecords = { data: JobRecord[]; next: string | null }

export const queueBound = (parts: Pick<Parts, 'identity'>): number =>
  parts.identity.config.queue_bound ?? LIMITS.queueDefault

/** A key of one project sees that project's jobs only. */
export const visible = (row: JobRow | null, principal: Principal): row is JobRow =>
  row !== null && (principal.project === null || row.project === principal.project)

export const readJob = (
  parts: Parts,
  row: JobRow,
  now: number,
  countAhead: number = LIMITS.queuePositionMax,
): Answered<JobRecord> => {
  const waits = row.status === 'queued' && row.due_at_ms === null
  const ahead = waits ? aheadOf(parts, row, countAhead) : null
  return answer(parts, toWire(recordOf(parts, row, ahead, now)), now)
}

/** As it stands after a change. Throws where there is no such job: the caller has just written it. */
export const rereadJob = (parts: Parts, id: string, now: number): Answered<JobRecord> => {
  const row = parts.jobs.find(id)
  if (!row) throw new Error('a job that was just written is not there')
  return readJob(parts, row, now)
}

/**
 * A job that is only in the archive any more; null where it is not there, or another project's. When its pictures go is told as
 * the rules are now.
 */
export const readArchivedJob = async (parts: Parts, principal: Principal, id: string): Promise<JobRecord | null> => {
  const record = await parts.retention.archives.read(id)
  if (!record || (principal.project !== null && record.project !== principal.project)) return null
  const { ended_at: endedAt, output } = record
  const expiry =
    endedAt !== null && hasImages(output) ? isoTime(parts.retention.artifacts.expiryOf(Date.parse(endedAt))) : null
  return { ...record, artifacts_expire_at: expiry }
}

export const readJobs = (parts: Parts, principal: Principal, filter: JobFilter, now: number): Answered<JobRecords> => {
  const { project } = principal
  if (project !== null && filter.project !== undefined && filter.project !== project) {
    return answer(parts, toWire<JobRecords>({ data: [], next: null }), now)
  }
  const page = parts.jobs.list(project === null ? filter : { ...filter, project })
  // A place in the queue is counted, which a page of jobs would do a hundred times: it is told for single jobs.
  const data = page.rows.map((row) => recordOf(parts, row, null, now))
  return answer(parts, toWire<JobRecords>({ data, next: page.next }), now)
}

/** Jobs that start before a waiting one: exact near the head; far behind it, all of its kind. */
const aheadOf = (parts: Parts, row: JobRow, bound: number): number => {
  const ofItsKind = parts.books.queues.ready(row.provider).get(row.model)?.get(row.priority) ?? 1
  const above = parts.books.queues.readyAbove(row.provider, row.priority)
  // Most are asked after when they have just come: who stands behind them is known.
  const behind = ofItsKind <= 1 ? 0 : parts.jobs.behind(row)
  if (behind !== null) return ofItsKind - 1 - behind + above
  const counted = parts.jobs.ahead(row, bound)
  return (counted < bound ? counted : ofItsKind - 1) + above
}

export const recordOf = (parts: Parts, row: JobRow, ahead: number | null, now: number): JobRecord => {
  const progress = parts.progress.get(row.id) ?? 0
  const { status, ended_at_ms: endedAtMs, discarded_at_ms: discardedAtMs } = row
  const { retention } = parts
  return jobRecord(row, parts.jobs.attemptsOf(row), {
    instance: parts.identity.id,
    progress,
    ahead,
    budgetStartMs: row.budget_scope === null ? null : (parts.accounts.windowOf(row.budget_scope, now)?.endMs ?? null),
    expiresAtMs: jobExpiry({ status, endedAtMs, discardedAtMs }, retention.keep()),
    artifactsExpireAtMs: endedAtMs === null ? null : retention.artifacts.expiryOf(endedAtMs),
    books: parts.books,
    now,
  })
}

export const answer = <T>(parts: Parts, body: Wire<T>, now: number): Answered<T> => ({
  body,
  quotas: roomOf(parts, now),
})

export const roomOf = (parts: Parts, now: number): Quota[] => quotasOf(parts.books, queueBound(parts), now)
