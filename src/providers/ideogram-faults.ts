import { type Answered, commonFault, faultOf, readAnswer } from './answers.ts'
import { Problem } from './ideogram-answers.ts'
import type { Call, Failed } from './provider.ts'
import { quotedText } from './quoted-text.ts'
import { retryAfterMs } from './retry-after.ts'

/** Every answer of Ideogram's that is not a success, as one fault. */

/** Ideogram documents no header for its limit of requests in flight; a place frees when any of them ends. */
const INFLIGHT_WAIT_MS = 1_000

const QUOTA_REASONS = [
  'insufficient_funds',
  'subscription_required',
  'daily_limit',
  'priority_credit_required',
  'feature_limit',
]

/** For an answer whose status is not 2xx. */
export const statusFault = (call: Call, { status, headers, body }: Answered): Failed => {
  const problem = readAnswer(Problem, body)
  const { prompt, negative_prompt: negative } = call.input
  const words = quotedText(problem?.error ?? '', [prompt, negative, call.secret])
  const said = words ? ` It says: ${words}` : ''
  const waitMs = retryAfterMs(headers, call.nowMs)
  const wait = waitMs === null ? {} : { retryAfterMs: waitMs }
  if (status === 422) return faultOf('content_rejected', 'The request failed the safety check of Ideogram.')
  if (status === 402 || status === 429) return limitFault(status, problem?.reject_reason, waitMs)
  const common = commonFault('Ideogram', status, wait)
  return common ?? faultOf('provider_rejected', `Ideogram refused the request (status ${status}).${said}`)
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
