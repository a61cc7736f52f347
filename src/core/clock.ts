import { LIMITS } from '../limits.ts'

/**
 * By how much a clock that has shown `seenMs` was set back since, in ms; zero where it was not, or by no more than the clocks
 * of two machines may differ.
 */
export const setBackMs = (seenMs: number, now: number): number => {
  const backMs = seenMs - now
  return backMs > LIMITS.clockSkewMs ? backMs : 0
}
