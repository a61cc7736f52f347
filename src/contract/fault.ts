import type { Quota } from './quota.ts'

/**
 * Expected failures as values. A fault crosses RPC and HTTP unchanged; a throw is a bug or the platform.
 * The codes are a closed set: the contract's request errors plus the outcomes of an attempt.
 */

/** How an attempt can fail, and the HTTP status a client sees where the fault is the answer to its own request. */
const ATTEMPT_FAULTS = {
  provider_rate_limited: 502,
  provider_quota_exhausted: 502,
  provider_auth_failed: 502,
  provider_unavailable: 502,
  provider_timeout: 502,
  outcome_unknown: 502,
  provider_protocol_error: 502,
  provider_rejected: 502,
  content_rejected: 502,
  artifact_failed: 502,
  deadline_exceeded: 504,
  canceled: 409,
  budget_exceeded: 402,
  no_provider: 400,
} as const

const REQUEST_FAULTS = {
  invalid_request: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  idempotency_in_flight: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  idempotency_mismatch: 422,
  rate_limited: 429,
  queue_full: 429,
  internal: 500,
  unavailable: 503,
} as const

export type AttemptFaultCode = keyof typeof ATTEMPT_FAULTS
export type FaultCode = AttemptFaultCode | keyof typeof REQUEST_FAULTS

export const ATTEMPT_FAULT_CODES = Object.keys(ATTEMPT_FAULTS) as AttemptFaultCode[]
export const FAULT_STATUS: Record<FaultCode, number> = { ...ATTEMPT_FAULTS, ...REQUEST_FAULTS }
export const FAULT_CODES = Object.keys(FAULT_STATUS) as FaultCode[]

/** Shape: machine fields first. `param` is the path of the field at fault, such as `input.prompt`. */
export type Fault = {
  code: FaultCode
  message: string
  param?: string
  source: 'switchyard' | 'provider'
  retryAfterMs?: number
  details?: Record<string, string | number | boolean | null>
}

/** `quotas`: the room that there is, where the refusal may be for want of it. */
export type Refusal = { ok: false; fault: Fault; quotas?: Quota[] }
export type Result<T> = { ok: true; value: T } | Refusal

export const ok = <T>(value: T): { ok: true; value: T } => ({ ok: true, value })

export const fault = (
  code: FaultCode,
  message: string,
  more: Partial<Omit<Fault, 'code' | 'message'>> = {},
): Fault => ({
  code,
  message,
  source: 'switchyard',
  ...more,
})

export const refuse = (
  code: FaultCode,
  message: string,
  more: Partial<Omit<Fault, 'code' | 'message'>> = {},
): Refusal => ({ ok: false, fault: fault(code, message, more) })

/** One sentence for an unknown instance, a foreign one and a missing right, so that they look the same. */
export const NOT_HERE_MESSAGE = 'There is no such instance, or this key has no right there.'

/** The contract's `type`: which kind of party has to act. */
export const faultType = (code: FaultCode): string => {
  if (code === 'unauthenticated') return 'authentication_error'
  if (code === 'permission_denied') return 'permission_error'
  if (code === 'rate_limited' || code === 'queue_full') return 'rate_limit_error'
  if (code === 'budget_exceeded') return 'insufficient_quota'
  if (code === 'internal' || code === 'unavailable') return 'server_error'
  if (code in ATTEMPT_FAULTS && code !== 'no_provider') return 'job_error'
  return 'invalid_request_error'
}

/** What a client receives: `{ "error": … }`, the OpenAI shape plus fields. */
export type ErrorBody = {
  error: {
    type: string
    code: FaultCode
    message: string
    param: string | null
    source: 'switchyard' | 'provider'
    request_id: string
    details?: Record<string, string | number | boolean | null>
  }
}

export const errorBody = (problem: Fault, requestId: string): ErrorBody => ({
  error: {
    type: faultType(problem.code),
    code: problem.code,
    message: problem.message,
    param: problem.param ?? null,
    source: problem.source,
    request_id: requestId,
    ...(problem.details ? { details: problem.details } : {}),
  },
})
