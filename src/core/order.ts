import { LIMITS } from '../limits.ts'

/**
 * The order of the queue as one number that never changes while a job waits: lower runs first. Every step of priority
 * counts as `ageingPerPriorityMs` of waiting, so an old job of low priority passes a stream of new ones of high
 * priority, and no job starves. Because all jobs age at the same speed, the order of two never turns, and an index can
 * hold it.
 */
export const rankOf = (readyAtMs: number, priority: number): number => readyAtMs - priority * LIMITS.ageingPerPriorityMs
