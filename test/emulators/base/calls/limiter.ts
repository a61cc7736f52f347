const windowMs = 60_000

interface Entry {
  at: number
  tokens: number
}

/** What is left of a minute that slides, per key and model: the provider counts a request's own estimate of its tokens. */
export class Limiter {
  readonly #entries = new Map<string, Entry[]>()

  /** Null lets the request in and counts it; otherwise the kind that is used up and when the oldest falls out. */
  take(
    key: string,
    tokens: number,
    limits: { requests: number; tokens: number },
    now: number,
  ): { kind: 'requests' | 'tokens'; retryAfterMs: number } | null {
    const entries = this.#recent(key, now)
    const used = entries.reduce((sum, entry) => sum + entry.tokens, 0)
    const over =
      limits.requests > 0 && entries.length >= limits.requests
        ? 'requests'
        : limits.tokens > 0 && used + tokens > limits.tokens
          ? 'tokens'
          : null
    if (over) return { kind: over, retryAfterMs: Math.max(1, (entries[0]?.at ?? now) + windowMs - now) }
    entries.push({ at: now, tokens })
    return null
  }

  left(key: string, limits: { requests: number; tokens: number }, now: number) {
    const entries = this.#recent(key, now)
    const used = entries.reduce((sum, entry) => sum + entry.tokens, 0)
    const resetMs = entries.length === 0 ? 0 : (entries[0]?.at ?? now) + windowMs - now
    return {
      requests: Math.max(0, limits.requests - entries.length),
      tokens: Math.max(0, limits.tokens - used),
      resetMs,
    }
  }

  #recent(key: string, now: number): Entry[] {
    const entries = (this.#entries.get(key) ?? []).filter(({ at }) => at > now - windowMs)
    this.#entries.set(key, entries)
    return entries
  }
}
