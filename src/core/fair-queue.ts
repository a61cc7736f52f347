import { LIMITS } from '../limits.ts'

/**
 * The order of one provider's queue. Priority decides which class of jobs is served, shares decide within a class.
 *
 * Shares are tags (start-time fair queueing, Goyal, Vin and Cheng 1996). A job gets its tag when it is queued, and the
 * lowest runs first. A project's tags lie `1 / weight` apart and never begin before the tag last served, so a project with
 * ten thousand jobs waiting and one with a single job alternate as their weights say, and idle time is not saved up. A tag
 * never changes, so an index can hold the order.
 *
 * Classes age: a minute of waiting of its oldest job lifts a class by one step, up to the highest. Among the highest
 * classes turns go by the same method with weight `priority + 1`: the lowest gets at least a fifty-fifth of all turns, and
 * a flood of old jobs cannot hold up a new one of high priority.
 *
 * The state is changed in place: it is a mirror of the queue, made anew from it at a restart.
 */
export type QueueOrder = {
  classes: Map<number, ClassShares>
  /** Turns taken by each class in its own measure, and the measure of the last turn. */
  turns: Map<number, number>
  turn: number
}

type ClassShares = {
  /** The tag last served. */
  served: number
  /** Per project, the tag that its next job gets, as far as it lies ahead of `served`. */
  next: Map<string, number>
}

/** A class with jobs that could run. `oldestAtMs`: since when its oldest waits. */
export type WaitingClass = { priority: number; oldestAtMs: number }

export const emptyOrder = (): QueueOrder => ({ classes: new Map(), turns: new Map(), turn: 0 })

/** The tag of a project's next job. `weight` is above zero. */
export const tagJob = (order: QueueOrder, priority: number, project: string, weight: number): number => {
  const shares = sharesOf(order, priority)
  const tag = Math.max(shares.served, shares.next.get(project) ?? 0)
  shares.next.set(project, tag + 1 / weight)
  return tag
}

/** What waits of a project in a class, as found in the database: its least and its greatest tag. */
export const restoreTags = (
  order: QueueOrder,
  priority: number,
  project: string,
  weight: number,
  tags: { least: number; greatest: number },
): void => {
  const isNew = !order.classes.has(priority)
  const shares = sharesOf(order, priority)
  shares.served = isNew ? tags.least : Math.min(shares.served, tags.least)
  shares.next.set(project, tags.greatest + 1 / weight)
}

/** The class whose turn it is, or null where none waits. */
export const nextClass = (order: QueueOrder, waiting: readonly WaitingClass[], now: number): number | null => {
  let best: { priority: number; lifted: number; turn: number } | null = null
  for (const { priority, oldestAtMs } of waiting) {
    const lifted = liftedPriority(priority, oldestAtMs, now)
    const turn = Math.max(order.turn, order.turns.get(priority) ?? 0)
    if (!best || lifted > best.lifted || (lifted === best.lifted && before(turn, priority, best))) {
      best = { priority, lifted, turn }
    }
  }
  return best?.priority ?? null
}

/** A job was taken from the queue. */
export const serveJob = (order: QueueOrder, priority: number, tag: number): void => {
  const shares = sharesOf(order, priority)
  shares.served = Math.max(shares.served, tag)
  if (shares.next.size > PROJECTS_KEPT) {
    for (const [project, next] of shares.next) if (next <= shares.served) shares.next.delete(project)
  }
  const turn = Math.max(order.turn, order.turns.get(priority) ?? 0)
  order.turn = turn
  order.turns.set(priority, turn + 1 / (priority + 1))
}

/** Priority with age: one step a minute, never above the highest. */
export const liftedPriority = (priority: number, oldestAtMs: number, now: number): number =>
  Math.min(LIMITS.priorityMax, priority + Math.floor(Math.max(0, now - oldestAtMs) / LIMITS.ageingPerPriorityMs))

/** Projects whose place is remembered although they could be forgotten. */
const PROJECTS_KEPT = 256

const before = (turn: number, priority: number, other: { turn: number; priority: number }): boolean =>
  turn < other.turn || (turn === other.turn && priority > other.priority)

const sharesOf = (order: QueueOrder, priority: number): ClassShares => {
  const known = order.classes.get(priority)
  if (known) return known
  const shares: ClassShares = { served: 0, next: new Map() }
  order.classes.set(priority, shares)
  return shares
}
