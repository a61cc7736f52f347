import { LONGEST_REST_MS, nextPauseMs } from '../core/retention.ts'
import { LIMITS } from '../limits.ts'

/** What one step found: `more` to do at once, or nothing before `atMs`; null where there is nothing left to grow old. */
export type Trimmed = { more: true } | { more: false; atMs: number | null }

/** One kind of what grows old. A step is bounded; what it deletes goes in one transaction. May throw what R2 throws. */
export type Trimmer = { step(now: number): Promise<Trimmed> }

/** Runs an operation in a transaction that it may share with others. */
export type Apply = <T>(operation: () => T) => Promise<T>

/** When a trimmer takes its next step. */
export class Timetable {
  readonly trimmer: Trimmer
  atMs: number | null
  #pauseMs: number = LIMITS.trimPauseMaxMs

  constructor(trimmer: Trimmer, atMs: number | null) {
    this.trimmer = trimmer
    this.atMs = atMs
  }

  async step(now: number): Promise<void> {
    // Until it is over, and where it fails.
    this.atMs = now + LIMITS.trimRetryMs
    const trimmed = await this.trimmer.step(now)
    this.#pauseMs = nextPauseMs(this.#pauseMs, trimmed.more)
    if (trimmed.more) this.atMs = now + this.#pauseMs
    else this.atMs = trimmed.atMs === null ? null : Math.min(trimmed.atMs, now + LONGEST_REST_MS)
  }
}
