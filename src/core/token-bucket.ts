/**
 * A token bucket in its one-number form (the generic cell rate algorithm, ITU-T I.371): `fullAtMs`, the time at which
 * the bucket would next be full, in ms since the epoch. Refilling needs no timer, and a restart loses nothing.
 *
 * It is strict: in no window of the rate's length, wherever it begins, are more than `limit` tokens taken. A bucket that
 * holds `burst` tokens and is refilled every `interval` gives at most `burst - 1 + window / interval` in a window, so
 * the interval is `window / (limit - burst + 1)`.
 *
 * The provider counts calls as they arrive, and the way there takes now longer, now shorter: a first call that was slow and a
 * last one that was quick would bring one too many into its window. So the window is kept a little longer than it is.
 */
export type Rate = { limit: number; windowMs: number }

/** A tenth of the limit may be taken at once; the rest is paced evenly. */
export const burstOf = (rate: Rate): number => Math.max(1, Math.floor(rate.limit / 10))

/** Whole 1024ths of a ms, rounded up: a double adds these to a time exactly, so rounding never gives a token away. */
export const intervalOf = (rate: Rate): number =>
  Math.ceil(((rate.windowMs + jitterOf(rate)) * 1024) / (rate.limit - burstOf(rate) + 1)) / 1024

/** By how much two calls may differ in their time to the provider, in ms: a hundredth of the window, a second at most. */
const jitterOf = (rate: Rate): number => Math.min(rate.windowMs / 100, 1000)

/** The farthest that `limit` tokens put off a full bucket, in ms: about a window. */
export const reachOf = (rate: Rate): number => rate.limit * intervalOf(rate)

/** A clock that was set back must not stop the bucket for longer than that. */
const fullAt = (fullAtMs: number, rate: Rate, now: number): number => Math.min(fullAtMs, now + reachOf(rate))

/**
 * The earliest time at which `tokens` can be taken together, never before `now`. For more than the bucket holds it must
 * have been full for as long as the surplus takes to flow in: no window sees both them and what was taken before.
 */
export const nextTokenAt = (fullAtMs: number, rate: Rate, now: number, tokens = 1): number =>
  Math.max(now, fullAt(fullAtMs, rate, now) - (burstOf(rate) - tokens) * intervalOf(rate))

/** Time between two calls of `tokens` each in a steady state, in ms. */
export const spacingOf = (rate: Rate, tokens: number): number =>
  (tokens + Math.max(0, tokens - burstOf(rate))) * intervalOf(rate)

/** Tokens that could be taken at once, of those that the bucket holds. */
export const tokensLeft = (fullAtMs: number, rate: Rate, now: number): number => {
  const missing = Math.ceil((fullAt(fullAtMs, rate, now) - now) / intervalOf(rate))
  return Math.max(0, Math.min(burstOf(rate), burstOf(rate) - missing))
}

/** How full the bucket is, 0…1. */
export const fillOf = (fullAtMs: number, rate: Rate, now: number): number => {
  const missingMs = Math.max(0, fullAt(fullAtMs, rate, now) - now)
  return Math.max(0, 1 - missingMs / (burstOf(rate) * intervalOf(rate)))
}

/** The bucket after the tokens were taken at `now`. Only legal when `nextTokenAt(…) <= now`. */
export const takeToken = (fullAtMs: number, rate: Rate, now: number, tokens = 1): number =>
  Math.max(fullAt(fullAtMs, rate, now), now) + tokens * intervalOf(rate)
