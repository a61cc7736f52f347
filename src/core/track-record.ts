/**
 * What this instance has seen of a model: the last outcomes and how long good runs took. Small enough to be one row.
 */
export type TrackRecord = {
  /** Newest last; true for a success. Rejections of content are no failure of the model. */
  outcomes: boolean[]
  /** Milliseconds of the last good runs, newest last. */
  durationsMs: number[]
}

const WINDOW = 50

export const emptyRecord = (): TrackRecord => ({ outcomes: [], durationsMs: [] })

export const recordRun = (record: TrackRecord, succeeded: boolean, durationMs: number): TrackRecord => ({
  outcomes: [...record.outcomes, succeeded].slice(-WINDOW),
  durationsMs: succeeded ? [...record.durationsMs, Math.round(durationMs)].slice(-WINDOW) : record.durationsMs,
})

/** Median of the last good runs, or null before the first. */
export const medianMs = (record: TrackRecord): number | null => {
  const sorted = [...record.durationsMs].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null
}

/** 0…1; one success is assumed beforehand, so that a new model is tried and a single failure does not condemn it. */
export const successRate = (record: TrackRecord): number =>
  (record.outcomes.filter(Boolean).length + 1) / (record.outcomes.length + 1)
