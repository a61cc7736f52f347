import { ok, type Result, refuse } from '../contract/fault.ts'
import type { JobRequest } from '../contract/job.ts'
import { LIMITS } from '../limits.ts'
import type { Principal } from './access.ts'
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
  const earlier = key === null ? null : parts.idempotency.find(scope, key, now)
  if (earlier && earlier.fingerprint !== fingerprint) {
    return refuse('idempotency_mismatch', 'This Idempotency-Key was used with another request.', {
      param: 'Idempotency-Key',
    })
  }
  if (earlier) return ok({ id: earlier.job, replayed: true })
  const project = request.project ?? principal.project
  if (principal.project !== null && project !== principal.project) {
    return refuse('permission_denied', 'This key is of another project.', { param: 'project' })
  }
  if (parts.books.waiting() >= queueBound(parts)) {
    return refuse('queue_full', 'The queue of this instance is full.', { retryAfterMs: LIMITS.backoffMaxMs })
  }
  const origin = { id: systemAmbient.id('job'), requestId, project, now }
  const job = planJob(request, parts.identity.config, parts.books, origin)
  if (!job.ok) return job
  const money = parts.accounts.admit(job.value, principal.project !== null, now)
  if (!money.ok) return money
  parts.scheduler.submit(job.value, money.value)
  if (key !== null) parts.idempotency.insert(scope, key, fingerprint, job.value.id, now)
  return ok({ id: job.value.id, replayed: false })
}
