import * as v from 'valibot'
import type { AttemptFaultCode } from '../contract/fault.ts'
import type { HttpResult } from './http.ts'
import type { Failed } from './provider.ts'

/** What adapters share in reading answers: parsing, and the faults that mean the same at every provider. */

export type Answered = Extract<HttpResult, { kind: 'answered' }>
type Unanswered = Exclude<HttpResult, Answered>

export const isSuccess = (status: number): boolean => status >= 200 && status < 300

/** Any JSON, or null where it is none. */
export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** The same, where numbers go on to somebody else: those with more digits than a number holds are written as they came. */
export const parseExact = (text: string): unknown => {
  if (!/\d{16}/.test(text)) return parseJson(text)
  try {
    return JSON_TEXT.parse(text, (_key, value, { source }) =>
      Number.isInteger(value) && !Number.isSafeInteger(value) ? JSON_TEXT.rawJSON(source) : value,
    )
  } catch {
    return null
  }
}

/** Of ES2026, which the runtimes have and the types have not. */
const JSON_TEXT = JSON as unknown as {
  parse(text: string, reviver: (key: string, value: unknown, context: { source: string }) => unknown): unknown
  rawJSON(source: string): object
}

/** The answer as this schema's value, or null where it is not JSON or not of that shape. */
export const readAnswer = <Schema extends v.GenericSchema>(
  schema: Schema,
  body: string,
): v.InferOutput<Schema> | null => {
  try {
    const read = v.safeParse(schema, JSON.parse(body))
    return read.success ? read.output : null
  } catch {
    return null
  }
}

export const faultOf = (code: AttemptFaultCode, message: string, more: Partial<Failed> = {}): Failed => ({
  kind: 'fault',
  code,
  message,
  ...more,
})

/**
 * Statuses that mean the same at every provider, for an answer that is not 2xx; null where the provider's own words decide.
 * `name` is the provider's, `wait` what it says of when to come back.
 */
export const commonFault = (name: string, status: number, wait: { retryAfterMs?: number }): Failed | null => {
  if (status === 401 || status === 403) return faultOf('provider_auth_failed', `${name} refused the key.`)
  if (status === 408) return faultOf('provider_timeout', `${name} gave the request up (status 408).`, wait)
  // Cloudflare's own answers for an origin that took the request and did not answer it well, or at all.
  if (status === 520 || status === 524) {
    return faultOf('outcome_unknown', `The answer of ${name} was lost on the way (status ${status}).`)
  }
  if (status >= 500) return faultOf('provider_unavailable', `${name} is failing (status ${status}).`, wait)
  return status >= 400 ? null : faultOf('provider_protocol_error', `${name} answered with status ${status}.`)
}

/** `paid` says whether the request could have bought something: only then is a lost answer an unknown outcome. */
export const networkFault = (name: string, result: Unanswered, paid: boolean): Failed => {
  const message = `${name}: ${result.message}`
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

/** Providers' own reasons for a refusal: none documents them as a closed set. */
const SAFETY = /safety|unsafe|moderat|prohibited|polic(y|ies)|nsfw|inappropriate|copyright|sexual|violen/i

export const isSafetyReason = (reason: string): boolean => SAFETY.test(reason)
