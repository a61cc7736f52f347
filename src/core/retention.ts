import { makeId } from '../contract/ids.ts'
import { isFinal, type Status } from '../contract/job.ts'
import type { RetentionConfig } from '../contract/retention.ts'
import { LIMITS } from '../limits.ts'

/**
 * What is old enough to go, and where to look for it. Ids are ordered by the time at which they were made, so old jobs are
 * found by walking up the ids: no index holds when a job ended, which would cost every job a row.
 */

/** How long things are kept, in ms. */
export type Keep = {
  jobsMs: number
  deadLettersMs: number
  eventsMs: number
  logsMs: number
  artifactsMs: number
  ledgerMs: number
  usageHoursMs: number
  archivesMs: number
  /** Jobs go to the archive before they are deleted. */
  isArchiving: boolean
}

export const keepOf = (config: RetentionConfig | null | undefined): Keep => {
  const given = config ?? {}
  const jobsMs = ms(given.jobs_s) ?? LIMITS.retentionDefaultMs
  return {
    jobsMs,
    // They wait for somebody's decision, so a short retention of what went well does not take them away.
    deadLettersMs: ms(given.dead_letters_s) ?? Math.max(jobsMs, LIMITS.retentionDefaultMs),
    eventsMs: ms(given.events_s) ?? LIMITS.retentionDefaultMs,
    logsMs: ms(given.logs_s) ?? LIMITS.retentionDefaultMs,
    artifactsMs: ms(given.artifacts_s) ?? jobsMs,
    ledgerMs: ms(given.ledger_s) ?? jobsMs,
    usageHoursMs: ms(given.usage_hours_s) ?? LIMITS.usageHoursKeepMs,
    archivesMs: ms(given.archive_s) ?? LIMITS.archiveKeepMs,
    isArchiving: given.archive ?? false,
  }
}

const ms = (seconds: number | null | undefined): number | null =>
  seconds === null || seconds === undefined ? null : seconds * 1000

/** A job as far as its age goes. */
export type Aged = {
  id: string
  status: Status
  endedAtMs: number | null
  discardedAtMs: number | null
  /** It belongs to a batch of which another job has not ended. */
  isHeld: boolean
}

/** From when on a job may be trimmed; null while it has not ended. */
export const jobExpiry = (
  { status, endedAtMs, discardedAtMs }: Pick<Aged, 'status' | 'endedAtMs' | 'discardedAtMs'>,
  keep: Keep,
): number | null => {
  if (!isFinal(status) || endedAtMs === null) return null
  const isDeadLetter = status === 'failed' && discardedAtMs === null
  return endedAtMs + (isDeadLetter ? keep.deadLettersMs : keep.jobsMs)
}

export type Fate = 'due' | 'soon' | 'later'

/** Whether to trim a job, to wait for it, or to pass it over and come back. */
export const fateOf = (job: Aged, keep: Keep, now: number): Fate => {
  const expiry = jobExpiry(job, keep)
  if (expiry === null || job.isHeld || expiry > now + patienceMs(shortestJobMs(keep))) return 'later'
  return expiry <= now ? 'due' : 'soon'
}

/** How long the walk waits for a job that is nearly old enough, rather than passing it over. */
export const patienceMs = (keepMs: number): number =>
  Math.min(Math.max(LIMITS.trimPatienceMs, keepMs / 16), LONGEST_REST_MS)

/** When to look again after nothing more was due: a small part of what is kept, so that little is kept too long. */
export const restMs = (keepMs: number): number =>
  Math.min(Math.max(LIMITS.trimRestMs, keepMs / 64), LIMITS.trimRestMaxMs)

/** Pauses between full steps grow shorter as long as there is more to do. */
export const nextPauseMs = (pauseMs: number, isFull: boolean): number =>
  isFull ? Math.max(LIMITS.trimPauseMs, Math.floor(pauseMs / 2)) : LIMITS.trimPauseMaxMs

/** The first id that could be made at this time. */
export const idFrom = (prefix: string, timeMs: number): string =>
  makeId(prefix, Math.max(0, Math.floor(timeMs)), new Uint8Array(16))

/**
 * The walk over the ids. The front goes up once, trims what is due and passes over what is not: jobs that wait or run, dead
 * letters, jobs that ended late. What it passed over is few, and all that is left below it: from time to time a second walk
 * looks at that again. Kept in memory only; begun anew, the front meets what was passed over first.
 */
export type Sweep = {
  front: string
  frontAtMs: number
  /** How far the second walk is; null: it rests. */
  back: string | null
  backAtMs: number
}

export const freshSweep = (): Sweep => ({ front: '', frontAtMs: 0, back: null, backAtMs: 0 })

/** Ids to look at next, both bounds excluded. */
export type Look = { at: 'front' | 'back'; after: string; before: string }

/** Null: nothing before `sweepAt`. Where both walks are due, the one that has been for longer goes on. */
export const nextLook = (sweep: Sweep, keep: Keep, now: number): Look | null => {
  const keepMs = shortestJobMs(keep)
  const isFrontDue = isReached(sweep.frontAtMs, now, restMs(keepMs))
  const isBackDue = isReached(sweep.backAtMs, now, patienceMs(keepMs))
  if (isFrontDue && (!isBackDue || sweep.frontAtMs <= sweep.backAtMs))
    return { at: 'front', after: sweep.front, before: idFrom('job', now - keepMs + 1) }
  return isBackDue ? { at: 'back', after: sweep.back ?? '', before: sweep.front + LAST } : null
}

/** Nothing ends before it begins: younger jobs than this are not worth a look. */
export const shortestJobMs = (keep: Keep): number => Math.min(keep.jobsMs, keep.deadLettersMs)

export const shortestMs = (keep: Keep): number =>
  Math.min(keep.eventsMs, keep.logsMs, keep.artifactsMs, keep.ledgerMs, keep.usageHoursMs, shortestJobMs(keep))

/** The longest that anything waits to be looked at again. */
export const LONGEST_REST_MS = LIMITS.trimRestMaxMs * 4

/** Whether a time to look again has come. One that lies farther ahead than the rest is of a clock that was set back since. */
const isReached = (atMs: number, now: number, longestMs: number): boolean => atMs <= now || atMs > now + longestMs

/** Sorts behind every letter of an id: makes a bound that takes the id itself in. */
const LAST = '~'

export const sweepAt = (sweep: Sweep): number => Math.min(sweep.frontAtMs, sweep.backAtMs)

/**
 * What follows from the jobs found, in order: those to trim, and the walk after that. `isLast` says that there were no more
 * between the bounds.
 */
export const afterLook = (
  sweep: Sweep,
  look: Look,
  found: { jobs: readonly { id: string; fate: Fate }[]; isLast: boolean },
  { keepMs, now, atMost }: { keepMs: number; now: number; atMost: number },
): { due: string[]; sweep: Sweep; more: boolean } => {
  const due: string[] = []
  let reached = look.after
  let isOver = found.isLast
  for (const { id, fate } of found.jobs) {
    const stops = due.length === atMost || (look.at === 'front' && fate === 'soon')
    if (stops) {
      isOver = fate === 'soon' && due.length < atMost
      break
    }
    if (fate === 'due') due.push(id)
    reached = id
  }
  const againMs = now + restMs(keepMs)
  if (look.at === 'front')
    return { due, sweep: { ...sweep, front: reached, frontAtMs: isOver ? againMs : now }, more: !isOver }
  return {
    due,
    sweep: { ...sweep, back: isOver ? null : reached, backAtMs: isOver ? now + patienceMs(keepMs) : now },
    more: !isOver,
  }
}

/** The same walk, but only as far as this id: not all that was due could be trimmed at once. */
export const cutAt = (sweep: Sweep, look: Look, id: string, now: number): Sweep =>
  look.at === 'front' ? { ...sweep, front: id, frontAtMs: now } : { ...sweep, back: id, backAtMs: now }

/** Of rows in the order in which they were written: how many of the first may go, so that what is left has no hole. */
export const oldPrefix = (timesMs: readonly number[], cutoffMs: number): number =>
  timesMs.findLastIndex((at) => at <= cutoffMs) + 1
