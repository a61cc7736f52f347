import * as v from 'valibot'
import { idFrom, type Keep, patienceMs } from '../core/retention.ts'
import { deleteObjects, listArtifacts, type StoredObject } from '../storage/old-artifacts.ts'
import type { AdminStore } from './admin-store.ts'
import type { RetentionStore } from './retention-store.ts'
import type { Apply, Trimmed, Trimmer } from './trimmer.ts'

/** The meta key of what is gone, so that a longer retention set later does not promise it again. */
const TRIMMED = 'artifacts_trimmed'
const TrimmedBefore = v.pipe(v.string(), v.parseJson(), v.object({ endedMs: v.number(), atMs: v.number() }))

/** Pictures of jobs that ended up to `endedMs` may be gone since `atMs`. */
export type TrimmedArtifacts = v.InferOutput<typeof TrimmedBefore>

/**
 * Deletes old pictures. Their keys are in the order of their jobs' ids, so the oldest stand first. A picture goes when its job
 * ended long enough ago; where the job is gone itself, when it was stored so long ago; never while its job has not ended.
 */
export class ArtifactTrimmer implements Trimmer {
  readonly #bucket: R2Bucket
  readonly #instance: string
  readonly #store: RetentionStore
  readonly #admin: AdminStore
  readonly #keep: () => Keep
  readonly #apply: Apply
  /** The last key looked at, where the walk is not through. */
  #after: string | null = null
  /** Some that were met on this walk stay for now. */
  #hasLeft = false
  #trimmed: TrimmedArtifacts | null | undefined

  constructor(
    bucket: R2Bucket,
    instance: string,
    { store, admin, keep, apply }: { store: RetentionStore; admin: AdminStore; keep: () => Keep; apply: Apply },
  ) {
    this.#bucket = bucket
    this.#instance = instance
    this.#store = store
    this.#admin = admin
    this.#keep = keep
    this.#apply = apply
  }

  /** When the pictures of a job that ended at this time are gone. */
  expiryOf(endedAtMs: number): number {
    const expiry = endedAtMs + this.#keep().artifactsMs
    const trimmed = this.#read()
    return trimmed && endedAtMs <= trimmed.endedMs ? Math.min(expiry, trimmed.atMs) : expiry
  }

  async step(now: number): Promise<Trimmed> {
    const { artifactsMs } = this.#keep()
    const cutoffMs = now - artifactsMs
    const page = await listArtifacts(this.#bucket, this.#instance, this.#after)
    const first = idFrom('job', cutoffMs + 1)
    const reachable = page.objects.filter(({ job }) => job < first)
    const old = this.#old(reachable, cutoffMs)
    if (old.length > 0) {
      // Told before it is done: a job says rather too early than too late that its pictures are gone.
      await this.#apply(() => this.#note(cutoffMs, now))
      await deleteObjects(this.#bucket, old)
    }
    const isThrough = !page.more || reachable.length < page.objects.length
    this.#after = isThrough ? null : (page.objects.at(-1)?.key ?? null)
    this.#hasLeft ||= old.length < page.objects.length
    if (!isThrough) return { more: true }
    const atMs = this.#hasLeft ? now + patienceMs(artifactsMs) : null
    this.#hasLeft = false
    return { more: false, atMs }
  }

  #old(objects: readonly StoredObject[], cutoffMs: number): string[] {
    const jobs = new Map(this.#store.aged([...new Set(objects.map(({ job }) => job))]).map((job) => [job.id, job]))
    return objects.flatMap(({ key, job, storedAtMs }) => {
      const row = jobs.get(job)
      const sinceMs = row ? row.endedAtMs : storedAtMs
      return sinceMs !== null && sinceMs <= cutoffMs ? [key] : []
    })
  }

  #note(endedMs: number, atMs: number): void {
    const before = this.#read()
    if (before && before.endedMs >= endedMs) return
    this.#admin.setMeta(TRIMMED, JSON.stringify({ endedMs, atMs } satisfies TrimmedArtifacts))
    this.#trimmed = undefined
  }

  #read(): TrimmedArtifacts | null {
    if (this.#trimmed === undefined) {
      const text = this.#admin.meta(TRIMMED)
      this.#trimmed = text === null ? null : v.parse(TrimmedBefore, text)
    }
    return this.#trimmed
  }
}
