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
  /** Per project, the tag that its next job gets, as far as it lies ahead of `served`, and its weight. Bounded. */
  next: Map<string, { tag: number; weight: number }>
  /** Sum of the weights in `next`, and how many jobs may be served before it is looked through again. */
  weights: number
  untilLook: number
}

/** A class with jobs that could run. `oldestAtMs`: since when its oldest waits. */
export type WaitingClass = { priority: number; oldestAtMs: number }

export const emptyOrder = (): QueueOrder => ({ classes: new Map(), turns: new Map(), turn: 0 })

/** The tag of a project's next job. `weight` is above zero. */
export const tagJob = (order: QueueOrder, priority: number, project: string, weight: number): number => {
  const shares = sharesOf(order, priority)
  const known = shares.next.get(project)
  const tag = Math.max(shares.served, known?.tag ?? 0)
  remember(shares, project, { tag: tag + 1 / weight, weight })
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
  remember(shares, project, { tag: tags.greatest + 1 / weight, weight })
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
const remember = (shares: ClassShares, project: string, next: { tag: number; weight: number }): void => {
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
