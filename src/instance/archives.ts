import type { JobRecord } from '../contract/job.ts'
import { type Packed, packJobs } from '../core/archive.ts'
import type { Keep } from '../core/retention.ts'
import { LIMITS } from '../limits.ts'
import { deleteArchives, readArchived, writeArchive } from '../storage/archives.ts'
import type { ArchiveEntry, ArchiveStore } from './archive-store.ts'
import type { Apply, Trimmed, Trimmer } from './trimmer.ts'

type Surroundings = {
  store: ArchiveStore
  bucket: R2Bucket
  instance: string
  keep: () => Keep
  apply: Apply
  /** As clients see it; null where there is none or it cannot be read. */
  recordOf(id: string): JobRecord | null
  /** A name that no other object has. */
  nameFor(firstId: string): string
}

/**
 * Finished jobs in the bucket. An object is announced, written, and confirmed in the transaction that deletes its jobs: so a
 * job is told by its row or by one object, never by none and never by both. What a crash leaves unconfirmed is removed.
 */
export class Archives implements Trimmer {
  readonly #around: Surroundings

  constructor(around: Surroundings) {
    this.#around = around
  }

  pack(ids: readonly string[]): Packed {
    return packJobs(ids, (id) => {
      const record = this.#around.recordOf(id)
      // The id first: a line is found by how it begins.
      if (!record) return null
      const { id: first, ...rest } = record
      return JSON.stringify({ id: first, ...rest, archived: true, expires_at: null })
    })
  }

  /** `remove` deletes the rows, or answers false where they have changed: then the object is given up. */
  async write({ ids, lines }: Packed, now: number, remove: () => boolean): Promise<boolean> {
    const { store, bucket, instance, apply, nameFor } = this.#around
    // One at a time: what is unconfirmed now will never be.
    await this.#remove(store.unconfirmed())
    const [first = ''] = ids
    const last = ids.at(-1) ?? ''
    const name = nameFor(first)
    await apply(() => store.announce(name, ids))
    await writeArchive(bucket, instance, name, lines)
    return apply(() => {
      const isRemoved = remove()
      if (isRemoved) store.confirm(name, last, now)
      return isRemoved
    })
  }

  /** The job as it was archived, by this version or one before it; null where it is not there. Throws what R2 throws. */
  async read(id: string): Promise<JobRecord | null> {
    const { store, bucket, instance, keep } = this.#around
    for (const { name, writtenAtMs } of store.mayHold(id)) {
      const line = await readArchived(bucket, instance, name, id)
      if (line === null) continue
      const expiry = writtenAtMs + keep().archivesMs
      return { ...(JSON.parse(line) as JobRecord), expires_at: new Date(expiry).toISOString() }
    }
    return null
  }

  /** Removes objects that are too old, or that nobody confirmed. */
  async step(now: number): Promise<Trimmed> {
    const { store, keep } = this.#around
    const { archivesMs } = keep()
    const removed = await this.#remove([...store.unconfirmed(), ...store.old(now - archivesMs)])
    if (removed >= LIMITS.archivesPerStep) return { more: true }
    const oldestAtMs = store.oldestAtMs()
    return { more: false, atMs: oldestAtMs === null ? null : oldestAtMs + archivesMs }
  }

  async #remove(entries: readonly ArchiveEntry[]): Promise<number> {
    const { store, bucket, instance, apply } = this.#around
    if (entries.length === 0) return 0
    const names = entries.map(({ name }) => name)
    await deleteArchives(bucket, instance, names)
    await apply(() => store.remove(entries))
    return entries.length
  }
}
