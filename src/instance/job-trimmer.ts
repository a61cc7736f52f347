import type { Packed } from '../core/archive.ts'
import {
  type Aged,
  afterLook,
  cutAt,
  fateOf,
  freshSweep,
  jobExpiry,
  type Keep,
  type Look,
  nextLook,
  type Sweep,
  shortestJobMs,
  sweepAt,
} from '../core/retention.ts'
import { LIMITS } from '../limits.ts'
import type { Archives } from './archives.ts'
import type { RetentionStore } from './retention-store.ts'
import type { Apply, Trimmed, Trimmer } from './trimmer.ts'

type Found = { look: Look; jobs: Aged[]; due: string[]; sweep: Sweep; more: boolean }

/** Deletes old jobs with their attempts; where the instance archives, only what has been written to the bucket before. */
export class JobTrimmer implements Trimmer {
  readonly #store: RetentionStore
  readonly #archives: Archives
  readonly #keep: () => Keep
  readonly #apply: Apply
  #sweep: Sweep = freshSweep()

  constructor(store: RetentionStore, archives: Archives, keep: () => Keep, apply: Apply) {
    this.#store = store
    this.#archives = archives
    this.#keep = keep
    this.#apply = apply
  }

  async step(now: number): Promise<Trimmed> {
    const keep = this.#keep()
    const found = keep.isArchiving ? this.#find(keep, now) : await this.#apply(() => this.#delete(keep, now))
    if (found) this.#sweep = keep.isArchiving ? await this.#archive(found, keep, now) : found.sweep
    if (found?.more || sweepAt(this.#sweep) <= now) return { more: true }
    return { more: false, atMs: this.#store.hasJobs() ? sweepAt(this.#sweep) : null }
  }

  #find(keep: Keep, now: number): Found | null {
    const look = nextLook(this.#sweep, keep, now)
    if (!look) return null
    const { jobs, isLast } = this.#store.jobs(look.after, look.before, LIMITS.trimLooks)
    const fates = jobs.map((job) => ({ id: job.id, fate: fateOf(job, keep, now) }))
    const followed = afterLook(
      this.#sweep,
      look,
      { jobs: fates, isLast },
      { keepMs: shortestJobMs(keep), now, atMost: LIMITS.trimJobs },
    )
    return { look, jobs, ...followed }
  }

  #delete(keep: Keep, now: number): Found | null {
    const found = this.#find(keep, now)
    if (found) this.#store.deleteJobs(found.due)
    return found
  }

  /** Answers the walk after it. */
  async #archive({ look, jobs, due, sweep }: Found, keep: Keep, now: number): Promise<Sweep> {
    if (due.length === 0) return sweep
    const packed = this.#archives.pack(due)
    if (packed.ids.length > 0 && !(await this.#write(packed, jobs, keep, now))) return this.#sweep
    const isWhole = packed.reached === due.at(-1)
    return isWhole || packed.reached === null ? sweep : cutAt(sweep, look, packed.reached, now)
  }

  /** False where one of the jobs has changed meanwhile: then nothing is deleted, and what was written is not read. */
  async #write(packed: Packed, seen: readonly Aged[], keep: Keep, now: number): Promise<boolean> {
    const before = new Map(seen.map((job) => [job.id, job.endedAtMs]))
    return this.#archives.write(packed, now, () => {
      const present = this.#store.aged(packed.ids)
      const isSame = (job: Aged): boolean => {
        const expiry = jobExpiry(job, keep)
        return job.endedAtMs === before.get(job.id) && expiry !== null && expiry <= now && !job.isHeld
      }
      if (present.length !== packed.ids.length || !present.every(isSame)) return false
      this.#store.deleteJobs(packed.ids)
      return true
    })
  }
}
