import type { RateHint, RateHints } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { type Adaptive, inForce, initialAdaptive, narrow, narrowTo, widen } from './adaptive.ts'
import {
  fillOf,
  intervalOf,
  nextTokenAt,
  type Rate,
  reachOf,
  spacingOf,
  takeToken,
  tokensLeft,
} from './token-bucket.ts'

/**
 * Whether a call may go out now. Several limiters stand before a call, those of its provider and of its model; each has a
 * concurrency and rates. All are taken together or none is.
 */
export type Limiter = { name: string; rules: LimiterRules; load: LimiterLoad }

/** What is configured. A rate counts requests or tokens. */
export type LimiterRules = { concurrency: number | null; rates: LimiterRate[] }
export type LimiterRate = Rate & { id: 'per_minute' | 'per_day' | 'tokens_per_minute' }

export type LimiterLoad = {
  running: number
  /** Nothing goes out before this time: the provider asked for silence. */
  blockedUntilMs: number
  /** When the bucket of each rate is full again. */
  fullAtMs: { readonly [rate in LimiterRate['id']]?: number }
  adaptive: Adaptive
}

export type Admission =
  | { admitted: true; loads: LimiterLoad[] }
  | { admitted: false; waitingFor: 'concurrency' | 'provider_rate'; limit: string; untilMs: number | null }

export const initialLoad = (): LimiterLoad => ({
  running: 0,
  blockedUntilMs: 0,
  fullAtMs: {},
  adaptive: initialAdaptive(),
})

/** `tokens` is what the call is expected to count against rates in tokens. */
export const admit = (limiters: readonly Limiter[], tokens: number, now: number): Admission => {
  for (const limiter of limiters) {
    const freeAt = readyAt(limiter, tokens, now)
    if (freeAt > now) return { admitted: false, waitingFor: 'provider_rate', limit: limiter.name, untilMs: freeAt }
    if (limiter.load.running >= slotsOf(limiter)) {
      return { admitted: false, waitingFor: 'concurrency', limit: limiter.name, untilMs: null }
    }
  }
  return { admitted: true, loads: limiters.map((limiter) => taken(limiter, tokens, now)) }
}

/** The earliest time at which rates and the provider's own wish for silence let a call out. */
export const readyAt = ({ rules, load }: Limiter, tokens: number, now: number): number =>
  rules.rates.reduce(
    (latest, rate) =>
      Math.max(latest, nextTokenAt(load.fullAtMs[rate.id] ?? 0, rateInForce(rate, load), now, amountOf(rate, tokens))),
    Math.max(now, load.blockedUntilMs),
  )

/** Calls that may run at once, as narrowed; infinite without a limit. */
export const slotsOf = ({ rules, load }: Limiter): number =>
  rules.concurrency === null ? Number.POSITIVE_INFINITY : inForce(rules.concurrency, load.adaptive)

/** A rate as narrowed; null without one. */
export const limitInForce = ({ rules, load }: Limiter, id: LimiterRate['id']): number | null => {
  const rate = rules.rates.find((rate) => rate.id === id)
  return rate ? rateInForce(rate, load).limit : null
}

/** What is left of a limiter, 0…1: how full its emptiest bucket is, times the share of the limits that is in force. */
export const shareLeft = ({ rules, load }: Limiter, now: number): number =>
  load.adaptive.share *
  rules.rates.reduce(
    (least, rate) => Math.min(least, fillOf(load.fullAtMs[rate.id] ?? 0, rateInForce(rate, load), now)),
    1,
  )

/** Time between two calls at the tightest rate, in ms; 0 without one. */
export const paceOf = ({ rules, load }: Limiter, tokens: number): number =>
  rules.rates.reduce(
    (slowest, rate) => Math.max(slowest, spacingOf(rateInForce(rate, load), amountOf(rate, tokens))),
    0,
  )

/** What a clock that was set back left too far ahead, brought within reach; to be kept by whoever asks. */
export const withinReach = ({ rules, load }: Limiter, now: number): LimiterLoad => {
  const reach = (rate: LimiterRate): number => Math.min(load.fullAtMs[rate.id] ?? 0, now + reachOf(rate))
  const isFar =
    load.blockedUntilMs > now + LIMITS.retryAfterMaxMs ||
    rules.rates.some((rate) => reach(rate) < (load.fullAtMs[rate.id] ?? 0))
  if (!isFar) return load
  return {
    ...load,
    blockedUntilMs: Math.min(load.blockedUntilMs, now + LIMITS.retryAfterMaxMs),
    fullAtMs: Object.fromEntries(rules.rates.map((rate) => [rate.id, reach(rate)])),
  }
}

/**
 * A load under other rules: what is missing from a bucket was missed in tokens, and flows in again as fast as the new rate lets
 * it. In ms, as it was kept, a call of one a day would hold up the next by a day when there are a thousand. A rate that is
 * taken away is forgotten.
 */
export const underRules = (load: LimiterLoad, before: LimiterRules, after: LimiterRules, now: number): LimiterLoad => {
  if (isSameRates(before, after)) return load
  const fullAt = (rate: LimiterRate): number => {
    const fullAtMs = load.fullAtMs[rate.id] ?? 0
    const old = before.rates.find(({ id }) => id === rate.id)
    if (!old || fullAtMs <= now) return fullAtMs
    const tokens = (fullAtMs - now) / intervalOf(rateInForce(old, load))
    // Rounded up, as intervals are: no token is given away.
    return now + Math.ceil(tokens * intervalOf(rateInForce(rate, load)) * 1024) / 1024
  }
  return { ...load, fullAtMs: Object.fromEntries(after.rates.map((rate) => [rate.id, fullAt(rate)])) }
}

export const isSameRates = ({ rates }: LimiterRules, { rates: others }: LimiterRules): boolean =>
  rates.length === others.length &&
  rates.every(({ id, limit }) => others.some((other) => other.id === id && other.limit === limit))

/** The tightest of a limiter's rates by requests, as clients are told of it: which has the least left. Null without one. */
export const requestQuota = ({ rules, load }: Limiter, now: number) => {
  const quotas = rules.rates.flatMap((rate) => {
    if (rate.id === 'tokens_per_minute') return []
    const { limit, windowMs } = rateInForce(rate, load)
    const fullAtMs = load.fullAtMs[rate.id] ?? 0
    const nextAt = Math.max(load.blockedUntilMs, nextTokenAt(fullAtMs, { limit, windowMs }, now))
    return [{ limit, windowMs, left: nextAt > now ? 0 : tokensLeft(fullAtMs, { limit, windowMs }, now), nextAt }]
  })
  return quotas.sort((a, b) => a.left - b.left || b.nextAt - a.nextAt)[0] ?? null
}

/** How a call of now meets a limit in tokens: what is missing from its bucket, and what a token puts off. Null without one. */
export const tokenCharge = (
  { rules, load }: Limiter,
  now: number,
): { missingMs: number; msPerToken: number } | null => {
  const rate = rules.rates.find(({ id }) => id === 'tokens_per_minute')
  if (!rate) return null
  const missingMs = Math.max(0, (load.fullAtMs.tokens_per_minute ?? 0) - now)
  return { missingMs, msPerToken: intervalOf(rateInForce(rate, load)) }
}

/** A call used more tokens than were taken for it: rates in tokens are charged with the rest. */
export const chargeTokens = ({ rules, load }: Limiter, tokens: number, now: number): LimiterLoad => {
  const rate = rules.rates.find(({ id }) => id === 'tokens_per_minute')
  if (!rate || tokens <= 0) return load
  const after = takeToken(load.fullAtMs.tokens_per_minute ?? 0, rateInForce(rate, load), now, tokens)
  return { ...load, fullAtMs: { ...load.fullAtMs, tokens_per_minute: after } }
}

/** A call used fewer, which makes the bucket full that much sooner. */
export const returnTokens = (load: LimiterLoad, ms: number): LimiterLoad =>
  ms <= 0
    ? load
    : { ...load, fullAtMs: { ...load.fullAtMs, tokens_per_minute: (load.fullAtMs.tokens_per_minute ?? 0) - ms } }

/** An attempt ended: its slot is free. */
export const release = (load: LimiterLoad): LimiterLoad => ({ ...load, running: Math.max(0, load.running - 1) })

/** The provider said it is called too fast: no call for `waitMs`, and narrower from then on. */
export const slow = (load: LimiterLoad, now: number, waitMs: number): LimiterLoad => ({
  ...pause(load, now, waitMs),
  adaptive: narrow(load.adaptive, now),
})

/** No call for `waitMs`. A shorter wait does not shorten a longer one. */
export const pause = (load: LimiterLoad, now: number, waitMs: number): LimiterLoad => ({
  ...load,
  blockedUntilMs: Math.max(load.blockedUntilMs, now + waitMs),
})

/**
 * What the provider's rate headers say: with nothing left nothing goes out until the reset, and where what is left would not
 * last until then at the pace in force, the pace is cut to what would. Providers refill meanwhile, so this errs on the slow
 * side, and the next successes widen it again.
 */
export const heed = ({ rules, load }: Limiter, { requests, tokens }: RateHints, now: number): LimiterLoad => {
  const usedUp = [requests, tokens].filter((hint) => hint?.remaining === 0)
  const silentMs = Math.max(0, ...usedUp.map((hint) => hint?.resetAfterMs ?? 0))
  const held = silentMs > 0 ? pause(load, now, Math.min(silentMs, LIMITS.retryAfterMaxMs)) : load
  const adaptive = rules.rates.reduce((adaptive, rate) => {
    const share = shareFor(rate, rate.id === 'tokens_per_minute' ? tokens : requests)
    return share === null ? adaptive : narrowTo(adaptive, share)
  }, held.adaptive)
  return adaptive === held.adaptive ? held : { ...held, adaptive }
}

/** What is left, as a share of what the rate would use up meanwhile. Null where nothing is said of a window like its own. */
const shareFor = (rate: LimiterRate, hint: RateHint | null): number | null => {
  if (rate.id === 'per_day' || hint === null || hint.remaining === 0) return null
  if (hint.resetAfterMs <= 0 || hint.resetAfterMs > rate.windowMs) return null
  return (hint.remaining * rate.windowMs) / (rate.limit * hint.resetAfterMs)
}

/** The provider took a call: a little wider again. */
export const relax = (load: LimiterLoad): LimiterLoad =>
  load.adaptive.share >= 1 ? load : { ...load, adaptive: widen(load.adaptive) }

const taken = ({ rules, load }: Limiter, tokens: number, now: number): LimiterLoad => ({
  ...load,
  running: load.running + 1,
  fullAtMs: Object.fromEntries(
    rules.rates.map((rate) => [
      rate.id,
      takeToken(load.fullAtMs[rate.id] ?? 0, rateInForce(rate, load), now, amountOf(rate, tokens)),
    ]),
  ),
})

/** "Too fast" and rate headers speak of minutes. A day that was narrowed for one of them would be lost for it. */
const rateInForce = ({ id, limit, windowMs }: LimiterRate, load: LimiterLoad): Rate => ({
  limit: id === 'per_day' ? limit : inForce(limit, load.adaptive),
  windowMs,
})

const amountOf = (rate: LimiterRate, tokens: number): number => (rate.id === 'tokens_per_minute' ? tokens : 1)
