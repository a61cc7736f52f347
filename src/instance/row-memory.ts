import { Recent } from '../core/recent.ts'
import { LIMITS } from '../limits.ts'
import type { JobRow } from './job-rows.ts'

/**
 * Rows of jobs in memory. Those of running jobs, and those that the present transaction has touched, are held: they may differ
 * from what is in the database. Of the others those asked for last are kept, since applications ask after the jobs they have just
 * sent, again and again.
 */
export class RowMemory {
  readonly #held = new Map<string, JobRow>()
  readonly #recent = new Recent<JobRow>(LIMITS.recentRowsCharacters, charactersOf)

  /** Rows that are held. */
  get held(): Iterable<JobRow> {
    return this.#held.values()
  }

  heldRow(id: string): JobRow | undefined {
    return this.#held.get(id)
  }

  find(id: string): JobRow | undefined {
    return this.#held.get(id) ?? this.#recent.get(id)
  }

  hold(row: JobRow): void {
    this.#recent.delete(row.id)
    this.#held.set(row.id, row)
  }

  /** As it was read: nobody is about to change it. */
  keep(row: JobRow): void {
    this.#recent.set(row.id, row)
  }

  /** A transaction is over: what it has touched is as it is in the database. */
  release(): void {
    for (const [id, row] of this.#held) {
      if (row.status === 'running') continue
      this.#held.delete(id)
      this.#recent.set(id, row)
    }
  }

  /** What is in the database of this one is not known. */
  forget(id: string): void {
    this.#held.delete(id)
    this.#recent.delete(id)
  }

  /** The same of all that wait for a time. */
  forgetDue(): void {
    for (const [id, row] of this.#held) if (row.status === 'queued' && row.due_at_ms !== null) this.#held.delete(id)
    this.#recent.clear()
  }

  clear(): void {
    this.#held.clear()
    this.#recent.clear()
  }
}

/** What of a row has no bound of its own, and a round number for the rest. */
const charactersOf = (row: JobRow): number =>
  REST +
  [row.input, row.wishes, row.metadata, row.resume, row.output, row.fault].reduce(
    (sum, text) => sum + (text?.length ?? 0),
    0,
  )

const REST = 1_000
