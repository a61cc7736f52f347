import type { Opening } from '../contract/foreground-rpc.ts'
import type { AttemptRef } from '../contract/rpc.ts'
import { earliest } from '../core/alarm.ts'
import { LIMITS } from '../limits.ts'

/**
 * Calls that a client waits for on the line: who waits for an attempt to begin, and until when the Worker that drives one
 * is believed to live. All of it in memory: after a restart nobody waits any more, and every attempt has a lease from then.
 */
export class Foreground {
  readonly #waiting = new Map<string, (opening: Opening | null) => void>()
  /** Attempts that began when nobody waited any more: whoever gives up meets them. */
  readonly #undelivered = new Map<string, Opening>()
  /** Per job, until when its attempt is taken for driven, in ms since the epoch. */
  readonly #leases = new Map<string, number>()

  /** `inherited`: jobs whose attempts an earlier process let begin. */
  constructor(inherited: readonly string[], now: number) {
    for (const job of inherited) this.#leases.set(job, now + LIMITS.foregroundLeaseMs)
  }

  /** The next attempt of a job, or null where it ends, or the time is over, before its turn comes. */
  turnOf(job: string, ms: number): Promise<Opening | null> {
    return new Promise((resolve) => {
      const done = (opening: Opening | null) => {
        clearTimeout(timer)
        this.#waiting.delete(job)
        resolve(opening)
      }
      const timer = setTimeout(done, ms, null)
      this.#waiting.set(job, done)
    })
  }

  waitsFor(job: string): boolean {
    return this.#waiting.has(job)
  }

  /** An attempt has begun, and is committed. */
  opened(opening: Opening, now: number): void {
    this.#leases.set(opening.job, now + LIMITS.foregroundLeaseMs)
    const done = this.#waiting.get(opening.job)
    if (done) done(opening)
    else this.#undelivered.set(opening.job, opening)
  }

  /** An attempt that began in the moment in which its caller stopped waiting. */
  takeUndelivered(job: string): Opening | null {
    const opening = this.#undelivered.get(job) ?? null
    this.#undelivered.delete(job)
    return opening
  }

  hasUndelivered(job: string): boolean {
    return this.#undelivered.has(job)
  }

  /** Those that are still driven; answers those that are no longer the instance's. */
  renew(refs: readonly AttemptRef[], now: number): AttemptRef[] {
    return refs.filter(({ job }) => {
      if (!this.#leases.has(job)) return true
      this.#leases.set(job, now + LIMITS.foregroundLeaseMs)
      return false
    })
  }

  /** The attempt of a job is over: ended, canceled, or waiting for its next. */
  left(job: string): void {
    this.#leases.delete(job)
  }

  /** The job has ended: nobody waits for it in vain. */
  over(job: string): void {
    this.left(job)
    this.#undelivered.delete(job)
    this.#waiting.get(job)?.(null)
  }

  releaseAll(): void {
    for (const done of [...this.#waiting.values()]) done(null)
  }

  /** Jobs whose Worker was silent for a lease. */
  silent(now: number): string[] {
    return [...this.#leases].flatMap(([job, untilMs]) => (untilMs <= now ? [job] : []))
  }

  nextExpiry(): number | null {
    let next: number | null = null
    for (const untilMs of this.#leases.values()) next = earliest(next, untilMs)
    return next
  }
}
