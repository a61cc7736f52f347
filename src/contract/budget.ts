import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { integer, Name, strictObject, usdToMicros } from './fields.ts'

/** Budgets, projects and the ledger. */

const WINDOWS = ['day', 'month', 'total'] as const

const Limit = v.pipe(
  v.number('must be a number'),
  v.finite('must be a number'),
  v.minValue(0, 'must not be negative'),
  v.maxValue(LIMITS.budgetUsd, `must be at most ${LIMITS.budgetUsd}`),
  v.check((usd) => usdToMicros(usd) / 1_000_000 === usd, 'must have at most six decimals'),
)

const Share = v.pipe(
  v.number('must be a number'),
  v.finite('must be a number'),
  v.minValue(0.01, 'must be at least 0.01'),
  v.maxValue(10, 'must be at most 10'),
)

export const BudgetRequest = strictObject({
  limit_usd: Limit,
  /** By the calendar of the instance's time zone. */
  window: v.picklist(WINDOWS, `must be one of ${WINDOWS.join(', ')}`),
  /** Shares of the limit; an event tells of each once in a window, when spending has reached it. */
  alert_at: v.optional(
    v.pipe(
      v.array(Share),
      v.maxLength(LIMITS.alertsPerBudget, `must name at most ${LIMITS.alertsPerBudget} shares`),
      v.check((shares) => new Set(shares).size === shares.length, 'must name each share once'),
    ),
  ),
})
export type BudgetRequest = v.InferOutput<typeof BudgetRequest>

export const BudgetView = v.object({
  /** `instance` or `project:{name}`. */
  scope: v.string(),
  object: v.literal('budget'),
  limit_usd: v.number(),
  window: v.picklist(WINDOWS),
  alert_at: v.array(v.number()),
  /** Where the window is a day or a month: when it began, and when the next begins. */
  window_start: v.nullable(v.string()),
  resets_at: v.nullable(v.string()),
  /** Booked in this window, presumed costs included. */
  spent_usd: v.number(),
  held_usd: v.number(),
  left_usd: v.number(),
  /** Jobs that wait for room in this budget. */
  waiting_jobs: v.number(),
})
export type BudgetView = v.InferOutput<typeof BudgetView>

/** What becomes of a job over budget, and of one whose price nobody knows where money is bounded. */
export const BudgetPolicy = strictObject({
  over: v.optional(v.picklist(['refuse', 'wait'], 'must be refuse or wait')),
  unknown_price: v.optional(v.picklist(['refuse', 'allow'], 'must be refuse or allow')),
})

const weight = v.optional(integer(1, LIMITS.projectWeightMax))

export const ProjectRequest = strictObject({ name: Name, weight, budget: v.optional(v.nullable(BudgetRequest)) })
export type ProjectRequest = v.InferOutput<typeof ProjectRequest>

export const ProjectPatch = strictObject({ weight, budget: v.optional(v.nullable(BudgetRequest)) })
export type ProjectPatch = v.InferOutput<typeof ProjectPatch>

export const ProjectView = v.object({
  name: v.string(),
  object: v.literal('project'),
  weight: v.number(),
  budget: v.nullable(BudgetView),
  /** Since ever. */
  spent_usd: v.number(),
  held_usd: v.number(),
  created_at: v.string(),
})
export type ProjectView = v.InferOutput<typeof ProjectView>

const sums = {
  /** Known costs, and estimates of attempts whose cost nobody knows: sums over the rows of the ledger. */
  settled_usd: v.number(),
  presumed_usd: v.number(),
  /** The part of the settled costs that went beyond what was held for them. */
  over_hold_usd: v.number(),
  attempts: v.number(),
  /** Attempts of unknown price and unknown cost: in no sum. */
  unpriced_attempts: v.number(),
  /** Sum over the rows of the jobs that have not ended. */
  held_usd: v.number(),
  /** What the counters say that admission decides by: spent and held together. */
  counters_usd: v.number(),
  /** Rows against counters in memory and on disk, each sum by itself, deviations added up. 0 or the books are wrong. */
  difference_usd: v.number(),
}

export const LedgerView = v.object({
  object: v.literal('ledger'),
  at: v.string(),
  time_zone: v.string(),
  ...sums,
  scopes: v.array(v.object({ scope: v.string(), ...sums, budget: v.nullable(BudgetView) })),
  /** True where there are more scopes than are listed; the sums above are over all. */
  truncated: v.boolean(),
})
export type LedgerView = v.InferOutput<typeof LedgerView>
