import { retryHeaders } from '../base/calls/intake.ts'
import { failing } from '../base/refusals.ts'
import { sendJson } from '../base/wire.ts'
import type { Directives } from './directives.ts'
import type { Server } from './settings.ts'
import type { Exchange, State } from './state.ts'

/** Errors in the words of each server. */

export interface Problem {
  status: number
  message: string
  type: string
  code: string | null
  param: string | null
}

const types: Record<number, string> = {
  401: 'invalid_request_error',
  403: 'permission_error',
  408: 'timeout_error',
  409: 'conflict_error',
  429: 'requests',
  500: 'server_error',
  502: 'server_error',
  503: 'service_unavailable_error',
  504: 'server_error',
}

const codes: Record<number, string | null> = {
  401: 'invalid_api_key',
  404: 'model_not_found',
  429: 'rate_limit_exceeded',
  503: 'server_is_overloaded',
}

const quotaCodes = new Set([
  'insufficient_quota',
  'credit_balance_exhausted',
  'organization_spend_limit_exceeded',
  'project_spend_limit_exceeded',
  'organization_usage_limit_exceeded',
])

export function problem(status: number, code?: string | null, message?: string, param: string | null = null): Problem {
  const known = code === undefined ? (codes[status] ?? null) : code
  const type =
    status === 429 && known !== null && quotaCodes.has(known)
      ? 'insufficient_quota'
      : known === 'slow_down'
        ? 'rate_limit_error'
        : (types[status] ?? 'invalid_request_error')
  const words = known === 'model_not_found' ? 'The model does not exist.' : `The request failed with status ${status}.`
  return { status, code: known, type, param, message: message ?? words }
}

/** The body of an error as this server writes it. */
export function errorBody(server: Server, { status, message, type, code, param }: Problem): unknown {
  switch (server) {
    case 'vllm':
      return {
        object: 'error',
        message,
        type: status < 500 ? 'BadRequestError' : 'InternalServerError',
        param,
        code: status,
      }
    case 'llama.cpp':
      return { error: { code: status, message, type } }
    case 'ollama':
      return { error: { message, type: status === 404 ? 'not_found_error' : 'api_error', param: null, code: null } }
    case 'workers-ai':
      return { result: null, success: false, errors: [{ code: cloudflareNumber(status, code), message }], messages: [] }
    default:
      return { error: { message, type, param, code } }
  }
}

const cloudflareNumber = (status: number, code: string | null): number => {
  if (code !== null && /^\d+$/.test(code)) return Number(code)
  if (status === 429) return quotaCodes.has(code ?? '') ? 3036 : 3040
  return { 400: 5004, 401: 10000, 403: 5018, 404: 3042, 408: 3007, 413: 3006 }[status] ?? 3043
}

/** Turns a call away, with the headers that its directives ask for. */
export async function turnAway(
  state: State,
  { response, native }: Exchange,
  found: Problem,
  directives: Directives = new Map(),
  headers: Record<string, string> = {},
): Promise<void> {
  state.ledger.countRejected(found.status)
  const body = native ? { error: found.message } : errorBody(state.settings.server, found)
  await sendJson(response, found.status, body, { ...headers, ...retryHeaders(directives) })
}

/** The gateway's own errors, whose list is called `error` where the provider's is `errors`. */
export async function gatewayError(
  state: State,
  { response }: Exchange,
  status: number,
  code: number,
  message: string,
) {
  state.ledger.countRejected(status)
  await sendJson(response, status, { success: false, result: [], messages: [], error: [{ code, message }] })
}

/** The refusal that the directives of a call ask for before it is accepted, or null. */
export function refusalOf(state: State, directives: Directives, prompt: string): Problem | null {
  if (directives.has('context'))
    return problem(400, 'context_length_exceeded', "This model's maximum context length is 128 tokens.", 'messages')
  if (directives.has('reject'))
    return {
      ...problem(400, 'moderation_blocked', 'Your request was rejected by the safety system.'),
      type: 'image_generation_user_error',
    }
  const name = failing(directives, () => state.ledger.isFirstSight(prompt))
  if (name === undefined) return null
  const [status, code] = directives.get(name) ?? []
  return problem(Number(status), code)
}
