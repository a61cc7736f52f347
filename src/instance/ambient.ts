import { makeId } from '../contract/ids.ts'

/** What the pure parts are given instead of taking it: time, chance and names. */
export type Ambient = {
  now(): number
  /** 0…1 */
  random(): number
  /** A time-ordered id with a prefix, such as `job_01J…`. */
  id(prefix: string): string
}

export const systemAmbient: Ambient = {
  now: () => Date.now(),
  random: () => Math.random(),
  id: (prefix) => makeId(prefix, Date.now(), crypto.getRandomValues(new Uint8Array(16))),
}
