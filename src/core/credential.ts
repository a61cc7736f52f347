import { admit, type Limiter, shareLeft } from './admission.ts'

/**
 * A credential that could be used now, as far as breakers go: its share of the calls, and what stands before a call of it.
 * `pace` is of the call's model with it, where that was learned.
 */
export type Contender = { weight: number; limiter: Limiter; pace?: Limiter | null }

export type Choice<T> =
  | { chosen: T }
  | {
      chosen: null
      waitingFor: 'concurrency' | 'provider_rate'
      limit: string
      untilMs: number | null
      /** One of them is short of the model's pace only: calls of other models may have room. */
      ofModel: boolean
    }

/** Whoever has room stays in the draw, however empty its bucket is. */
const LEAST_SHARE = 1 / 1024

/**
 * One of several by weight and by what is left of its own rate, so that calls flow to where the room is; only among those
 * that have room for `tokens`. `random` is 0…1. Where none has room: which of them has it first, and from when, if that
 * is known. Null where none has a weight.
 */
export const chooseCredential = <T extends Contender>(
  items: readonly T[],
  tokens: number,
  now: number,
  random: number,
): Choice<T> | null => {
  const open: { item: T; weight: number }[] = []
  let first: (Choice<T> & { chosen: null }) | null = null
  let ofModel = false
  for (const item of items) {
    if (item.weight <= 0) continue
    const limiters = item.pace ? [item.limiter, item.pace] : [item.limiter]
    const admission = admit(limiters, tokens, now)
    if (admission.admitted) {
      const left = Math.min(...limiters.map((limiter) => shareLeft(limiter, now)))
      open.push({ item, weight: item.weight * Math.max(LEAST_SHARE, left) })
      continue
    }
    ofModel ||= admission.limit !== item.limiter.name
    if (first === null || isSooner(admission.untilMs, first.untilMs)) {
      const { waitingFor, limit, untilMs } = admission
      first = { chosen: null, waitingFor, limit, untilMs, ofModel: false }
    }
  }
  const picked = pickByWeight(open, random)
  return picked ? { chosen: picked.item } : first && { ...first, ofModel }
}

/** A time that nobody knows comes after every other. */
const isSooner = (a: number | null, b: number | null): boolean => a !== null && (b === null || a < b)

/** One of several by weight; `random` is 0…1. Null where there is none with a weight above zero. */
export const pickByWeight = <T extends { weight: number }>(items: readonly T[], random: number): T | null => {
  const total = items.reduce((sum, item) => sum + item.weight, 0)
  let rest = random * total
  for (const item of items) {
    rest -= item.weight
    if (item.weight > 0 && rest < 0) return item
  }
  return items.findLast((item) => item.weight > 0) ?? null
}
