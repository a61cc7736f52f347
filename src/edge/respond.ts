import { errorBody, FAULT_STATUS, type Fault, type Result } from '../contract/fault.ts'
import { refusedBy } from './refused.ts'

/** Answers. Every JSON answer is made here, and every error in the one shape. */

export const json = (value: unknown, status = 200, headers: Record<string, string> = {}): Response =>
  jsonBody(JSON.stringify(value), status, headers)

/** Of JSON that is written already, or as it is read. */
export const jsonBody = (body: string | ReadableStream, status: number, headers: Record<string, string>): Response =>
  new Response(body, {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store', ...headers },
  })

export const noContent = (): Response => new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })

export const problem = (fault: Fault, requestId: string, headers: Record<string, string> = {}): Response => {
  const status = FAULT_STATUS[fault.code]
  const waits = status === 429 || status === 503
  const retryAfter = waits ? { 'retry-after': String(Math.max(1, Math.ceil((fault.retryAfterMs ?? 1000) / 1000))) } : {}
  const scheme: Record<string, string> = status === 401 ? { 'www-authenticate': 'Bearer realm="switchyard"' } : {}
  return json(errorBody(fault, requestId), status, { ...retryAfter, ...scheme, ...headers })
}

/** The value of a result, or a refusal that the router turns into the answer. */
export const unwrap = <T>(result: Result<T>): T => {
  if (result.ok) return result.value
  throw refusedBy(result)
}
