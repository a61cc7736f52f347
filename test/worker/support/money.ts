import { expect } from 'vitest'
import type { BudgetView, LedgerView } from '../../../src/contract/budget.ts'
import { must, type Site } from './client.ts'
import { eventually } from './clock.ts'

/** Budgets and books, as a client with an admin key sees them. */

export const setBudget = async (
  site: Site,
  scope: string,
  limit_usd: number,
  more: object = {},
): Promise<BudgetView> => {
  const json = { limit_usd, window: 'total', ...more }
  return (await must(200, site.send<BudgetView>('PUT', `/budgets/${scope}`, { json }))).body
}

export const budgetOf = async (site: Site, scope: string): Promise<BudgetView> =>
  (await must(200, site.send<BudgetView>('GET', `/budgets/${scope}`))).body

export const ledgerOf = async (site: Site): Promise<LedgerView> =>
  (await must(200, site.send<LedgerView>('GET', '/ledger'))).body

/** The books as they must be when nothing runs or waits. */
export const expectRest = async (site: Site, sums: Partial<LedgerView>): Promise<LedgerView> => {
  // A call that was answered is settled behind its answer.
  const ledger = await eventually('nothing is held', async () => {
    const ledger = await ledgerOf(site)
    return ledger.held_usd === 0 && ledger
  })
  expect(ledger).toMatchObject({ difference_usd: 0, ...sums })
  for (const scope of ledger.scopes) expect(scope).toMatchObject({ held_usd: 0, difference_usd: 0 })
  return ledger
}
