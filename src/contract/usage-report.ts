import * as v from 'valibot'

/** What an instance has used, by time and by who used it. */

export const INTERVALS = ['hour', 'day'] as const
export type Interval = (typeof INTERVALS)[number]

export const USAGE_GROUPS = ['provider', 'model', 'project'] as const
export type UsageGroup = (typeof USAGE_GROUPS)[number]

/** What is asked for, checked but for what depends on the clock. Times are ms since the epoch. */
export type UsageQuery = {
  fromMs: number | null
  toMs: number | null
  interval: Interval
  groupBy: UsageGroup[]
  project: string | null
}

/** Within one per cent; null where nothing was measured. */
const Quantiles = v.object({ p50: v.nullable(v.number()), p95: v.nullable(v.number()) })

const UsageSums = v.object({
  jobs: v.object({ succeeded: v.number(), failed: v.number(), canceled: v.number() }),
  attempts: v.number(),
  /** Attempts that did not end well, by code. */
  errors: v.record(v.string(), v.number()),
  images: v.number(),
  tokens: v.record(v.string(), v.number()),
  /** Of the attempts whose cost is known. */
  cost_usd: v.number(),
  unknown_cost_attempts: v.number(),
  /** Of jobs that succeeded: from when they could start to their end. */
  latency_ms: Quantiles,
  /** Of jobs that were begun: from when they could start to their first attempt. */
  queue_ms: Quantiles,
  /** Of attempts that ended well. */
  provider_ms: Quantiles,
})
export type UsageSums = v.InferOutput<typeof UsageSums>

const UsageBucket = v.object({
  start: v.string(),
  provider: v.optional(v.string()),
  model: v.optional(v.string()),
  project: v.optional(v.nullable(v.string())),
  ...UsageSums.entries,
})
export type UsageBucket = v.InferOutput<typeof UsageBucket>

export const UsageReport = v.object({
  object: v.literal('usage'),
  from: v.string(),
  to: v.string(),
  interval: v.picklist(INTERVALS),
  /** Whose midnights begin the days. */
  time_zone: v.string(),
  data: v.array(UsageBucket),
  total: UsageSums,
})
export type UsageReport = v.InferOutput<typeof UsageReport>
