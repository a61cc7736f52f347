import type { DeadLetterFilter } from '../contract/dead-letter.ts'
import { ok, type Result, refuse } from '../contract/fault.ts'
import { readResume } from '../job/resume.ts'
import { LIMITS } from '../limits.ts'
import type { Accounts } from './accounts.ts'
import { ableModels } from './alternatives.ts'
import type { Ambient } from './ambient.ts'
import { providerReadyAt } from './availability.ts'
import type { Books } from './books.ts'
import type { DeadLetterQuery, DeadLetterStore, Span } from './dead-letter-store.ts'
import { queueFull } from './intake.ts'
import type { JobRow } from './job-rows.ts'
import type { JobStore } from './job-store.ts'
import type { Scheduler } from './scheduler.ts'
import { wishesOf } from './wishes.ts'

/** What the dead letters stand among. */
export type Surroundings = {
  store: DeadLetterStore
  jobs: JobStore
  books: Books
  accounts: Accounts
  scheduler: Scheduler
  ambient: Ambient
  queueBound(): number
}

/** Jobs that failed for good: run again, or put away. Every method runs inside the caller's transaction. */
export class DeadLetters {
  readonly #around: Surroundings

  constructor(around: Surroundings) {
    this.#around = around
  }

  /**
   * Lets a failed job run again under the admission of a submit: room in the queue, and a model that can serve it.
   * `replay` is the replay by filter that asks, or null. The one way of a failed job back into the queue.
   */
  readmit(row: JobRow, replay: string | null): Result<null> {
    const { jobs, books, accounts, scheduler, ambient, queueBound } = this.#around
    if (row.status !== 'failed') return refuse('conflict', `The job is ${row.status}: only a failed one is replayed.`)
    if (row.foreground === 1)
      return refuse('conflict', 'A call on the line is not replayed: what it asked was not kept.')
    if (books.waiting() >= queueBound()) return queueFull()
    const now = ambient.now()
    const resume = storedPoint(row.resume, now)
    // What was made belongs to the model that made it.
    const made = providerReadyAt(books, row.provider, now) === null ? null : row.model
    const model = resume === null ? bestModel(row, books, now) : made
    if (model === null)
      return refuse('no_provider', 'No provider of this job has a usable credential in this instance.')
    const refusal = accounts.mayHold(row, model, now)
    if (refusal && refusal.waitsFor === null) return { ok: false, fault: refusal.fault }
    scheduler.replay(row, model, resume)
    jobs.restart(row.id, now, wishesOf(row).deadlineMs ?? LIMITS.deadlineDefaultSeconds * 1000, replay)
    return ok(null)
  }

  discard(row: JobRow): Result<null> {
    const { store, jobs, ambient } = this.#around
    if (!store.has(row.id)) return noDeadLetter()
    jobs.discard(row.id, ambient.now())
    return ok(null)
  }

  /** The oldest that match, in bounded number. */
  discardAll(filter: DeadLetterFilter, project: string | null): { discarded: number; more: boolean } {
    const { store, jobs, ambient } = this.#around
    const { ids, next } = store.oldest(queryOf(filter, project), spanOf(filter), LIMITS.discardsPerCall)
    for (const id of ids) jobs.discard(id, ambient.now())
    return { discarded: ids.length, more: next !== null }
  }
}

export const noDeadLetter = () => refuse('not_found', 'There is no such dead letter.')

export const queryOf = (filter: DeadLetterFilter, project: string | null): DeadLetterQuery => ({
  project: project ?? filter.project ?? null,
  code: filter.code ?? null,
  type: filter.type === undefined ? null : filter.type.includes('@') ? filter.type : `${filter.type}@1`,
  model: filter.model ?? null,
  provider: filter.provider ?? null,
})

/** The times of a filter as places; ids lie behind the empty text. */
export const spanOf = (filter: DeadLetterFilter): Span => ({
  after: { atMs: filter.from === undefined ? 0 : Date.parse(filter.from), id: '' },
  before: { atMs: filter.to === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(filter.to), id: '' },
})

/** The best of the models that the job allowed and that can serve it now; those that failed it before are tried anew. */
const bestModel = (row: JobRow, books: Books, now: number): string | null =>
  ableModels(books, row, wishesOf(row).models, now)[0]?.model ?? null

/** What the provider has made and only has to be stored, where its files are still there; anything else begins anew. */
const storedPoint = (text: string | null, now: number): string | null => {
  const resume = text === null ? null : readResume(text)
  return resume?.stage === 'store' && now - resume.doneAtMs < LIMITS.storedPointMs ? text : null
}
