import { LIMITS } from '../limits.ts'

/**
 * How much of a configured limit is used, learned from the provider: halved when it says "too fast", widened a little by
 * every success (additive increase, multiplicative decrease, as in TCP). `share` is 0…1 of the configured limit.
 */
export type Adaptive = { share: number; narrowedAtMs: number }

export const initialAdaptive = (): Adaptive => ({ share: 1, narrowedAtMs: 0 })

/** Refusals of one burst count once: calls already under way tell nothing new. A clock may have been set back. */
export const narrow = (adaptive: Adaptive, now: number): Adaptive =>
  Math.abs(now - adaptive.narrowedAtMs) < LIMITS.adaptiveQuietMs
    ? adaptive
    : { share: Math.max(LIMITS.adaptiveShareMin, adaptive.share / 2), narrowedAtMs: now }

export const widen = (adaptive: Adaptive): Adaptive =>
  adaptive.share >= 1 ? adaptive : { ...adaptive, share: Math.min(1, adaptive.share + LIMITS.adaptiveStep) }

/** A limit as it is in force: never below one. */
export const inForce = (limit: number, adaptive: Adaptive): number => Math.max(1, Math.floor(limit * adaptive.share))
