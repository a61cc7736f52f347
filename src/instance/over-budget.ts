import { type Fault, fault } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import { projectOf, type Shortage } from '../core/ledger.ts'

/** The three ways in which a job gets no money, as clients are told. No message holds an amount: those stand in `details`. */

export const priceUnknown = (scope: string): Fault =>
  fault('budget_exceeded', 'The price of this job is not known, and a budget or max_cost_usd bounds it.', {
    ...(scope === 'job' ? { param: 'max_cost_usd' } : {}),
    details: { scope, reason: 'price_unknown' },
  })

export const tooDear = (most: number, spent: number, estimate: number): Fault =>
  fault('budget_exceeded', 'The job would cost more than its max_cost_usd.', {
    param: 'max_cost_usd',
    details: {
      scope: 'job',
      reason: 'limit',
      limit_usd: microsToUsd(most),
      spent_usd: microsToUsd(spent),
      estimate_usd: microsToUsd(estimate),
    },
  })

/** `hidden`: a client of one project is not told what the instance spends. */
export const overBudget = (shortage: Shortage, estimate: number, endMs: number | null, hidden: boolean): Fault => {
  const { scope, budget, spentMicros, heldMicros: held } = shortage
  const project = projectOf(scope)
  const whose = project === null ? 'the instance' : `the project "${project}"`
  return fault('budget_exceeded', `The budget of ${whose} has no room for this job.`, {
    details: {
      scope,
      reason: 'limit',
      window: budget.window,
      ...(hidden
        ? {}
        : {
            limit_usd: microsToUsd(budget.limitMicros),
            spent_usd: microsToUsd(spentMicros),
            held_usd: microsToUsd(held),
          }),
      estimate_usd: microsToUsd(estimate),
      resets_at: endMs === null ? null : new Date(endMs).toISOString(),
    },
  })
}
