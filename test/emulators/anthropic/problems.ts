import { retryHeaders } from '../base/calls/intake.ts'
import { failing } from '../base/refusals.ts'
import { sendJson } from '../base/wire.ts'
import type { Directives } from './directives.ts'
import type { Exchange, State } from './state.ts'

/** Errors in the provider's form: https://platform.claude.com/docs/en/api/errors. */

export interface Problem {
  status: number
  type: string
  message: string
  code?: string | undefined
}

const types: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  409: 'conflict_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
  529: 'overloaded_error',
}

const messages: Record<number, string> = {
  401: 'invalid x-api-key',
  402: 'Your account needs a payment method.',
  413: 'Request exceeds the maximum size',
  429: 'This request would exceed the rate limit for your organization.',
  500: 'Internal server error',
  529: 'Overloaded',
}

export const problem = (status: number, message?: string, code?: string): Problem => ({
  status,
  type: types[status] ?? 'api_error',
  message: message ?? messages[status] ?? `The request failed with status ${status}.`,
  code,
})

export const errorBody = ({ type, message, code }: Problem, requestId: string): unknown => ({
  type: 'error',
  error: { type, message, ...(code === undefined ? {} : { details: { error_code: code } }) },
  request_id: requestId,
})

/** Turns a call away, with the headers that its directives ask for. */
export async function turnAway(
  state: State,
  { response, requestId }: Exchange,
  found: Problem,
  directives: Directives = new Map(),
  headers: Record<string, string> = {},
): Promise<void> {
  state.ledger.countRejected(found.status)
  const told = { 'request-id': requestId, ...headers, ...retryHeaders(directives) }
  await sendJson(response, found.status, errorBody(found, requestId), told)
}

/** The refusal that the directives of a call ask for before it is accepted, or null. */
export function refusalOf(state: State, directives: Directives, prompt: string): Problem | null {
  if (directives.has('context')) return problem(400, 'prompt is too long: 208310 tokens > 200000 maximum')
  if (directives.has('credit'))
    return problem(
      400,
      'Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.',
    )
  const name = failing(directives, () => state.ledger.isFirstSight(prompt))
  if (name === undefined) return null
  const [status, code] = directives.get(name) ?? []
  return problem(Number(status), undefined, code || undefined)
}
