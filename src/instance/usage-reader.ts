import { ok, type Result, refuse } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import { providerIdOf } from '../contract/ids.ts'
import type { Interval, UsageBucket, UsageGroup, UsageQuery, UsageReport, UsageSums } from '../contract/usage-report.ts'
import { dayEnd, dayStart, hourStart } from '../core/hours.ts'
import { quantile, type Sketch } from '../core/sketch.ts'
import { emptyTally, mergeTally, type Tally } from '../core/tally.ts'
import { LIMITS } from '../limits.ts'
import type { Principal } from './access.ts'
import type { Parts } from './parts.ts'
import { zoneOf } from './usage.ts'
import type { UsageKey, UsageRange, UsageRow } from './usage-store.ts'
import { isoTime } from './views.ts'

/** Usage as clients read it. */

const DAY_MS = 24 * 60 * 60 * 1000
/** What is told where `from` is not given. */
const SPAN_MS: Record<Interval, number> = { hour: DAY_MS, day: 30 * DAY_MS }
const LONGEST_MS: Record<Interval, number> = { hour: LIMITS.usageHoursSpanMs, day: LIMITS.usageDaysSpanMs }

/** A key of one project sees that project's use only. Buckets are whole: the first is the one in which `from` lies. */
export const readUsage = (parts: Parts, principal: Principal, query: UsageQuery, now: number): Result<UsageReport> => {
  const { interval } = query
  const zone = zoneOf(parts.identity.config)
  const toMs = query.toMs ?? now + 1
  const askedFromMs = query.fromMs ?? toMs - SPAN_MS[interval]
  if (askedFromMs >= toMs) return refuse('invalid_request', 'from must be before to.', { param: 'from' })
  if (toMs - askedFromMs > LONGEST_MS[interval]) {
    const days = LONGEST_MS[interval] / DAY_MS
    return refuse('invalid_request', `At most ${days} days can be told by the ${interval}.`, { param: 'from' })
  }
  const fromMs = interval === 'hour' ? hourStart(askedFromMs) : dayStart(askedFromMs, zone)
  const range = { fromMs, beforeMs: toMs, project: principal.project ?? query.project }
  const isForeign = principal.project !== null && query.project !== null && query.project !== principal.project
  const rows = isForeign ? [] : interval === 'hour' ? readHours(parts, range) : readDays(parts, range, zone)
  if (rows.length > LIMITS.usageRowsRead) {
    const message = `This is more than ${LIMITS.usageRowsRead} rows of usage: ask for less time, for days, or for one project.`
    return refuse('invalid_request', message, { param: 'from' })
  }
  return ok({
    object: 'usage',
    from: isoTime(fromMs),
    to: isoTime(toMs),
    interval,
    time_zone: interval === 'hour' ? 'UTC' : zone,
    ...addUp(rows, query.groupBy),
  })
}

const readHours = ({ usage }: Parts, range: UsageRange): UsageRow[] =>
  usage.read('usage_hours', range, LIMITS.usageRowsRead + 1)

/** Days as far as hours were added to them, and the hours that were not yet. */
const readDays = ({ usage }: Parts, range: UsageRange, zone: string): UsageRow[] => {
  const limit = LIMITS.usageRowsRead + 1
  const folded = usage.folded()
  const fromMs = Math.max(range.fromMs, folded?.startMs ?? range.fromMs)
  // To the end of the last day: buckets are whole, and hours of later days have no part in the bound.
  const beforeMs = dayEnd(range.beforeMs - 1, zone)
  const hours = usage.read('usage_hours', { ...range, fromMs, beforeMs }, limit)
  if (hours.length === limit) return hours
  const late = hours
    .filter((row) => folded === null || isBehind(row, folded))
    .map((row) => ({ ...row, startMs: dayStart(row.startMs, zone) }))
    .filter(({ startMs }) => startMs >= range.fromMs)
  return [...usage.read('usage_days', range, limit), ...late]
}

/** In the order in which hours are added to their days. Names are ASCII: text compares here as it does in the database. */
const isBehind = (row: UsageKey, place: UsageKey): boolean => {
  if (row.startMs !== place.startMs) return row.startMs > place.startMs
  return row.project === place.project ? row.model > place.model : row.project > place.project
}

const addUp = (rows: readonly UsageRow[], groupBy: readonly UsageGroup[]): Pick<UsageReport, 'data' | 'total'> => {
  const total = emptyTally()
  const buckets = new Map<string, { labels: Pick<UsageBucket, 'start' | UsageGroup>; tally: Tally }>()
  for (const row of rows) {
    const labels = labelsOf(row, groupBy)
    const name = JSON.stringify(labels)
    const bucket = buckets.get(name) ?? { labels, tally: emptyTally() }
    buckets.set(name, bucket)
    mergeTally(bucket.tally, row.tally)
    mergeTally(total, row.tally)
  }
  // By time, then by the labels as text.
  const sorted = [...buckets].sort(([a], [b]) => (a < b ? -1 : 1))
  return { data: sorted.map(([, { labels, tally }]) => ({ ...labels, ...sumsOf(tally) })), total: sumsOf(total) }
}

const labelsOf = (row: UsageRow, groupBy: readonly UsageGroup[]): Pick<UsageBucket, 'start' | UsageGroup> => ({
  start: isoTime(row.startMs),
  ...(groupBy.includes('provider') ? { provider: providerIdOf(row.model) } : {}),
  ...(groupBy.includes('model') ? { model: row.model } : {}),
  ...(groupBy.includes('project') ? { project: row.project === '' ? null : row.project } : {}),
})

const sumsOf = (tally: Tally): UsageSums => ({
  jobs: { succeeded: tally.succeeded, failed: tally.failed, canceled: tally.canceled },
  attempts: tally.attempts,
  errors: Object.fromEntries(tally.errors),
  images: tally.images,
  tokens: Object.fromEntries(tally.tokens),
  cost_usd: microsToUsd(tally.costMicros),
  unknown_cost_attempts: tally.unknownCosts,
  latency_ms: quantilesOf(tally.totalMs),
  queue_ms: quantilesOf(tally.queueMs),
  provider_ms: quantilesOf(tally.providerMs),
})

const quantilesOf = (sketch: Sketch): UsageSums['latency_ms'] => ({
  p50: rounded(quantile(sketch, 0.5)),
  p95: rounded(quantile(sketch, 0.95)),
})

const rounded = (ms: number | null): number | null => (ms === null ? null : Math.round(ms))
