/**
 * Directives tell the emulator to misbehave for one request. They stand in the prompt, since a client under test adds
 * no headers of its own: `a cat [[slow:200]] [[cut_after]]`.
 */
export const directiveNames = [
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

export type DirectiveName = (typeof directiveNames)[number]

/** Directive name to its arguments, which colons separate. */
export type Faults = ReadonlyMap<DirectiveName, readonly string[]>

export const rejectReasons = [
  'insufficient_funds',
  'subscription_required',
  'daily_limit',
  'priority_credit_required',
  'inflight_limit',
  'feature_limit',
] as const

const directivePattern = /\[\[([a-z_]+)(?::([^\]]*))?\]\]/g
const failStatuses = new Set([400, 401, 402, 403, 422, 429, 500, 503])

/** Splits a prompt into its directives and the text without them. `problem` names a directive that does not exist. */
export function readDirectives(prompt: string): { faults: Faults; text: string; problem: string | undefined } {
  const faults = new Map<DirectiveName, readonly string[]>()
  let problem: string | undefined
  const text = prompt.replace(directivePattern, (_whole, name: string, argument: string | undefined) => {
    const known = directiveNames.find((candidate) => candidate === name)
    if (known) faults.set(known, argument === undefined ? [] : argument.split(':'))
    else problem ??= `unknown directive ${name}`
    return ' '
  })
  problem ??= problemWithStatus(faults)
  return { faults, text: text.replace(/\s+/g, ' ').trim(), problem }
}

/** Reads the form used in settings: `fail:503`, or several with a space between. */
export function readFaultSetting(setting: string): { faults: Faults; problem: string | undefined } {
  return readDirectives(
    setting
      .split(/\s+/)
      .filter(Boolean)
      .map((item) => `[[${item}]]`)
      .join(''),
  )
}

/** An argument as a number, or the fallback when it is absent or not a number. */
export function numberOf(faults: Faults, name: DirectiveName, position: number, fallback: number): number {
  const argument = faults.get(name)?.[position]
  const value = argument === undefined || argument === '' ? Number.NaN : Number(argument)
  return Number.isFinite(value) && value >= 0 ? value : fallback
}

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

function problemWithStatus(faults: Faults): string | undefined {
  for (const name of ['fail', 'fail_once', 'quote_fail'] as const) {
    if (!faults.has(name)) continue
    if (!failStatuses.has(numberOf(faults, name, 0, 0))) return `${name} needs one of ${[...failStatuses].join(', ')}`
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
