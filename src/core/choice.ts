/**
 * Which model serves a job: available ones first, then by what the job prefers, then in the order asked for. Candidates
 * are those that accept the input.
 */
export type Candidate = {
  model: string
  /** When it could start: breaker, rates, credentials. Null where it cannot at all. */
  readyAtMs: number | null
  /** Expected price of this job in micros; null where nobody knows. */
  priceMicros: number | null
  /** Expected time of a run in ms. */
  durationMs: number
  successRate: number
  qualityRank: number
}

export type Preference = 'cost' | 'speed' | 'quality' | null

/** Best first. Without a preference the order stands, but for models that cannot start now. */
export const rankCandidates = (candidates: readonly Candidate[], prefer: Preference, now: number): Candidate[] =>
  candidates
    .map((candidate, order) => ({
      candidate,
      key: [isBlocked(candidate, now), ...keyOf(candidate, prefer, now), order],
    }))
    .sort((a, b) => compare(a.key, b.key))
    .map(({ candidate }) => candidate)

/** A wait of less than this is not worth another model. */
const SOON_MS = 1_000

const isBlocked = (candidate: Candidate, now: number): number => {
  if (candidate.readyAtMs === null) return 2
  return candidate.readyAtMs > now + SOON_MS ? 1 : 0
}

const keyOf = (candidate: Candidate, prefer: Preference, now: number): number[] => {
  // What fails often costs and takes more than it says.
  const reliability = Math.max(0.01, candidate.successRate)
  const wait = Math.max(0, (candidate.readyAtMs ?? now) - now)
  const price = candidate.priceMicros === null ? Number.POSITIVE_INFINITY : candidate.priceMicros
  switch (prefer) {
    case 'cost':
      return [price, (wait + candidate.durationMs) / reliability]
    case 'speed':
      return [(wait + candidate.durationMs) / reliability, price]
    case 'quality':
      return [-candidate.qualityRank, -reliability, price]
    case null:
      return []
  }
}

const compare = (a: readonly number[], b: readonly number[]): number => {
  for (const [i, left] of a.entries()) {
    const right = b[i] ?? 0
    if (left !== right) return left < right ? -1 : 1
  }
  return 0
}

/** In words, for the job's record. */
export const reasonOf = (prefer: Preference, isFirst: boolean): string => {
  if (prefer === 'cost') return 'cheapest that is available'
  if (prefer === 'speed') return 'fastest that is available'
  if (prefer === 'quality') return 'best that is available'
  return isFirst ? 'first choice' : 'first choice that is available'
}
