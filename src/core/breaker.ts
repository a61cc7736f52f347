import { LIMITS } from '../limits.ts'

/**
 * A circuit breaker: closed, open for a while, then half-open for one probe. It counts consecutive failures of the kinds
 * that the fault table counts; what a provider answers properly, a refusal included, closes it.
 */
export type Breaker =
  | { state: 'closed'; failures: number }
  | { state: 'open'; untilMs: number; openings: number }
  /** `holder` made the call that probes; absent where an earlier version let it out. */
  | { state: 'half_open'; openings: number; probing: boolean; holder?: string }

export const initialBreaker = (): Breaker => ({ state: 'closed', failures: 0 })

export type BreakerEvent = 'success' | 'failure' | 'trip'

/** What an attempt's end means for the breaker. `trip` opens at once, as an exhausted quota does. */
export const stepBreaker = (breaker: Breaker, event: BreakerEvent, now: number): Breaker => {
  if (event === 'success') return initialBreaker()
  const openings = breaker.state === 'closed' ? 0 : breaker.openings
  if (event === 'trip') return opened(openings, now, LIMITS.credentialCoolMs)
  // Attempts that were under way when it opened tell nothing new.
  if (breaker.state === 'open') return breaker
  if (breaker.state === 'half_open') return opened(openings, now)
  const failures = breaker.failures + 1
  return failures >= LIMITS.breakerFailures ? opened(0, now) : { state: 'closed', failures }
}

const opened = (openings: number, now: number, firstMs: number = LIMITS.breakerOpenMs): Breaker => ({
  state: 'open',
  untilMs: now + Math.min(firstMs * 2 ** Math.min(openings, 16), LIMITS.breakerOpenMaxMs),
  openings: openings + 1,
})

/** Whether a call of `holder` may go out, and what the breaker is then. While open, `untilMs` says when to ask again. */
export const passBreaker = (
  breaker: Breaker,
  now: number,
  holder = '',
): { passes: true; breaker: Breaker } | { passes: false; untilMs: number | null } => {
  if (breaker.state === 'closed') return { passes: true, breaker }
  // A time farther off than it ever stays open comes from a clock that was set back.
  if (breaker.state === 'open' && now < breaker.untilMs && breaker.untilMs <= now + LIMITS.breakerOpenMaxMs)
    return { passes: false, untilMs: breaker.untilMs }
  if (breaker.state === 'half_open' && breaker.probing) return { passes: false, untilMs: null }
  return { passes: true, breaker: { state: 'half_open', openings: breaker.openings, probing: true, holder } }
}

/**
 * Whether what came of a call of `holder` says anything of the one thing that has opened a breaker, such as an empty account:
 * unless it is closed, only its probe does. Calls begun before it opened end well, or as the one that opened it.
 */
export const isTelling = (breaker: Breaker, holder: string): boolean =>
  breaker.state === 'closed' || isProbe(breaker, holder)

/** The probe of `holder` ended without a verdict, as a canceled one does: the next call probes. Another's goes on. */
export const releaseProbe = (breaker: Breaker, holder: string): Breaker =>
  isProbe(breaker, holder) ? { state: 'half_open', openings: breaker.openings, probing: false } : breaker

const isProbe = (breaker: Breaker, holder: string): breaker is Breaker & { state: 'half_open' } =>
  breaker.state === 'half_open' && breaker.probing && (breaker.holder ?? holder) === holder
