import type { AttemptFaultCode } from '../contract/fault.ts'
import { type Answered, commonFault, faultOf, parseJson } from './answers.ts'
import { cloudflareCode, cloudflareFault } from './cloudflare-faults.ts'
import { openAiWaitMs } from './openai-rate.ts'
import { recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'
import { quotedText } from './quoted-text.ts'

/**
 * Every answer in OpenAI's manner that is not a success, whole or inside a stream
 * (https://platform.openai.com/docs/guides/error-codes).
 */

export type FaultContext = {
  /** The provider's name, for people. */
  name: string
  /** What must not be told on: texts of the prompt, the secret. */
  privateTexts: (string | undefined)[]
  nowMs: number
}

/** The error of an answer: OpenAI's object, vLLM's older flat form, or a bare text. */
type Problem = { message: string; type: string; code: string; param: string | null; status: number | null }

const textIn = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Null where `answer` holds no error. */
export const problemOf = (answer: unknown): Problem | null => {
  const body = recordOf(answer)
  const held = body?.['error'] ?? (body?.['object'] === 'error' ? body : null)
  if (held === null || held === undefined) return null
  const error = recordOf(held)
  const code = error?.['code']
  return {
    message: textIn(error?.['message'] ?? held),
    type: textIn(error?.['type']),
    code: textIn(code),
    param: textIn(error?.['param']) || null,
    // Local servers put a status there.
    status: typeof code === 'number' && code >= 400 && code <= 599 ? code : null,
  }
}

const CONTENT = new Set(['moderation_blocked', 'content_policy_violation', 'content_filter', 'safety_violation'])

/** Waiting does not help these: somebody has to pay or to raise a limit. */
const QUOTA = new Set([
  'insufficient_quota',
  'credit_balance_exhausted',
  'organization_spend_limit_exceeded',
  'project_spend_limit_exceeded',
  'organization_usage_limit_exceeded',
  'billing_hard_limit_reached',
  'billing_not_active',
])

const RATE = new Set(['rate_limit_exceeded', 'rate_limit_error', 'slow_down'])

/** A whole answer whose status is not 2xx. */
export const statusFault = (answer: Answered, context: FaultContext): Failed => {
  const { status, headers } = answer
  const { name, nowMs } = context
  const waitMs = openAiWaitMs(status, headers, nowMs)
  const wait = waitMs === null ? {} : { retryAfterMs: waitMs }
  const more = withId({}, answer)
  const parsed = parseJson(answer.body)
  const number = cloudflareCode(parsed)
  const cloudflare = number === null ? null : cloudflareFault(name, number, wait, nowMs)
  if (cloudflare) return { ...cloudflare, ...more }
  const problem = problemOf(parsed)
  const known = problem && wordFault(problem, context, wait)
  if (known) return { ...known, ...more }
  const told = headers.get('x-should-retry')
  if (status === 429 && told === 'false')
    return faultOf('provider_quota_exhausted', `The account at ${name} has reached a limit.`, more)
  if (status === 429) return faultOf('provider_rate_limited', `${name} asks for fewer requests.`, { ...wait, ...more })
  // A lock held by another request, by the official client's reading.
  if (status === 409 || (status < 500 && status !== 401 && told === 'true'))
    return faultOf('provider_unavailable', `${name} asks to try again (status ${status}).`, { ...wait, ...more })
  const common = status === 403 && problem?.param === 'model' ? null : commonFault(name, status, wait)
  return { ...(common ?? rejected(problem, status, context)), ...more }
}

/** An error inside a stream or a 200, where no status speaks. */
export const eventFault = (event: unknown, context: FaultContext): Failed => {
  const { name, nowMs } = context
  const number = cloudflareCode(event)
  const cloudflare = number === null ? null : cloudflareFault(name, number, {}, nowMs)
  if (cloudflare) return cloudflare
  const problem = problemOf(event)
  const known = problem && wordFault(problem, context, {})
  if (known) return known
  const status = problem?.status ?? null
  if (status === 429) return faultOf('provider_rate_limited', `${name} asks for fewer requests.`)
  const isInput = status === null ? /invalid_request|bad_?request/i.test(problem?.type ?? '') : status < 500
  if (isInput) return rejected(problem, status ?? 400, context)
  return faultOf('provider_unavailable', `${name} failed while it answered.${quoted(problem, context)}`)
}

/** By the provider's own words, whatever the status; null where they say nothing that is known. */
const wordFault = (problem: Problem, context: FaultContext, wait: { retryAfterMs?: number }): Failed | null => {
  const { name } = context
  const is = (words: Set<string>) => words.has(problem.code) || words.has(problem.type)
  if (is(CONTENT)) return faultOf('content_rejected', `The safety system of ${name} refused the request.`)
  if (is(QUOTA)) return faultOf('provider_quota_exhausted', `The account at ${name} has no quota left.`)
  if (is(RATE)) return faultOf('provider_rate_limited', `${name} asks for fewer requests.`, wait)
  if (problem.code === 'invalid_api_key') return faultOf('provider_auth_failed', `${name} refused the key.`)
  if (problem.code === 'server_is_overloaded') return faultOf('provider_unavailable', `${name} is overloaded.`, wait)
  if (problem.code === 'context_length_exceeded' || problem.type === 'exceed_context_size_error')
    return faultOf('provider_rejected', `The request is longer than the model at ${name} takes.`, {
      param: 'messages',
    })
  if (problem.code === 'model_not_found')
    return faultOf('provider_rejected', `${name} has no such model, or not for this account.`, { param: 'model' })
  return null
}

/** Servers of one's own name no field, but say which model they do not have. A path that is not there has no such words. */
const isNoModel = (problem: Problem | null, status: number): boolean =>
  status === 404 && /\bmodels?\b/i.test(problem?.message ?? '')

const rejected = (problem: Problem | null, status: number, context: FaultContext): Failed => {
  const told = problem?.param && /^[\w.[\]-]{1,128}$/.test(problem.param) ? { param: problem.param } : null
  const param = told ?? (isNoModel(problem, status) ? { param: 'model' } : {})
  const code: AttemptFaultCode = 'provider_rejected'
  return faultOf(code, `${context.name} refused the request (status ${status}).${quoted(problem, context)}`, param)
}

const quoted = (problem: Problem | null, { privateTexts }: FaultContext): string => {
  const words = quotedText(problem?.message ?? '', privateTexts)
  return words ? ` It says: ${words}` : ''
}

/** With the id that the provider's support asks for, where the answer bears one. */
export const withId = <T extends object>(value: T, { headers }: Answered): T & { providerRequestId?: string } => {
  const id = headers.get('x-request-id') ?? headers.get('cf-ray')
  return id ? { ...value, providerRequestId: id.slice(0, 200) } : value
}
