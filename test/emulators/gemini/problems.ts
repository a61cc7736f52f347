import { numberOf } from '../base/directives.ts'
import { failing } from '../base/refusals.ts'
import type { Directives } from './directives.ts'
import type { Exchange, State } from './state.ts'
import { sendJson } from './wire.ts'

/** Errors as google.rpc.Status, with the details that the provider adds. */

export interface Problem {
  code: number
  status: string
  message: string
  details: object[]
}

const statuses: Record<number, string> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  409: 'ABORTED',
  429: 'RESOURCE_EXHAUSTED',
  499: 'CANCELLED',
  500: 'INTERNAL',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
}

const words: Record<number, string> = {
  401: 'Request had invalid authentication credentials.',
  403: 'The caller does not have permission',
  429: 'You exceeded your current quota, please check your plan and billing details.',
  500: 'An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting',
  503: 'The model is overloaded. Please try again later.',
  504: 'The service was unable to finish processing within the deadline.',
}

export const problem = (code: number, message?: string, status?: string, details: object[] = []): Problem => ({
  code,
  status: status || (statuses[code] ?? 'UNKNOWN'),
  message: message ?? words[code] ?? `The request failed with status ${code}.`,
  details,
})

const detail = (type: string, fields: object) => ({ '@type': `type.googleapis.com/google.rpc.${type}`, ...fields })

export const keyProblem = (): Problem =>
  problem(400, 'API key not valid. Please pass a valid API key.', undefined, [
    detail('ErrorInfo', {
      reason: 'API_KEY_INVALID',
      domain: 'googleapis.com',
      metadata: { service: 'generativelanguage.googleapis.com' },
    }),
    detail('LocalizedMessage', {
      locale: 'en-US',
      message: 'API key not valid. Please pass a valid API key.',
    }),
  ])

export const quotaProblem = (quotaId: string, model: string, retryAfterMs: number): Problem =>
  problem(429, undefined, undefined, [
    detail('Help', {
      links: [
        { description: 'Learn more about Gemini API quotas', url: 'https://ai.google.dev/gemini-api/docs/rate-limits' },
      ],
    }),
    detail('QuotaFailure', {
      violations: [
        {
          quotaMetric: 'generativelanguage.googleapis.com/generate_content_requests',
          quotaId,
          quotaDimensions: { model, location: 'global' },
        },
      ],
    }),
    detail('RetryInfo', { retryDelay: `${Math.ceil(retryAfterMs) / 1000}s` }),
  ])

export const errorBody = ({ code, message, status, details }: Problem): unknown => ({
  error: { code, message, status, ...(details.length > 0 ? { details } : {}) },
})

/** Turns a call away. A stream that is no event stream has its error in a list. */
export async function turnAway(state: State, exchange: Exchange, found: Problem): Promise<void> {
  state.ledger.countRejected(found.code)
  const body = errorBody(found)
  const isList = exchange.method === 'streamGenerateContent' && !exchange.sse
  await sendJson(exchange.response, found.code, isList ? [body] : body)
}

/** The refusal that the directives of a call ask for before it is accepted, or null. */
export function refusalOf(state: State, directives: Directives, prompt: string): Problem | null {
  if (directives.has('context'))
    return problem(400, 'The input token count (1054016) exceeds the maximum number of tokens allowed (1048576).')
  const name = failing(directives, () => state.ledger.isFirstSight(prompt))
  return name === undefined
    ? null
    : directedProblem(directives, numberOf(directives, name, 0, 500), directives.get(name)?.[1])
}

/** `fail:429 quota:GenerateRequestsPerDayPerProjectPerModel retry:59s`; `reason` is of ErrorInfo, `words` the message. */
export function directedProblem(directives: Directives, code: number, status?: string): Problem {
  const details: object[] = []
  const [reason] = directives.get('reason') ?? []
  const [quotaId] = directives.get('quota') ?? []
  const [retryDelay] = directives.get('retry') ?? []
  if (reason !== undefined) details.push(detail('ErrorInfo', { reason, domain: 'googleapis.com' }))
  if (quotaId !== undefined) details.push(detail('QuotaFailure', { violations: [{ quotaId }] }))
  if (retryDelay !== undefined) details.push(detail('RetryInfo', { retryDelay }))
  return problem(code, directives.get('words')?.[0], status, details)
}
