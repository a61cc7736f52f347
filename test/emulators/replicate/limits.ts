/** Replicate's rate limit: a bucket per token that fills evenly, told of in two headers on every answer. */

export interface Allowance {
  allowed: boolean
  /** `ratelimit-remaining` and `ratelimit-reset`, the latter in seconds: until it is full, or until one more is allowed. */
  headers: Record<string, string>
  resetSeconds: number
}

interface Bucket {
  tokens: number
  at: number
}

export class RateLimiter {
  readonly #buckets = new Map<string, Bucket>()

  take(key: string, perMinute: number, burst: number, now: number): Allowance {
    const bucket = this.#buckets.get(key) ?? { tokens: burst, at: now }
    this.#buckets.set(key, bucket)
    const perSecond = perMinute / 60
    bucket.tokens = Math.min(burst, bucket.tokens + (Math.max(0, now - bucket.at) / 1000) * perSecond)
    bucket.at = now
    const allowed = bucket.tokens >= 1
    if (allowed) bucket.tokens -= 1
    const missing = allowed ? burst - bucket.tokens : 1 - bucket.tokens
    const resetSeconds = perSecond === 0 ? 60 : Math.max(1, Math.ceil(missing / perSecond))
    const headers = {
      'ratelimit-remaining': String(Math.floor(bucket.tokens)),
      'ratelimit-reset': String(resetSeconds),
    }
    return { allowed, headers, resetSeconds }
  }
}
