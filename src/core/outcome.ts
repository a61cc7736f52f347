import type { AttemptFaultCode } from '../contract/fault.ts'
import { LIMITS } from '../limits.ts'

/**
 * What follows an attempt that failed: the fault table as data, and the one function that reads it. It knows the job's
 * own wishes, what was tried, and when other models could serve; it decides, others act.
 */

type Retry = 'no' | 'next_credential' | 'backoff' | 'after_reset' | 'once' | 'if_repeatable' | 'store_again'
type Fallback = 'no' | 'yes' | 'if_sooner' | 'if_repeatable' | 'if_asked'
/** `good`: the provider answered properly; `silent`: it may never have been called, or was not waited for. */
type Breaker = 'good' | 'silent' | 'slows' | 'counts' | 'opens' | 'disables'

export const FAULT_TABLE: Record<
  AttemptFaultCode,
  { retry: Retry; fallback: Fallback; breaker: Breaker; bought: 'nothing' | 'unknown' }
> = {
  provider_rate_limited: { retry: 'after_reset', fallback: 'if_sooner', breaker: 'slows', bought: 'nothing' },
  provider_quota_exhausted: { retry: 'next_credential', fallback: 'yes', breaker: 'opens', bought: 'nothing' },
  provider_auth_failed: { retry: 'next_credential', fallback: 'yes', breaker: 'disables', bought: 'nothing' },
  provider_unavailable: { retry: 'backoff', fallback: 'yes', breaker: 'counts', bought: 'nothing' },
  provider_timeout: { retry: 'if_repeatable', fallback: 'if_repeatable', breaker: 'counts', bought: 'unknown' },
  outcome_unknown: { retry: 'if_repeatable', fallback: 'if_repeatable', breaker: 'counts', bought: 'unknown' },
  provider_protocol_error: { retry: 'once', fallback: 'yes', breaker: 'counts', bought: 'unknown' },
  provider_rejected: { retry: 'no', fallback: 'yes', breaker: 'good', bought: 'nothing' },
  content_rejected: { retry: 'no', fallback: 'if_asked', breaker: 'good', bought: 'unknown' },
  artifact_failed: { retry: 'store_again', fallback: 'no', breaker: 'good', bought: 'unknown' },
  deadline_exceeded: { retry: 'no', fallback: 'no', breaker: 'silent', bought: 'unknown' },
  canceled: { retry: 'no', fallback: 'no', breaker: 'silent', bought: 'unknown' },
  budget_exceeded: { retry: 'no', fallback: 'no', breaker: 'silent', bought: 'nothing' },
  no_provider: { retry: 'no', fallback: 'no', breaker: 'silent', bought: 'nothing' },
}

/** What the decision needs to know of a job. Times in ms since the epoch. */
export type FailedJob = {
  /** Attempts that count against `max_attempts`, the failed one included. */
  attempts: number
  maxAttempts: number
  deadlineAtMs: number
  fallback: boolean
  onContentRejected: 'fail' | 'fallback'
  onOutcomeUnknown: 'fail' | 'retry'
  /** Codes of the job's earlier faults on this model, the new one not included. */
  earlier: readonly AttemptFaultCode[]
}

export type AttemptFault = {
  code: AttemptFaultCode
  retryAfterMs?: number | undefined
  /** True where repeating the call costs nothing twice. */
  idempotent: boolean
  /** True where a retry can go on from what the provider has already made. */
  resumable: boolean
  /** True where the provider has another credential that is good. */
  otherCredential: boolean
  /** True where the refused secret has been replaced since: the attempt goes on with the new one at once. */
  secretReplaced?: boolean
  /** True where another credential has room: what one account refuses for now, the other may take at once. */
  roomElsewhere?: boolean
  /** True where nothing may follow: a part of the answer has gone to the client. */
  final?: boolean
}

/** Models not yet tried that accept the input, best first, with the time from which each could start. */
export type Alternative = { model: string; readyAtMs: number }

/** `dueAtMs` is a whole millisecond: the database keeps no other. */
export type Decision =
  | { next: 'retry'; dueAtMs: number }
  | { next: 'fallback'; model: string; dueAtMs: number }
  | { next: 'fail' }

/** `min(500 ms · 2ⁿ, 30 s) × 0.8…1.2`; `jitter` is 0…1. The first retry has `attempts` 1. */
export const backoffMs = (attempts: number, jitter: number): number =>
  Math.round(
    Math.min(LIMITS.backoffBaseMs * 2 ** Math.min(attempts - 1, 16), LIMITS.backoffMaxMs) * (0.8 + 0.4 * jitter),
  )

/**
 * Rate limits cost no attempt: the provider did nothing. They end with the deadline. Nor does the refusal of a secret that
 * was replaced while the attempt was under way; it ends with the last replacement.
 */
export const countsAsAttempt = (failed: Pick<AttemptFault, 'code' | 'secretReplaced'>): boolean =>
  failed.code !== 'provider_rate_limited' && !isReplaced(failed)

const isReplaced = (failed: Pick<AttemptFault, 'code' | 'secretReplaced'>): boolean =>
  failed.code === 'provider_auth_failed' && failed.secretReplaced === true

export const decide = (
  job: FailedJob,
  failed: AttemptFault,
  alternatives: readonly Alternative[],
  now: number,
  jitter: number,
): Decision => {
  if (failed.final) return { next: 'fail' }
  const retryAt = retryTime(job, failed, now, jitter)
  // A token bucket is ready at a fraction of a millisecond; a job is due at a whole one, not before it.
  const whole = alternatives.map(({ model, readyAtMs }) => ({ model, readyAtMs: Math.ceil(readyAtMs) }))
  const inTime = mayFallBack(job, failed) ? whole.filter((item) => item.readyAtMs < job.deadlineAtMs) : []
  const other = inTime.find((item) => retryAt === null || prefersOther(job, failed, item, { now, retryAt }))
  if (other) return { next: 'fallback', model: other.model, dueAtMs: other.readyAtMs }
  return retryAt === null ? { next: 'fail' } : { next: 'retry', dueAtMs: retryAt }
}

/** Null where a retry is not allowed or would come after the deadline. A wait of zero is no wish: it would be a hot loop. */
const retryTime = (job: FailedJob, failed: AttemptFault, now: number, jitter: number): number | null => {
  if (countsAsAttempt(failed) && job.attempts >= job.maxAttempts) return null
  if (!mayRetry(job, failed)) return null
  if (isReplaced(failed) || (failed.code === 'provider_rate_limited' && failed.roomElsewhere))
    return now < job.deadlineAtMs ? now : null
  const asked = failed.retryAfterMs ? Math.min(failed.retryAfterMs, LIMITS.retryAfterMaxMs) : null
  const retryAt = now + Math.ceil(asked ?? backoffMs(Math.max(1, job.attempts, job.earlier.length + 1), jitter))
  return retryAt < job.deadlineAtMs ? retryAt : null
}

const mayRetry = (job: FailedJob, failed: AttemptFault): boolean => {
  switch (FAULT_TABLE[failed.code].retry) {
    case 'no':
      return false
    case 'next_credential':
      return failed.otherCredential || isReplaced(failed)
    case 'backoff':
    case 'after_reset':
      return true
    case 'once':
      return !job.earlier.includes(failed.code)
    case 'if_repeatable':
      return failed.resumable || isRepeatable(job, failed)
    case 'store_again':
      return failed.resumable
  }
}

const mayFallBack = (job: FailedJob, failed: AttemptFault): boolean => {
  if (!job.fallback || isReplaced(failed)) return false
  if (countsAsAttempt(failed) && job.attempts >= job.maxAttempts) return false
  switch (FAULT_TABLE[failed.code].fallback) {
    case 'no':
      return false
    case 'yes':
    case 'if_sooner':
      return true
    case 'if_repeatable':
      return isRepeatable(job, failed)
    case 'if_asked':
      return job.onContentRejected === 'fallback'
  }
}

const isRepeatable = (job: FailedJob, failed: AttemptFault): boolean =>
  failed.idempotent || job.onOutcomeUnknown === 'retry'

/**
 * With a retry possible, another model is taken where the table says "if sooner" and it is; else when this is the last attempt,
 * or a retry has met the same fault and the other is not long in coming: what has used up its day is no better than a retry.
 */
const prefersOther = (
  job: FailedJob,
  failed: AttemptFault,
  other: Alternative,
  { now, retryAt }: { now: number; retryAt: number },
): boolean => {
  if (FAULT_TABLE[failed.code].fallback === 'if_sooner') return other.readyAtMs < retryAt
  if (failed.resumable) return false
  const isNear = other.readyAtMs <= Math.max(retryAt, now + LIMITS.backoffMaxMs)
  return job.attempts === job.maxAttempts - 1 || (isNear && job.earlier.includes(failed.code))
}
