/**
 * When a waiting job will start, from what is ahead of it: each slot takes a job per run, and the rate lets one out per
 * interval; the slower of the two rules. Times in ms.
 */
export const estimateStart = (queue: {
  /** Jobs that start before it. */
  ahead: number
  now: number
  /** Earliest time at which any job may start. */
  readyAtMs: number
  running: number
  concurrency: number
  /** Of one run, as expected. */
  durationMs: number
  /** Between two requests, as the tightest rate allows; 0 without one. */
  intervalMs: number
}): number => {
  const free = Math.max(0, queue.concurrency - queue.running)
  const turns = queue.ahead < free ? 0 : (queue.ahead - free + 1) / Math.max(1, queue.concurrency)
  return Math.max(
    queue.readyAtMs,
    queue.now + turns * queue.durationMs,
    queue.readyAtMs + queue.ahead * queue.intervalMs,
  )
}
