import { idFrom, type Keep, restMs } from '../core/retention.ts'
import { LIMITS } from '../limits.ts'
import type { RetentionStore, Trim } from './retention-store.ts'
import type { Apply, Trimmed, Trimmer } from './trimmer.ts'
import type { UsageStore } from './usage-store.ts'

/** What stands in the order in which it grew old: the oldest rows go, as far as they are old enough. */
export class RowTrimmer implements Trimmer {
  readonly #keepMs: () => number
  readonly #trim: (cutoffMs: number) => Trim
  readonly #apply: Apply

  constructor(keepMs: () => number, trim: (cutoffMs: number) => Trim, apply: Apply) {
    this.#keepMs = keepMs
    this.#trim = trim
    this.#apply = apply
  }

  async step(now: number): Promise<Trimmed> {
    const keepMs = this.#keepMs()
    const { more, oldestAtMs } = await this.#apply(() => this.#trim(now - keepMs))
    if (more) return { more }
    if (oldestAtMs === null) return { more, atMs: null }
    return { more, atMs: Math.max(oldestAtMs + keepMs, now + restMs(keepMs)) }
  }
}

/** Batches whose jobs are all gone. */
export class BatchTrimmer implements Trimmer {
  readonly #store: RetentionStore
  readonly #keep: () => Keep
  readonly #apply: Apply
  #after = ''

  constructor(store: RetentionStore, keep: () => Keep, apply: Apply) {
    this.#store = store
    this.#keep = keep
    this.#apply = apply
  }

  async step(now: number): Promise<Trimmed> {
    const { jobsMs } = this.#keep()
    const cutoffMs = now - jobsMs
    const before = idFrom('batch', cutoffMs + 1)
    const { reached, isEmpty } = await this.#apply(() => this.#store.deleteBatches(this.#after, before, cutoffMs))
    this.#after = reached ?? ''
    if (reached !== null) return { more: true }
    return { more: false, atMs: isEmpty ? null : now + restMs(jobsMs) }
  }
}

/** Hours of usage; only those that stand in their day already. */
export class UsageTrimmer implements Trimmer {
  readonly #store: UsageStore
  readonly #keep: () => Keep
  readonly #apply: Apply

  constructor(store: UsageStore, keep: () => Keep, apply: Apply) {
    this.#store = store
    this.#keep = keep
    this.#apply = apply
  }

  async step(now: number): Promise<Trimmed> {
    const { usageHoursMs } = this.#keep()
    const dropped = await this.#apply(() => {
      const folded = this.#store.folded()
      return folded === null ? null : this.#store.dropHours(Math.min(now - usageHoursMs, folded.startMs))
    })
    if (dropped === LIMITS.usageFoldRows) return { more: true }
    return { more: false, atMs: dropped === null ? null : now + restMs(usageHoursMs) }
  }
}
