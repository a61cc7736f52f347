import type { InstanceConfig } from '../contract/instance.ts'
import { isFinal } from '../contract/job.ts'
import type { AttemptEnd } from '../contract/rpc.ts'
import { dayStart, HOUR_MS, hourStart } from '../core/hours.ts'
import type { Job as Lifecycle } from '../core/lifecycle.ts'
import { type EndedAttempt, emptyTally, mergeTally, type Tally, tallyAttempt, tallyJob } from '../core/tally.ts'
import { LIMITS } from '../limits.ts'
import type { JobRow } from './job-rows.ts'
import type { UsageKey, UsageRow, UsageStore } from './usage-store.ts'

/** The rows of the present hour by project and model, those of them that wait to be written, and what was folded. */
export class UsageMirror {
  readonly rows = new Map<string, UsageRow>()
  readonly touched = new Set<UsageRow>()
  /** Up to which row hours are in their days; undefined where it has to be read. */
  folded: UsageKey | null | undefined = undefined
  /** The hour in which the last fold found nothing more to do. */
  foldedInMs = -1

  clear(): void {
    this.rows.clear()
    this.touched.clear()
    this.folded = undefined
    this.foldedInMs = -1
  }
}

/** What an attempt's end says of its use; where it was canceled or overdue only the outcome is known. */
type AttemptUse = Pick<EndedAttempt, 'outcome' | 'costMicros' | 'providerMs'> &
  Pick<AttemptEnd, 'output'> & { tokens?: Record<string, number> }

/**
 * Counts what is used, in the transaction in which it is settled. Ends are added up in memory, and `flush` writes each row
 * that they touched once, however many there were. Past hours are added to their days a few at a time, by whoever flushes.
 */
export class Usage {
  readonly #store: UsageStore
  readonly #mirror: UsageMirror
  readonly #now: () => number
  readonly #zone: () => string

  constructor(store: UsageStore, mirror: UsageMirror, now: () => number, zone: () => string) {
    this.#store = store
    this.#mirror = mirror
    this.#now = now
    this.#zone = zone
  }

  /** Called while the row still says with which model the attempt was made. */
  attemptEnded(row: JobRow, { outcome, costMicros, providerMs, output, tokens = {} }: AttemptUse): void {
    const images = output && 'images' in output ? output.images.length : 0
    tallyAttempt(this.#tallyOf(row), { outcome, costMicros, providerMs, images, tokens })
  }

  jobEnded(row: JobRow, { status, startedAtMs, endedAtMs }: Lifecycle): void {
    if (!isFinal(status) || endedAtMs === null) return
    tallyJob(this.#tallyOf(row), {
      status,
      queueMs: startedAtMs === null ? null : startedAtMs - row.queued_at_ms,
      totalMs: endedAtMs - row.queued_at_ms,
    })
  }

  /** The last step of a transaction. */
  flush(): void {
    const { rows, touched } = this.#mirror
    if (touched.size === 0) return
    for (const row of touched) this.#store.save('usage_hours', row)
    touched.clear()
    for (const key of rows.keys()) {
      if (rows.size <= LIMITS.usageRowsInMemory) break
      rows.delete(key)
    }
    this.#fold()
  }

  #tallyOf(job: JobRow): Tally {
    const { rows, touched } = this.#mirror
    const key = { startMs: this.#hour(), project: job.project ?? '', model: job.model }
    const name = `${key.project} ${key.model}`
    const known = rows.get(name)
    const row =
      known?.startMs === key.startMs ? known : (this.#store.find('usage_hours', key) ?? { ...key, tally: emptyTally() })
    // Those used last stand last, so that the others are let go first.
    rows.delete(name)
    rows.set(name, row)
    touched.add(row)
    return row.tally
  }

  /** The present hour; where a clock was set back a little, the first that is not in its day yet. */
  #hour(): number {
    const hour = hourStart(this.#now())
    const folded = this.#folded()?.startMs ?? -1
    return folded >= hour && folded - hour < LEAP_MS ? folded + HOUR_MS : hour
  }

  #folded(): UsageKey | null {
    if (this.#mirror.folded === undefined) this.#mirror.folded = this.#store.folded()
    return this.#mirror.folded
  }

  /** Adds the oldest past hours to their days, a bounded number of rows, and drops those that are too old. */
  #fold(): void {
    const hour = hourStart(this.#now())
    if (this.#mirror.foldedInMs === hour) return
    const rows = this.#store.unfolded(this.#folded(), hour, LIMITS.usageFoldRows)
    const last = rows.at(-1)
    if (rows.length < LIMITS.usageFoldRows) this.#mirror.foldedInMs = hour
    if (!last) return
    const days = new Map<string, UsageRow>()
    for (const { startMs, project, model, tally } of rows) {
      const key = { startMs: dayStart(startMs, this.#zone()), project, model }
      const name = `${key.startMs} ${project} ${model}`
      const day = days.get(name) ?? this.#store.find('usage_days', key) ?? { ...key, tally: emptyTally() }
      mergeTally(day.tally, tally)
      days.set(name, day)
    }
    for (const day of days.values()) this.#store.save('usage_days', day)
    this.#store.saveFolded(last)
    this.#mirror.folded = { startMs: last.startMs, project: last.project, model: last.model }
    this.#store.dropHours(Math.min(hour - LIMITS.usageHoursKeepMs, last.startMs))
  }
}

/** A clock that was set back by more was wrong before: what it counted then stays where it is. */
const LEAP_MS = 24 * HOUR_MS

/** The zone in which an instance counts days. */
export const zoneOf = (config: InstanceConfig & { time_zone?: string | undefined }): string => config.time_zone ?? 'UTC'
