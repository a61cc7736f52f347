import { asPrompt, type Directives, problemWithStatus, splitDirectives } from '../base/directives.ts'

const names = [
  // Before acceptance: nothing is generated or billed.
  'fail',
  'fail_once',
  'reject',
  'cut_before',
  'quote_fail',
  'retry_after',
  // After acceptance: billed, but the answer is late, wrong or missing.
  'slow',
  'stall',
  'garbage',
  'malformed',
  'truncated',
  'cut_after',
  'unsafe',
  'async_fail',
  // On polls of an asynchronous generation.
  'poll_fail',
  'poll_cut',
  // On downloads.
  'bad_image',
  'blank_image',
  'wrong_size',
  'corrupt_image',
  'image_format',
  'truncated_image',
  'short_image',
  'wrong_type',
  'image_fail',
  'expired',
  'slow_image',
  'no_length',
  'redirect',
  // On webhooks.
  'webhook_early',
  'webhook_twice',
  'webhook_bad_signature',
  'webhook_none',
] as const

/** The directives of a request, all of which are ways of going wrong. */
export type Faults = Directives<(typeof names)[number]>

export const rejectReasons = [
  'insufficient_funds',
  'subscription_required',
  'daily_limit',
  'priority_credit_required',
  'inflight_limit',
  'feature_limit',
] as const

const pattern = /\[\[([a-z_]+)(?::([^\]]*))?\]\]/g
const statuses = [400, 401, 402, 403, 422, 429, 500, 503]

/** Splits a prompt into its directives and the text without them. `problem` names a directive that does not exist. */
export function readDirectives(prompt: string): { faults: Faults; text: string; problem: string | undefined } {
  const { directives: faults, rest, problem } = splitDirectives(prompt, { pattern, names })
  return { faults, text: rest.replace(/\s+/g, ' ').trim(), problem: problem ?? problemWithRefusals(faults) }
}

/** Reads the form used in settings: `fail:503`, or several with a space between. */
export const readFaultSetting = (setting: string) => readDirectives(asPrompt(setting))

/** Status, headers and body of a refusal. `reason` is used by 402 and 429; a 429 without one has a bare body. */
export function refusal(
  status: number,
  reason: string | undefined,
  maxInflight: number,
): { status: number; body: Record<string, unknown> } {
  if (status === 429 && reason === undefined) return { status, body: { error: 'Too many requests.' } }
  if (status === 402 || status === 429) {
    const why = reason ?? 'insufficient_funds'
    const inflight = { max_inflight_requests: maxInflight, task_completion_speed: 'fast' }
    const body = { error: refusalTexts[why] ?? why, reject_reason: why }
    return { status, body: why === 'inflight_limit' ? { ...body, ...inflight } : body }
  }
  return { status, body: { error: statusTexts[status] ?? 'Error.' } }
}

function problemWithRefusals(faults: Faults): string | undefined {
  for (const name of ['fail', 'fail_once', 'quote_fail'] as const) {
    if (!faults.has(name)) continue
    const wrong = problemWithStatus(faults, [name], statuses)
    if (wrong) return wrong
    const reason = faults.get(name)?.[1]
    if (reason !== undefined && !rejectReasons.some((known) => known === reason)) return `unknown reason ${reason}`
  }
  return undefined
}

const statusTexts: Record<number, string> = {
  400: 'Invalid input provided.',
  401: 'Not authorized.',
  403: 'Forbidden.',
  422: 'Prompt provided failed safety check due to the inclusion of prohibited content.',
  500: 'Internal server error.',
  503: 'Service temporarily unavailable.',
}

const refusalTexts: Record<string, string> = {
  insufficient_funds: 'Insufficient funds.',
  subscription_required: 'This feature requires a subscription.',
  daily_limit: 'Daily limit reached.',
  priority_credit_required: 'Priority credits are required.',
  inflight_limit: 'Too many in-flight requests.',
  feature_limit: 'The limit of this feature is reached.',
}
