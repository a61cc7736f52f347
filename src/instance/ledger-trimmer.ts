import { idFrom, type Keep, restMs } from '../core/retention.ts'
import { LIMITS } from '../limits.ts'
import type { AdminStore } from './admin-store.ts'
import type { FoldStore, Group } from './fold-store.ts'
import type { Apply, Trimmed, Trimmer } from './trimmer.ts'

/** The meta key of the day before which every line is folded. */
const FOLDED_BEFORE = 'ledger_folded_before'
/**
 * A line is booked on the day on which its attempt began, and at its end. Attempts end with their job's deadline, of a week at
 * most; the rest is for time zones and whatever was down.
 */
const LATEST_LINE_MS = LIMITS.deadlineMaxSeconds * 1000 + 3 * 24 * 60 * 60 * 1000

/** Where the walk over days and projects is, the first day that it met, and the first on which it left a line. */
type Walk = { group: Group | null; job: string; firstMet: string | null; firstLeft: string | null }
const BEGIN: Walk = { group: null, job: '', firstMet: null, firstLeft: null }

/**
 * Folds old lines of the ledger. It walks over the days and projects, and begins anew when it is through; days on which no
 * line can come any more are left behind for good.
 */
export class LedgerTrimmer implements Trimmer {
  readonly #store: FoldStore
  readonly #admin: AdminStore
  readonly #keep: () => Keep
  readonly #apply: Apply
  #walk: Walk = BEGIN

  constructor(store: FoldStore, admin: AdminStore, keep: () => Keep, apply: Apply) {
    this.#store = store
    this.#admin = admin
    this.#keep = keep
    this.#apply = apply
  }

  async step(now: number): Promise<Trimmed> {
    const { ledgerMs } = this.#keep()
    const walk = await this.#apply(() => this.#advance(this.#walk, now, now - ledgerMs))
    this.#walk = walk ?? BEGIN
    if (walk) return { more: true }
    return { more: false, atMs: this.#isEmpty() ? null : now + restMs(ledgerMs) }
  }

  /** Null at the end. */
  #advance(from: Walk, now: number, cutoffMs: number): Walk | null {
    const before = idFrom('job', cutoffMs + 1)
    const fromDay = this.#admin.meta(FOLDED_BEFORE) ?? ''
    let { group, job, firstMet, firstLeft } = from
    let rows = 0
    for (let groups = 0; groups < LIMITS.trimGroups && rows < LIMITS.trimRows; groups += 1) {
      if (job === '') group = this.#store.groupBehind(group, fromDay)
      if (group === null) {
        this.#passed(firstMet, firstLeft, now)
        return null
      }
      firstMet ??= group.day
      const { folded, left, reached } = this.#store.fold(group, job, before, cutoffMs, LIMITS.trimRows - rows)
      rows += folded + left
      job = reached ?? ''
      if (reached === null && firstLeft === null && this.#store.hasLines(group)) firstLeft = group.day
    }
    return { group, job, firstMet, firstLeft }
  }

  /** All days were walked over. */
  #passed(firstMet: string | null, firstLeft: string | null, now: number): void {
    const settled = new Date(now - LATEST_LINE_MS).toISOString().slice(0, 10)
    const before = firstLeft !== null && firstLeft < settled ? firstLeft : settled
    if (firstMet !== null && firstMet < before) this.#admin.setMeta(FOLDED_BEFORE, before)
  }

  #isEmpty(): boolean {
    return this.#store.groupBehind(null, this.#admin.meta(FOLDED_BEFORE) ?? '') === null
  }
}
