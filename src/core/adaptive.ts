import { LIMITS } from '../limits.ts'

/**
 * How much of a configured limit is used, learned from the provider: halved when it says "too fast", cut to what its rate
 * headers leave room for, widened a little by every success (additive increase, multiplicative decrease, as in TCP).
 * `share` is 0…1 of the configured limit.
 */
export type Adaptive = {
  share: number
  /** When a refusal narrowed it last; zero where none has since it was whole. */
  narrowedAtMs: number
}

export const initialAdaptive = (): Adaptive => ({ share: 1, narrowedAtMs: 0 })

/** Refusals of one burst count once: calls already under way tell nothing new. A clock may have been set back. */
export const narrow = (adaptive: Adaptive, now: number): Adaptive =>
  Math.abs(now - adaptive.narrowedAtMs) < LIMITS.adaptiveQuietMs
    ? adaptive
    : { share: Math.max(LIMITS.adaptiveShareMin, adaptive.share / 2), narrowedAtMs: now }

/** No more than this share of what is configured. */
export const narrowTo = (adaptive: Adaptive, share: number): Adaptive => {
  const least = Math.max(LIMITS.adaptiveShareMin, share)
  return least >= adaptive.share ? adaptive : { ...adaptive, share: least }
}

export const widen = (adaptive: Adaptive): Adaptive => {
  if (adaptive.share >= 1) return adaptive
  const share = adaptive.share + LIMITS.adaptiveStep
  return share >= 1 ? initialAdaptive() : { ...adaptive, share }
}

/** A refusal has narrowed it, and the successes since have not made up for that. */
export const wasRefused = ({ share, narrowedAtMs }: Adaptive): boolean => share < 1 && narrowedAtMs > 0

/** A limit as it is in force: never below one. */
export const inForce = (limit: number, adaptive: Adaptive): number => Math.max(1, Math.floor(limit * adaptive.share))
