import { LIMITS } from '../limits.ts'
import { earliest } from './alarm.ts'

/**
 * The one alarm of an actor, for all that asks to be woken. Whoever asked is woken at that time or before, however late the
 * platform is: what comes meanwhile moves an alarm that has not rung to an earlier time, and never to a later one.
 */
export class AlarmClock {
  readonly #set: (atMs: number) => void
  /** When it rings, in ms since the epoch; null where nothing is set, as far as is known. */
  #atMs: number | null = null

  /** `set` has the platform ring at that time, instead of any other. */
  constructor(set: (atMs: number) => void) {
    this.#set = set
  }

  /** What an earlier process of the actor had set. */
  found(atMs: number | null): void {
    this.#atMs = earliest(this.#atMs, atMs)
  }

  /** Rings at this time or before. */
  wake(at: number | null, now: number): void {
    if (at === null) return
    const isSet = this.#atMs !== null && this.#atMs <= at
    // One that is due is about to ring; one that is late by far is set again, in case it was lost.
    if (isSet && (this.#atMs ?? 0) > now - LIMITS.alarmLateMs) return
    // Whole milliseconds, rounded up: an alarm that rings a fraction early finds nothing to do and is set again. Never the
    // present one: workerd takes a time that rings just now for done, and does not ring again.
    this.#atMs = Math.max(now + 1, Math.ceil(earliest(this.#atMs, at) ?? at))
    this.#set(this.#atMs)
  }

  /** It rings, or is gone: what is still to come asks again. */
  rang(): void {
    this.#atMs = null
  }
}
