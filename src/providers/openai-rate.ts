import type { RateHint, RateHints } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { retryAfterMs } from './retry-after.ts'

/** Headers about limits in OpenAI's manner, which many servers share. */

/** `x-ratelimit-{remaining,reset}-{requests,tokens}`; a reset is a duration such as `6m0s` or `120ms`. */
export const openAiRate = (headers: Headers): RateHints => ({
  requests: hintOf(headers, 'requests'),
  tokens: hintOf(headers, 'tokens'),
})

const hintOf = (headers: Headers, kind: 'requests' | 'tokens'): RateHint | null => {
  const remaining = headers.get(`x-ratelimit-remaining-${kind}`) ?? ''
  const resetAfterMs = durationMs(headers.get(`x-ratelimit-reset-${kind}`) ?? '')
  if (!/^\d{1,12}$/.test(remaining) || resetAfterMs === null) return null
  return { remaining: Number(remaining), resetAfterMs }
}

/**
 * When to come back, as OpenAI's own client reads it: `retry-after-ms`, else `retry-after`; on a 429 without either, when
 * the limit that is used up will be reset. Null where nothing says.
 */
export const openAiWaitMs = (status: number, headers: Headers, nowMs: number): number | null => {
  const exact = headers.get('retry-after-ms')?.trim() ?? ''
  if (/^\d{1,12}(\.\d{1,9})?$/.test(exact)) return Math.min(Math.ceil(Number(exact)), LIMITS.retryAfterMaxMs)
  const told = retryAfterMs(headers, nowMs)
  if (told !== null || status !== 429) return told
  const { requests, tokens } = openAiRate(headers)
  const resets = [requests, tokens].filter((hint) => hint?.remaining === 0).map((hint) => hint?.resetAfterMs ?? 0)
  return resets.length > 0 ? Math.max(...resets) : null
}

const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `1h2m3.5s` in milliseconds, at most `LIMITS.retryAfterMaxMs`; null where it is anything else. */
export const durationMs = (text: string): number | null => {
  if (!/^(?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h|d))+$/.test(text)) return null
  let total = 0
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ms|s|m|h|d)/g))
    total += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0)
  return Math.min(Math.ceil(total), LIMITS.retryAfterMaxMs)
}
