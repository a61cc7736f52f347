import { LIMITS } from '../limits.ts'

/**
 * Which lane takes the next attempt: the first with room, so that one is filled before the next is opened.
 * `loads[n]` is what lane `n` runs; null when every lane is full.
 */
export const laneWithRoom = (loads: readonly number[]): number | null => {
  const first = loads.findIndex((load) => load < LIMITS.actorsPerLane)
  if (first !== -1) return first
  return loads.length < LIMITS.lanesPerInstance ? loads.length : null
}
