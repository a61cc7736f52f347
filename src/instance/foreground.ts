import type { Opening } from '../contract/foreground-rpc.ts'
import type { AttemptRef } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'

/**
 * Calls that a client waits for on the line: who waits for an attempt to begin, and until when the Worker that drives one
 * is believed to live. All of it in memory: after a restart nobody waits any more, and every attempt has a lease from then.
 */
export class Foreground {
  readonly #waiting = new Map<string, Turn>()
  /** Attempts that began when nobody waited any more: whoever gives up meets them. */
  readonly #undelivered = new Map<string, Opening>()
  /** Per job, until when its attempt is taken for driven, in ms since the epoch; the earliest first. */
  readonly #leases = new Map<string, number>()

  /** `inherited`: jobs whose attempts an earlier process let begin. */
  constructor(inherited: readonly string[], now: number) {
    for (const job of inherited) this.#leases.set(job, now + LIMITS.foregroundLeaseMs)
  }

  /** From now on somebody waits for the next attempt of a job: what is told is kept until it is asked for. */
  expect(job: string): Turn {
    const turn: Turn = new Turn(() => {
      if (this.#waiting.get(job) === turn) this.#waiting.delete(job)
    })
    this.#waiting.set(job, turn)
    return turn
  }

  waitsFor(job: string): boolean {
    return this.#waiting.has(job)
  }

  /** An attempt has begun, and is committed. */
  opened(opening: Opening, now: number): void {
    this.#lease(opening.job, now)
    const turn = this.#waiting.get(opening.job)
    if (turn) turn.tell(opening)
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
      this.#lease(job, now)
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
    this.#waiting.get(job)?.tell(null)
  }

  releaseAll(): void {
    for (const turn of [...this.#waiting.values()]) turn.tell(null)
  }

  /** Jobs whose Worker was silent for a lease. */
  silent(now: number): string[] {
    const jobs: string[] = []
    for (const [job, untilMs] of this.#leases) {
      if (untilMs <= now) jobs.push(job)
      // One that ends farther off than any that is given now is from before the clock was set back.
      else if (untilMs > now + LIMITS.foregroundLeaseMs) this.#leases.set(job, now + LIMITS.foregroundLeaseMs)
      else break
    }
    return jobs
  }

  nextExpiry(): number | null {
    return this.#leases.values().next().value ?? null
  }

  /** All leases are as long, so the order in which they were given is the order in which they end. */
  #lease(job: string, now: number): void {
    this.#leases.delete(job)
    this.#leases.set(job, now + LIMITS.foregroundLeaseMs)
  }
}

/** The wait for one attempt. It costs a timer only where the attempt has not begun by the time that it is waited for. */
class Turn {
  readonly #leave: () => void
  /** Undefined until something was told; null where there will be no attempt. */
  #told: Opening | null | undefined
  #settle: ((opening: Opening | null) => void) | null = null

  constructor(leave: () => void) {
    this.#leave = leave
  }

  tell(opening: Opening | null): void {
    this.#leave()
    this.#told = opening
    this.#settle?.(opening)
  }

  /** Null where the job ends, or the time is over, before its turn comes. */
  within(ms: number): Promise<Opening | null> {
    if (this.#told !== undefined) return Promise.resolve(this.#told)
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.tell(null), ms)
      this.#settle = (opening) => {
        clearTimeout(timer)
        resolve(opening)
      }
    })
  }
}
