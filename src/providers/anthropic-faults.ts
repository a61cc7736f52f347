import { type Answered, commonFault, faultOf, parseJson } from './answers.ts'
import { anthropicWaitMs } from './anthropic-rate.ts'
import { cloudflareCode, cloudflareFault } from './cloudflare-faults.ts'
import type { FaultContext } from './openai-faults.ts'
import { recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'
import { quotedText } from './quoted-text.ts'

/**
 * Every answer that is not a success, whole or inside a stream (https://platform.claude.com/docs/en/api/errors):
 * `{ "type": "error", "error": { "type", "message", "details": { "error_code" } }, "request_id" }`.
 */

type Problem = { type: string; message: string; code: string; requestId: string | null }
type More = { retryAfterMs?: number; providerRequestId?: string }

const textIn = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Null where `answer` holds no error. */
export const problemOf = (answer: unknown): Problem | null => {
  const body = recordOf(answer)
  const error = recordOf(body?.['error'])
  if (!error) return null
  return {
    type: textIn(error['type']),
    message: textIn(error['message']),
    code: textIn(recordOf(error['details'])?.['error_code']),
    requestId: textIn(body?.['request_id']) || null,
  }
}

/** Waiting does not help these: somebody has to pay or to raise a limit. */
const SPENT = new Set([
  'contract_spend_limit_reached',
  'enforced_spend_limit_reached',
  'linked_organization_spend_limit_reached',
  'linked_organization_billing_unavailable',
  'user_profile_billing_not_authorized',
  'user_profile_not_billable',
])

/** Where the provider has no code, its words are all there is to go by. */
const CREDIT = /credit balance is too low/i
const FILTERED = /content filtering policy/i
const TOO_LONG = /prompt is too long|exceed(?:s|ed)? (?:the )?(?:model.s )?context|input length and .?max_tokens/i

/** A whole answer whose status is not 2xx. */
export const statusFault = (answer: Answered, context: FaultContext): Failed => {
  const { status, headers } = answer
  const { name, nowMs } = context
  const parsed = parseJson(answer.body)
  const problem = problemOf(parsed)
  const waitMs = anthropicWaitMs(status, headers, nowMs)
  const more: More = { ...(waitMs === null ? {} : { retryAfterMs: waitMs }), ...requestId(answer, problem) }
  const number = cloudflareCode(parsed)
  const cloudflare = number === null ? null : cloudflareFault(name, number, more, nowMs)
  if (cloudflare) return { ...cloudflare, ...requestId(answer, problem) }
  const known = problem && typeFault(problem, context, more)
  if (known) return known
  const told = headers.get('x-should-retry')
  if (status === 402 || (status === 429 && told === 'false'))
    return faultOf('provider_quota_exhausted', `The account at ${name} has reached a limit.`, more)
  if (status === 429) return faultOf('provider_rate_limited', `${name} asks for fewer requests.`, more)
  if (status === 409 || (status < 500 && status !== 401 && told === 'true'))
    return faultOf('provider_unavailable', `${name} asks to try again (status ${status}).`, more)
  if (status === 413) return tooLong(name, more)
  return { ...(commonFault(name, status, more) ?? rejected(problem, context, more)), ...requestId(answer, problem) }
}

/** An error inside a stream or a 200, where no status speaks. */
export const eventFault = (event: unknown, context: FaultContext, more: More = {}): Failed => {
  const problem = problemOf(event)
  const number = cloudflareCode(event)
  const cloudflare = number === null ? null : cloudflareFault(context.name, number, more, context.nowMs)
  if (cloudflare) return cloudflare
  const told = problem?.requestId ? { providerRequestId: problem.requestId.slice(0, 200), ...more } : more
  const known = problem && typeFault(problem, context, told)
  if (known) return known
  if (problem?.type === 'invalid_request_error') return rejected(problem, context, told)
  return faultOf('provider_unavailable', `${context.name} failed while it answered.${quoted(problem, context)}`, told)
}

/** By the provider's own words, whatever the status; null where the status has to decide. */
const typeFault = (problem: Problem, context: FaultContext, more: More): Failed | null => {
  const { name } = context
  const { type, code, message } = problem
  if (type === 'billing_error' || SPENT.has(code) || CREDIT.test(message))
    return faultOf(
      'provider_quota_exhausted',
      `The account at ${name} has no credit left or has reached a limit.`,
      more,
    )
  switch (type) {
    case 'rate_limit_error':
      return faultOf('provider_rate_limited', `${name} asks for fewer requests.`, more)
    case 'overloaded_error':
      return faultOf('provider_unavailable', `${name} is overloaded.`, more)
    case 'authentication_error':
    case 'permission_error':
      return faultOf('provider_auth_failed', `${name} refused the key.`, more)
    case 'timeout_error':
      return faultOf('provider_timeout', `${name} gave the request up.`, more)
    case 'conflict_error':
      return faultOf('provider_unavailable', `${name} asks to try again.`, more)
    case 'request_too_large':
      return tooLong(name, more)
    case 'not_found_error':
      return faultOf('provider_rejected', `${name} has no such model, or not for this account.`, {
        param: 'model',
        ...more,
      })
    case 'invalid_request_error':
      if (FILTERED.test(message))
        return faultOf('content_rejected', `The safety system of ${name} refused the request.`, more)
      return TOO_LONG.test(message) ? tooLong(name, more) : null
    default:
      return null
  }
}

const tooLong = (name: string, more: More): Failed =>
  faultOf('provider_rejected', `The request is longer than the model at ${name} takes.`, { param: 'messages', ...more })

/** Its fields that have the same name here; places inside them are counted in its own way. */
const SHARED = /^(messages|tools|tool_choice|max_tokens|temperature|top_p|service_tier)\b/
const OURS: Record<string, string> = {
  system: 'messages',
  stop_sequences: 'stop',
  'output_config.format': 'response_format',
  'output_config.effort': 'reasoning_effort',
  thinking: 'reasoning_effort',
  'metadata.user_id': 'user',
}

/** `max_tokens: 5 > 4, …` begins with the field at fault. */
const paramOf = (message: string): string | null => {
  const [, shared] = SHARED.exec(message) ?? []
  if (shared !== undefined && /^[\w.]+:/.test(message)) return shared
  const [, path] = /^([\w.]+):/.exec(message) ?? []
  const known = Object.keys(OURS).find((field) => path === field || path?.startsWith(`${field}.`))
  return known === undefined ? null : (OURS[known] ?? null)
}

const rejected = (problem: Problem | null, context: FaultContext, more: More): Failed => {
  const param = paramOf(problem?.message ?? '')
  return faultOf('provider_rejected', `${context.name} refused the request.${quoted(problem, context)}`, {
    ...(param === null ? {} : { param }),
    ...more,
  })
}

const quoted = (problem: Problem | null, { privateTexts }: FaultContext): string => {
  const words = quotedText(problem?.message ?? '', privateTexts)
  return words ? ` It says: ${words}` : ''
}

/** The id that the provider's support asks for. */
export const requestId = ({ headers }: Answered, problem: Problem | null = null): { providerRequestId?: string } => {
  const id = headers.get('request-id') ?? problem?.requestId ?? headers.get('cf-ray')
  return id ? { providerRequestId: id.slice(0, 200) } : {}
}
