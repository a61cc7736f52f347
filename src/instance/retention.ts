import type { JobRecord } from '../contract/job.ts'
import { earliest } from '../core/alarm.ts'
import { setBackMs } from '../core/clock.ts'
import { type Keep, keepOf, shortestMs } from '../core/retention.ts'
import { LIMITS } from '../limits.ts'
import type { AdminStore } from './admin-store.ts'
import type { Ambient } from './ambient.ts'
import { ArchiveStore } from './archive-store.ts'
import { Archives } from './archives.ts'
import { ArtifactTrimmer } from './artifact-trimmer.ts'
import { FoldStore } from './fold-store.ts'
import type { JobStore } from './job-store.ts'
import { JobTrimmer } from './job-trimmer.ts'
import { LedgerTrimmer } from './ledger-trimmer.ts'
import type { Identity } from './parts.ts'
import { RetentionStore } from './retention-store.ts'
import { BatchTrimmer, RowTrimmer, UsageTrimmer } from './row-trimmers.ts'
import { type Apply, Timetable } from './trimmer.ts'
import type { UsageStore } from './usage-store.ts'

type Surroundings = {
  sql: SqlStorage
  bucket: R2Bucket
  identity: Identity
  jobs: JobStore
  admin: AdminStore
  usage: UsageStore
  ambient: Ambient
  /** Set by the shell, whose transactions these are. */
  apply: Apply
  recordOf(id: string): JobRecord | null
}

/**
 * Trims what is old, a small step at a time, beside the actor's work: each step joins the transaction of whatever else has
 * come, and the next follows after a pause. Where it stands is in memory only; a process that begins anew looks from the start.
 */
export class Retention {
  readonly archives: Archives
  readonly artifacts: ArtifactTrimmer
  readonly #identity: Identity
  readonly #ambient: Ambient
  readonly #timetables: Timetable[]
  #latestMs = 0
  /** A step is under way. */
  isBusy = false

  /** `isNew`: the instance is founded now, and holds nothing yet. */
  constructor(around: Surroundings, isNew: boolean) {
    const { sql, bucket, identity, jobs, admin, usage, ambient, apply, recordOf } = around
    this.#identity = identity
    this.#ambient = ambient
    const keep = () => this.keep()
    const store = new RetentionStore(sql, jobs)
    this.archives = new Archives({
      store: new ArchiveStore(sql),
      bucket,
      instance: identity.id,
      keep,
      apply,
      recordOf,
      nameFor: (firstId) => `${firstId}-${ambient.id('x').slice(-8)}`,
    })
    this.artifacts = new ArtifactTrimmer(bucket, identity.id, { store, admin, keep, apply })
    const trimmers = [
      new JobTrimmer(store, this.archives, keep, apply),
      new RowTrimmer(
        () => keep().eventsMs,
        (cutoffMs) => store.deleteEvents(cutoffMs),
        apply,
      ),
      new LedgerTrimmer(new FoldStore(sql), admin, keep, apply),
      this.artifacts,
      new RowTrimmer(
        () => LIMITS.idempotencyKeepMs,
        (cutoffMs) => store.deleteIdempotency(cutoffMs),
        apply,
      ),
      new RowTrimmer(
        () => keep().logsMs,
        (cutoffMs) => store.deleteLines(cutoffMs),
        apply,
      ),
      new BatchTrimmer(store, keep, apply),
      new RowTrimmer(
        () => keep().jobsMs,
        (cutoffMs) => store.deleteReplays(cutoffMs),
        apply,
      ),
      new UsageTrimmer(usage, keep, apply),
      this.archives,
    ]
    this.#timetables = trimmers.map((trimmer) => new Timetable(trimmer, isNew ? null : ambient.now()))
  }

  keep(): Keep {
    return keepOf(this.#identity.config.retention)
  }

  /** When to take the next step; null where nothing is there that grows old. A step under way is looked after a while later. */
  nextAtMs(): number | null {
    const now = this.#ambient.now()
    // A clock that was set back: times noted before lie too far ahead.
    if (setBackMs(this.#latestMs, now) > 0) this.begin()
    this.#latestMs = now
    if (this.isBusy) return now + LIMITS.trimRetryMs
    const atMs = earliest(...this.#timetables.map((timetable) => timetable.atMs))
    // What is due is taken up by the alarm that rings now, or by the next.
    return atMs === null ? null : Math.max(atMs, now + LIMITS.trimPauseMs)
  }

  /** Something was written: what was empty is no more. */
  stir(): void {
    const atMs = this.#ambient.now() + Math.min(shortestMs(this.keep()), LIMITS.trimRestMaxMs)
    for (const timetable of this.#timetables) timetable.atMs ??= atMs
  }

  /** The rules have changed: everything is looked at again. */
  begin(): void {
    for (const timetable of this.#timetables) timetable.atMs = this.#ambient.now()
  }

  /** The steps that are due, in bounded number. Throws what a step throws, which is tried again later. */
  async run(): Promise<void> {
    this.isBusy = true
    try {
      for (let steps = 0; steps < LIMITS.trimSteps && !this.#identity.deleting; steps += 1) {
        const now = this.#ambient.now()
        const due = this.#due(now)
        if (!due) return
        await due.step(now)
      }
    } finally {
      this.isBusy = false
    }
  }

  /** The one that has been due the longest. */
  #due(now: number): Timetable | null {
    return this.#timetables.reduce<Timetable | null>((first, timetable) => {
      if (timetable.atMs === null || timetable.atMs > now) return first
      return first?.atMs != null && first.atMs <= timetable.atMs ? first : timetable
    }, null)
  }
}
