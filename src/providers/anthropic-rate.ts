import type { RateHint, RateHints } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { retryAfterMs } from './retry-after.ts'

/**
 * Headers about limits, `anthropic-ratelimit-{requests,tokens,…}-{remaining,reset}`, a reset in RFC 3339
 * (https://platform.claude.com/docs/en/api/rate-limits). `tokens` is the tightest of the limits of tokens in force; where it
 * is missing, the tightest of its parts is.
 */
export const anthropicRate = (headers: Headers, nowMs: number): RateHints => ({
  requests: hintOf(headers, 'requests', nowMs),
  tokens:
    hintOf(headers, 'tokens', nowMs) ??
    tightest(hintOf(headers, 'input-tokens', nowMs), hintOf(headers, 'output-tokens', nowMs)),
})

const hintOf = (headers: Headers, kind: string, nowMs: number): RateHint | null => {
  const remaining = headers.get(`anthropic-ratelimit-${kind}-remaining`) ?? ''
  const resetAtMs = Date.parse(headers.get(`anthropic-ratelimit-${kind}-reset`) ?? '')
  if (!/^\d{1,12}$/.test(remaining) || Number.isNaN(resetAtMs)) return null
  return {
    remaining: Number(remaining),
    resetAfterMs: Math.min(Math.max(0, Math.ceil(resetAtMs - nowMs)), LIMITS.retryAfterMaxMs),
  }
}

const tightest = (one: RateHint | null, other: RateHint | null): RateHint | null =>
  one && other ? (one.remaining <= other.remaining ? one : other) : (one ?? other)

/**
 * When to come back, as the official client reads it: `retry-after-ms`, else `retry-after`; on a 429 without either, when
 * the limit that is used up will be reset. Null where nothing says.
 */
export const anthropicWaitMs = (status: number, headers: Headers, nowMs: number): number | null => {
  const exact = headers.get('retry-after-ms')?.trim() ?? ''
  if (/^\d{1,12}(\.\d{1,9})?$/.test(exact)) return Math.min(Math.ceil(Number(exact)), LIMITS.retryAfterMaxMs)
  const told = retryAfterMs(headers, nowMs)
  if (told !== null || status !== 429) return told
  const resets = ['requests', 'tokens', 'input-tokens', 'output-tokens']
    .map((kind) => hintOf(headers, kind, nowMs))
    .filter((hint) => hint?.remaining === 0)
    .map((hint) => hint?.resetAfterMs ?? 0)
  return resets.length > 0 ? Math.max(...resets) : null
}
