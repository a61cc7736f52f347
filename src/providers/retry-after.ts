import { LIMITS } from '../limits.ts'

/**
 * The wait a `Retry-After` header asks for, in milliseconds, or null where there is none to be read. Seconds or an HTTP
 * date (RFC 9110, 10.2.3); at most `LIMITS.retryAfterMaxMs`, never negative.
 */
export const retryAfterMs = (headers: Headers, nowMs: number): number | null => {
  const text = headers.get('retry-after')?.trim() ?? ''
  const waitMs = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs
  return Number.isNaN(waitMs) ? null : Math.min(Math.max(0, Math.ceil(waitMs)), LIMITS.retryAfterMaxMs)
}
