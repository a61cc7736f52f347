import { ok, type Result, refuse } from '../contract/fault.ts'
import type { JobRequest } from '../contract/job.ts'
import { LIMITS } from '../limits.ts'
import { type Principal, projectFor } from './access.ts'
import { systemAmbient } from './ambient.ts'
import type { Parts } from './parts.ts'
import { queueBound } from './reader.ts'
import { planJob } from './submission.ts'

/** What a submit carries beside the job. `fingerprint` is a digest of the request in canonical form. */
export type SubmitOptions = { idempotencyKey: string | null; fingerprint: string; waitMs: number }

/** Takes a job in, or finds the one that the same Idempotency-Key made. Runs in a transaction. */
export const takeIn = (
  parts: Parts,
  principal: Principal,
  requestId: string,
  request: JobRequest,
  options: SubmitOptions,
): Result<{ id: string; replayed: boolean }> => {
  const now = systemAmbient.now()
  const scope = principal.project ?? ''
  const { idempotencyKey: key, fingerprint } = options
  const earlier = madeBefore(parts, scope, options, now)
  if (!earlier.ok) return earlier
  if (earlier.value !== null) return ok({ id: earlier.value, replayed: true })
  const project = projectFor(principal, request.project)
  if (!project.ok) return project
  if (parts.books.waiting() >= queueBound(parts)) return queueFull()
  const origin = { id: systemAmbient.id('job'), requestId, project: project.value, now }
  const job = planJob(request, parts.identity.config, parts.books, origin)
  if (!job.ok) return job
  const money = parts.accounts.admit(job.value, principal.project !== null, now)
  if (!money.ok) return money
  parts.scheduler.submit(job.value, money.value)
  if (key !== null) parts.idempotency.insert(scope, key, fingerprint, job.value.id, now)
  return ok({ id: job.value.id, replayed: false })
}

/** The id of the job, or batch, that the same Idempotency-Key made; null where it has made none. */
export const madeBefore = (
  { idempotency }: Parts,
  scope: string,
  { idempotencyKey: key, fingerprint }: Pick<SubmitOptions, 'idempotencyKey' | 'fingerprint'>,
  now: number,
): Result<string | null> => {
  const earlier = key === null ? null : idempotency.find(scope, key, now)
  if (!earlier || earlier.fingerprint === fingerprint) return ok(earlier?.job ?? null)
  return refuse('idempotency_mismatch', 'This Idempotency-Key was used with another request.', {
    param: 'Idempotency-Key',
  })
}

export const queueFull = () =>
  refuse('queue_full', 'The queue of this instance is full.', { retryAfterMs: LIMITS.backoffMaxMs })
