import { LIMITS } from '../limits.ts'

/**
 * The order of one provider's queue. Priority decides which class of jobs is served, shares decide within a class.
 *
 * Shares are tags (start-time fair queueing, Goyal, Vin and Cheng 1996). A job gets its tag when it is queued, and the
 * lowest runs first. A project's tags lie `1 / weight` apart and never begin before the tag last served, so a project with
 * ten thousand jobs waiting and one with a single job alternate as their weights say, and idle time is not saved up. A tag
 * never changes, so an index can hold the order. A project whose jobs have all left without a turn, canceled or moved, has
 * used none of their tags: its next job follows the last that had one.
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
  /** Per project, what its next job gets, as far as it lies ahead of `served`. Bounded. */
  next: Map<string, ProjectPlace>
  /** Sum of the weights in `next`, and how many jobs may be served before it is looked through again. */
  weights: number
  untilLook: number
}

/** `tag`: of the next job. `waiting`: jobs that could run. `used`: the tag that follows the last that had a turn. */
type ProjectPlace = { tag: number; weight: number; waiting: number; used: number }

/** A class with jobs that could run. `oldestAtMs`: since when its oldest waits. */
export type WaitingClass = { priority: number; oldestAtMs: number }

export const emptyOrder = (): QueueOrder => ({ classes: new Map(), turns: new Map(), turn: 0 })

/** The tag of a project's next job. `weight` is above zero. */
export const tagJob = (order: QueueOrder, priority: number, project: string, weight: number): number => {
  const shares = sharesOf(order, priority)
  const known = shares.next.get(project)
  const tag = Math.max(shares.served, known?.tag ?? 0)
  remember(shares, project, { waiting: 0, used: 0, ...known, tag: tag + 1 / weight, weight })
  return tag
}

/** A job that has its tag could run from now on. */
export const joinLine = (order: QueueOrder, priority: number, project: string): void => {
  const place = sharesOf(order, priority).next.get(project)
  if (place) place.waiting += 1
}

/** It could run no more: it runs, if `hadTurn`, or it has ended, waits or has moved without one. */
export const leaveLine = (order: QueueOrder, priority: number, project: string, hadTurn: boolean): void => {
  const place = sharesOf(order, priority).next.get(project)
  if (!place) return
  place.waiting = Math.max(0, place.waiting - 1)
  if (!hadTurn && place.waiting === 0) place.tag = place.used
}

/** What is under way of a project in a class, as found in the database: its least and its greatest tag, and how many could run. */
export const restoreTags = (
  order: QueueOrder,
  priority: number,
  project: string,
  weight: number,
  tags: { least: number; greatest: number; waiting: number },
): void => {
  const isNew = !order.classes.has(priority)
  const shares = sharesOf(order, priority)
  shares.served = isNew ? tags.least : Math.min(shares.served, tags.least)
  const { waiting } = tags
  remember(shares, project, { tag: tags.greatest + 1 / weight, weight, waiting, used: 0 })
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
export const serveJob = (order: QueueOrder, priority: number, project: string, tag: number): void => {
  const shares = sharesOf(order, priority)
  const place = shares.next.get(project)
  if (place) place.used = Math.max(place.used, tag + 1 / place.weight)
  // Time goes on with every job served, as fast as the projects share it; else a stream of new projects, whose first jobs
  // all begin at this very tag, would go before the second job of an old one for ever.
  shares.served = tag > shares.served ? tag : shares.served + 1 / Math.max(1, shares.weights)
  shares.untilLook -= 1
  if (shares.untilLook <= 0) forgetIdle(shares)
  const turn = Math.max(order.turn, order.turns.get(priority) ?? 0)
  order.turn = turn
  order.turns.set(priority, turn + 1 / (priority + 1))
}

/** Priority with age: one step a minute, never above the highest. */
export const liftedPriority = (priority: number, oldestAtMs: number, now: number): number =>
  Math.min(LIMITS.priorityMax, priority + Math.floor(Math.max(0, now - oldestAtMs) / LIMITS.ageingPerPriorityMs))

/** Forgets projects that have no place ahead any more. As many jobs as projects lie between two looks, so it costs little. */
const forgetIdle = (shares: ClassShares): void => {
  shares.weights = 0
  for (const [project, { tag, weight }] of shares.next) {
    if (tag <= shares.served) shares.next.delete(project)
    else shares.weights += weight
  }
  shares.untilLook = Math.max(LOOK_AT_LEAST, shares.next.size)
}

const LOOK_AT_LEAST = 16

/**
 * Those that a job came from last stand last, so that the others are let go first: a stream of new projects leaves each a
 * place ahead for longer than it takes the next to come. The jobs of one that is let go keep their tags.
 */
const remember = (shares: ClassShares, project: string, next: ProjectPlace): void => {
  forget(shares, project)
  shares.next.set(project, next)
  shares.weights += next.weight
  for (const oldest of shares.next.keys()) {
    if (shares.next.size <= LIMITS.projectsRemembered) break
    forget(shares, oldest)
  }
}

const forget = (shares: ClassShares, project: string): void => {
  shares.weights -= shares.next.get(project)?.weight ?? 0
  shares.next.delete(project)
}

const before = (turn: number, priority: number, other: { turn: number; priority: number }): boolean =>
  turn < other.turn || (turn === other.turn && priority > other.priority)

const sharesOf = (order: QueueOrder, priority: number): ClassShares => {
  const known = order.classes.get(priority)
  if (known) return known
  const shares: ClassShares = { served: 0, next: new Map(), weights: 0, untilLook: LOOK_AT_LEAST }
  order.classes.set(priority, shares)
  return shares
}
