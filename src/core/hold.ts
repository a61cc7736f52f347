import { isFinal, type Status } from '../contract/job.ts'
import { LIMITS } from '../limits.ts'

/**
 * What a job reserves of its budgets. `day` is null while it waits: then it counts in whatever window is open, so that a
 * job taken in on one day still has its money on the next. An attempt that begins fixes the day, and what it costs is
 * booked there. Money is integer micros.
 */
export type Hold = { micros: number; day: string | null }

/** A job as far as its money goes. `resume`: the next attempt goes on with what an earlier one has bought or begun. */
export type Stage = { status: Status; model: string; resume: string | null }

/**
 * What a step of a job does to its money: `closes` says that an attempt's purchase is over, `known` with its cost or null.
 * `hold`: what is reserved afterwards. `new` asks for room; every other is granted.
 */
export type Following = {
  closes: { costMicros: number | null } | null
  hold: 'none' | 'same' | 'begins' | 'new'
}

/**
 * `costMicros` is of the attempt that the step ends, null where nobody knows. A generation that is still under way keeps
 * its hold and its day through any number of attempts that only go on with it: it is bought once and booked once.
 */
export const followHold = (
  before: Stage & { held: Hold | null },
  after: Stage,
  costMicros: number | null,
): Following => {
  const isBuying = before.held !== null && before.held.day !== null
  if (isFinal(after.status)) {
    if (before.status === 'running') return { closes: { costMicros }, hold: 'none' }
    return { closes: isBuying ? { costMicros: null } : null, hold: 'none' }
  }
  if (after.status === 'running') return { closes: null, hold: isBuying ? 'same' : 'begins' }
  if (before.status === 'running') {
    if (after.resume === null) return { closes: { costMicros }, hold: 'new' }
    // Paid and known: what is left to do, such as storing, costs nothing more.
    return (costMicros ?? 0) > 0 ? { closes: { costMicros }, hold: 'none' } : { closes: null, hold: 'same' }
  }
  const keeps = after.resume !== null || (before.held !== null && after.model === before.model)
  return { closes: null, hold: keeps ? 'same' : 'new' }
}

/**
 * What an attempt holds that begins: what its job has held, and of the room beside that a share, until all is held that it
 * could cost. `roomMicros` is what the budgets have left beside this job, `ownMicros` what its client allows it; infinite
 * without any, and where neither bounds it there is nothing to be kept within.
 */
export const grownHold = (heldMicros: number, mostMicros: number, roomMicros: number, ownMicros: number): number => {
  if (roomMicros === Number.POSITIVE_INFINITY && ownMicros === Number.POSITIVE_INFINITY) return heldMicros
  const more = Math.min(Math.floor((roomMicros - heldMicros) * LIMITS.budgetShareOfCall), ownMicros - heldMicros)
  return Math.max(heldMicros, Math.min(mostMicros, heldMicros + more))
}
