import { nextTokenAt, type Rate, takeToken } from './token-bucket.ts'

/**
 * Whether a provider may be called now: its concurrency and all of its rates, taken together or not at all. The state is
 * what one provider has running, how full its buckets are, and until when it asked to be left alone.
 */
export type ProviderLoad = {
  running: number
  blockedUntilMs: number
  /** When each bucket is full again, in the order of the rates. */
  fullAtMs: number[]
}

export type ProviderRules = { enabled: boolean; concurrency: number; rates: Rate[] }

export type Admission =
  | { admitted: true; load: ProviderLoad }
  | { admitted: false; waitingFor: 'concurrency' | 'provider_rate' | 'order'; untilMs: number | null }

export const initialLoad = (): ProviderLoad => ({ running: 0, blockedUntilMs: 0, fullAtMs: [] })

export const admit = (load: ProviderLoad, rules: ProviderRules, now: number): Admission => {
  if (!rules.enabled) return { admitted: false, waitingFor: 'order', untilMs: null }
  const freeAt = nextRequestAt(load, rules, now)
  if (freeAt > now) return { admitted: false, waitingFor: 'provider_rate', untilMs: freeAt }
  if (load.running >= rules.concurrency) return { admitted: false, waitingFor: 'concurrency', untilMs: null }
  return {
    admitted: true,
    load: {
      ...load,
      running: load.running + 1,
      fullAtMs: rules.rates.map((rate, i) => takeToken(load.fullAtMs[i] ?? 0, rate, now)),
    },
  }
}

/** The earliest time at which rates and the provider's own wish for silence let a request out. */
export const nextRequestAt = (load: ProviderLoad, rules: ProviderRules, now: number): number =>
  Math.max(now, load.blockedUntilMs, ...rules.rates.map((rate, i) => nextTokenAt(load.fullAtMs[i] ?? 0, rate, now)))

/** An attempt ended: its slot is free. */
export const release = (load: ProviderLoad): ProviderLoad => ({ ...load, running: Math.max(0, load.running - 1) })

/** The provider said it is called too fast: no call for `waitMs`. A shorter wait does not shorten a longer one. */
export const slow = (load: ProviderLoad, now: number, waitMs: number): ProviderLoad => ({
  ...load,
  blockedUntilMs: Math.max(load.blockedUntilMs, now + waitMs),
})
