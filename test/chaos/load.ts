import type { Job } from '../../src/contract/job.ts'
import type { Call, Made } from './accounting.ts'

/** How much stood before a provider at once, and in a minute. */

type Span = { from: number; to: number }

/**
 * A generation goes on at its provider after its attempt was canceled, given up or lost: those are orphans, and no limit
 * of ours can hold them. Counted at every acceptance: `owned`, which must keep to the limit, and all.
 */
export const inFlight = (
  made: readonly Made[],
  owners: ReadonlyMap<string, Call>,
): { owned: number; all: number; orphans: number } => {
  const spans = made.map((item) => ({
    from: item.at,
    to: item.endedAt ?? Number.POSITIVE_INFINITY,
    attempts: (owners.get(item.id)?.attempts ?? []).map(spanOf),
  }))
  const peak = { owned: 0, all: 0, orphans: 0 }
  for (const { from: now } of spans) {
    const running = spans.filter(({ from, to }) => from <= now && now < to)
    const owned = running.filter(({ attempts }) => attempts.some(({ from, to }) => from <= now && now < to)).length
    peak.owned = Math.max(peak.owned, owned)
    peak.all = Math.max(peak.all, running.length)
    peak.orphans = Math.max(peak.orphans, running.length - owned)
  }
  return peak
}

/** Most attempts of a provider that were open at the same time, by the product's own record. */
export const openAttempts = (jobs: readonly Job[], provider: string): number => {
  const moments = jobs
    .flatMap((job) => job.attempts)
    .filter(({ model }) => model.startsWith(`${provider}/`))
    .map(spanOf)
    .flatMap(({ from, to }) => [
      { at: from, by: 1 },
      { at: to, by: -1 },
    ])
    // A slot that falls free is given away in the same millisecond.
    .sort((a, b) => a.at - b.at || a.by - b.by)
  let open = 0
  return moments.reduce((most, { by }) => {
    open += by
    return Math.max(most, open)
  }, 0)
}

/** Most of these moments in any window of that length. */
export const mostWithin = (moments: readonly number[], windowMs: number): number => {
  const sorted = [...moments].sort((a, b) => a - b)
  let first = 0
  let most = 0
  for (const [index, at] of sorted.entries()) {
    while ((sorted[first] ?? at) <= at - windowMs) first += 1
    most = Math.max(most, index - first + 1)
  }
  return most
}

const spanOf = (attempt: { started_at: string; ended_at: string | null }): Span => ({
  from: Date.parse(attempt.started_at),
  to: attempt.ended_at === null ? Number.POSITIVE_INFINITY : Date.parse(attempt.ended_at),
})
