import { type Answered, commonFault, faultOf, parseJson } from './answers.ts'
import type { FaultContext } from './openai-faults.ts'
import { withId } from './openai-faults.ts'
import { durationMs } from './openai-rate.ts'
import { recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'
import { quotedText } from './quoted-text.ts'
import { retryAfterMs } from './retry-after.ts'

/**
 * Every answer of Gemini's that is not a success, whole or inside a stream
 * (https://ai.google.dev/gemini-api/docs/troubleshooting, and google.rpc.Status with its details).
 */

type Problem = {
  /** A word such as `RESOURCE_EXHAUSTED`, and the HTTP status that the body repeats. */
  status: string
  code: number | null
  message: string
  /** Of google.rpc.ErrorInfo: `API_KEY_INVALID`. */
  reason: string
  /** Of google.rpc.QuotaFailure: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`. */
  quotas: string[]
  /** Of google.rpc.RetryInfo: the wait is in the body, not in a header. */
  retryAfterMs: number | null
}

const textIn = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Null where `answer` holds no error. Without `alt=sse`, and behind some proxies, it stands in a list. */
export const geminiProblem = (answer: unknown): Problem | null => {
  const error = recordOf(recordOf(Array.isArray(answer) ? answer[0] : answer)?.['error'])
  if (!error) return null
  const problem: Problem = {
    status: textIn(error['status']),
    code: typeof error['code'] === 'number' ? error['code'] : null,
    message: textIn(error['message']),
    reason: '',
    quotas: [],
    retryAfterMs: null,
  }
  for (const item of Array.isArray(error['details']) ? error['details'] : []) {
    const detail = recordOf(item) ?? {}
    const type = textIn(detail['@type'])
    if (type.endsWith('.ErrorInfo')) problem.reason = textIn(detail['reason'])
    else if (type.endsWith('.RetryInfo')) problem.retryAfterMs = durationMs(textIn(detail['retryDelay']))
    else if (type.endsWith('.QuotaFailure') && Array.isArray(detail['violations']))
      problem.quotas.push(...detail['violations'].map((violation) => textIn(violation?.quotaId)))
  }
  return problem
}

/** A whole answer whose status is not 2xx. */
export const geminiStatusFault = (answer: Answered, context: FaultContext): Failed => {
  const { status, headers, body } = answer
  const problem = geminiProblem(parseJson(body))
  const waitMs = problem?.retryAfterMs ?? retryAfterMs(headers, context.nowMs)
  const wait = waitMs === null ? {} : { retryAfterMs: waitMs }
  return withId(problemFault(problem, status, context, wait), answer)
}

/** An error inside a stream or a 200: the body alone says what status it would have had. */
export const geminiEventFault = (event: unknown, context: FaultContext): Failed => {
  const problem = geminiProblem(event)
  const wait = problem?.retryAfterMs ? { retryAfterMs: problem.retryAfterMs } : {}
  return problemFault(problem, problem?.code ?? STATUSES[problem?.status ?? ''] ?? 500, context, wait)
}

const STATUSES: Record<string, number> = {
  INVALID_ARGUMENT: 400,
  FAILED_PRECONDITION: 400,
  OUT_OF_RANGE: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ABORTED: 409,
  RESOURCE_EXHAUSTED: 429,
  CANCELLED: 499,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
}

const problemFault = (
  problem: Problem | null,
  status: number,
  context: FaultContext,
  wait: { retryAfterMs?: number },
): Failed => {
  const { name } = context
  const word = problem?.status ?? ''
  const known = problem && keyFault(problem, name)
  if (known) return known
  if (status === 429 || word === 'RESOURCE_EXHAUSTED') return quotaFault(problem, name, wait)
  if (word === 'DEADLINE_EXCEEDED') return faultOf('provider_timeout', `${name} did not finish in time.`, wait)
  if (status === 409 || status === 499)
    return faultOf('provider_unavailable', `${name} gave the request up (status ${status}).`, wait)
  // Of something that the request names, and not of the key.
  const isOfRequest = status === 403 && /cached ?content|\bfiles?\b/i.test(problem?.message ?? '')
  const common = isOfRequest ? null : commonFault(name, status, wait)
  return common ?? rejected(problem, status, context)
}

/** A bad key is a 400 there. */
const REFUSED_KEYS = /^(API_KEY_|ACCESS_TOKEN_|CREDENTIALS_MISSING|CONSUMER_|SERVICE_DISABLED|ACCOUNT_STATE_INVALID)/

const keyFault = ({ reason, status, message }: Problem, name: string): Failed | null => {
  if (reason === 'BILLING_DISABLED' || (status === 'FAILED_PRECONDITION' && /billing/i.test(message)))
    return faultOf('provider_quota_exhausted', `The account at ${name} has no billing.`)
  return REFUSED_KEYS.test(reason) ? faultOf('provider_auth_failed', `${name} refused the key.`) : null
}

/** A day's quota comes back with the day, whatever the wait says, and prepaid money with a payment. */
const quotaFault = (problem: Problem | null, name: string, wait: { retryAfterMs?: number }): Failed => {
  const isDay = problem?.quotas.some((quota) => /PerDay/i.test(quota)) ?? false
  const isMoney = /credits? (?:are|is) depleted|spend(?:ing)? cap/i.test(problem?.message ?? '')
  if (isDay || isMoney) return faultOf('provider_quota_exhausted', `The account at ${name} has no quota left.`)
  return faultOf('provider_rate_limited', `${name} asks for fewer requests.`, wait)
}

const rejected = (problem: Problem | null, status: number, { name, privateTexts }: FaultContext): Failed => {
  const message = problem?.message ?? ''
  if (/token count .{0,40}exceeds the maximum/i.test(message))
    return faultOf('provider_rejected', `The request is longer than the model at ${name} takes.`, { param: 'messages' })
  const words = quotedText(message, privateTexts)
  const said = words ? ` It says: ${words}` : ''
  const isModel = status === 404 && /\bmodels?\b/i.test(message)
  return faultOf('provider_rejected', `${name} refused the request (status ${status}).${said}`, {
    ...(isModel ? { param: 'model' } : {}),
  })
}
