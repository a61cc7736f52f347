import type { AttemptFaultCode } from '../contract/fault.ts'
import type { HttpResult } from './http.ts'
import { Problem, readAnswer } from './ideogram-answers.ts'
import type { Call, Failed } from './provider.ts'
import { quotedText } from './quoted-text.ts'
import { retryAfterMs } from './retry-after.ts'

/** Every answer of Ideogram's that is not a success, and every end of a connection, as one fault. */

export type Answered = Extract<HttpResult, { kind: 'answered' }>
type Unanswered = Exclude<HttpResult, Answered>

/** Ideogram documents no header for its limit of requests in flight; a place frees when any of them ends. */
const INFLIGHT_WAIT_MS = 1_000

const QUOTA_REASONS = [
  'insufficient_funds',
  'subscription_required',
  'daily_limit',
  'priority_credit_required',
  'feature_limit',
]

export const faultOf = (code: AttemptFaultCode, message: string, more: Partial<Failed> = {}): Failed => ({
  kind: 'fault',
  code,
  message,
  ...more,
})

/** For an answer whose status is not 2xx. */
export const statusFault = (call: Call, { status, headers, body }: Answered): Failed => {
  const problem = readAnswer(Problem, body)
  const { prompt, negative_prompt: negative } = call.input
  const words = quotedText(problem?.error ?? '', [prompt, negative, call.secret])
  const said = words ? ` It says: ${words}` : ''
  const waitMs = retryAfterMs(headers, call.nowMs)
  const wait = waitMs === null ? {} : { retryAfterMs: waitMs }
  if (status === 401 || status === 403) return faultOf('provider_auth_failed', 'Ideogram refused the API key.')
  if (status === 422) return faultOf('content_rejected', 'The request failed the safety check of Ideogram.')
  if (status === 402 || status === 429) return limitFault(status, problem?.reject_reason, waitMs)
  if (status === 408) return faultOf('provider_timeout', 'Ideogram gave the request up (status 408).', wait)
  // Cloudflare's own answers for an origin that took the request and did not answer it well, or at all.
  if (status === 520 || status === 524) {
    return faultOf('outcome_unknown', `The answer of Ideogram was lost on the way (status ${status}).`)
  }
  if (status >= 500) return faultOf('provider_unavailable', `Ideogram is failing (status ${status}).`, wait)
  if (status >= 400) return faultOf('provider_rejected', `Ideogram refused the request (status ${status}).${said}`)
  return faultOf('provider_protocol_error', `Ideogram answered with status ${status}.`)
}

/** 402 and 429 share their reasons: which of the two is sent does not tell whether waiting helps. */
const limitFault = (status: number, reason: string | undefined, waitMs: number | null): Failed => {
  if (reason === 'inflight_limit') {
    const message = 'Ideogram has too many requests of this account in flight.'
    return faultOf('provider_rate_limited', message, { retryAfterMs: waitMs ?? INFLIGHT_WAIT_MS })
  }
  const wait = waitMs === null ? {} : { retryAfterMs: waitMs }
  if (status === 429 && !QUOTA_REASONS.includes(reason ?? '')) {
    return faultOf('provider_rate_limited', 'Ideogram asks for fewer requests.', wait)
  }
  const known = QUOTA_REASONS.includes(reason ?? '') ? ` (${reason})` : ''
  return faultOf('provider_quota_exhausted', `The Ideogram account does not allow this request${known}.`, wait)
}

/** `paid` says whether the request could have bought something: only then is a lost answer an unknown outcome. */
export const networkFault = (result: Unanswered, paid: boolean): Failed => {
  const message = `Ideogram: ${result.message}`
  switch (result.kind) {
    case 'refused':
      return faultOf('provider_rejected', message)
    case 'unsent':
      return faultOf('provider_unavailable', message)
    case 'lost':
      return faultOf(paid ? 'outcome_unknown' : 'provider_unavailable', message)
    case 'timeout':
      return faultOf(paid ? 'provider_timeout' : 'provider_unavailable', message)
    case 'aborted':
      return faultOf('canceled', message)
  }
}

export const isSuccess = (status: number): boolean => status >= 200 && status < 300
