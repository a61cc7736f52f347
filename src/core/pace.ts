import type { Limiter, LimiterLoad, LimiterRate, LimiterRules } from './admission.ts'

/**
 * What a provider that counts by model has taught of one model: a limiter of that model alone, which stands beside those
 * that are configured as long as it is narrower than they are.
 */

/**
 * What is narrowed: of everything that is configured for a call the tightest, each bucket as full as it is there. Limits by
 * the day stay out of it: "too fast" and rate headers speak of minutes.
 */
export const paceOver = (
  configured: readonly Limiter[],
): { rules: LimiterRules; fullAtMs: LimiterLoad['fullAtMs'] } => {
  const tightest = new Map<LimiterRate['id'], { rate: LimiterRate; fullAtMs: number | undefined }>()
  let concurrency: number | null = null
  for (const { rules, load } of configured) {
    if (rules.concurrency !== null) concurrency = Math.min(concurrency ?? rules.concurrency, rules.concurrency)
    for (const rate of rules.rates) {
      const known = tightest.get(rate.id)
      if (rate.id !== 'per_day' && (!known || rate.limit < known.rate.limit))
        tightest.set(rate.id, { rate, fullAtMs: load.fullAtMs[rate.id] })
    }
  }
  const chosen = [...tightest.values()]
  return {
    rules: { concurrency, rates: chosen.map(({ rate }) => rate) },
    fullAtMs: Object.fromEntries(
      chosen.flatMap(({ rate, fullAtMs }) => (fullAtMs === undefined ? [] : [[rate.id, fullAtMs]])),
    ),
  }
}

/** Nothing is left of what was learned: the limits that are configured hold by themselves. */
export const isWhole = ({ adaptive, blockedUntilMs }: LimiterLoad, now: number): boolean =>
  adaptive.share >= 1 && blockedUntilMs <= now
