/** How a replay by filter is paced: this many jobs in a step, and the time from one step to the next. */
export type ReplayPace = { jobs: number; everyMs: number }

/**
 * Steps of about a second, or of one job where the rate is below one a second. In no minute, wherever it begins, are more
 * than `perMinute` jobs let out: whole steps a minute are rounded down.
 */
export const replayPace = (perMinute: number): ReplayPace => {
  const jobs = Math.max(1, Math.floor(perMinute / 60))
  return { jobs, everyMs: Math.ceil(60_000 / Math.floor(perMinute / jobs)) }
}
