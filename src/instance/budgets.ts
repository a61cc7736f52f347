import type { BudgetRequest, BudgetView } from '../contract/budget.ts'
import { ok, type Result, refuse } from '../contract/fault.ts'
import { microsToUsd, usdToMicros } from '../contract/fields.ts'
import { type Budget, usedIn } from '../core/ledger.ts'
import { LIMITS } from '../limits.ts'
import type { Parts } from './parts.ts'
import { isoTimeOrNull } from './views.ts'

/** Budgets as they are set and shown. What changes one runs in a transaction. */

export const listBudgets = (parts: Parts, now: number): BudgetView[] =>
  [...parts.accounts.ledger.keys()].sort().flatMap((scope) => budgetView(parts, scope, now) ?? [])

export const readBudget = (parts: Parts, scope: string, now: number): Result<BudgetView> => {
  const view = budgetView(parts, scope, now)
  return view ? ok(view) : noBudget()
}

export const saveBudget = (parts: Parts, scope: string, request: BudgetRequest, now: number): Result<BudgetView> => {
  if (!parts.accounts.ledger.get(scope)?.budget && budgetCount(parts) >= LIMITS.budgetsPerInstance)
    return refuse('conflict', `An instance holds at most ${LIMITS.budgetsPerInstance} budgets.`)
  parts.accounts.setBudget(scope, budgetOf(request))
  return readBudget(parts, scope, now)
}

export const removeBudget = (parts: Parts, scope: string): Result<null> => {
  if (!parts.accounts.ledger.get(scope)?.budget) return noBudget()
  parts.accounts.setBudget(scope, null)
  return ok(null)
}

export const budgetView = (parts: Parts, scope: string, now: number): BudgetView | null => {
  const { accounts } = parts
  const account = accounts.ledger.get(scope)
  const window = accounts.windowOf(scope, now)
  if (!account?.budget || !window) return null
  const { budget } = account
  const { spentMicros, startedMicros } = usedIn(account, budget.window, accounts.calendar().dayAt(now).key)
  const held = startedMicros + account.waitingMicros
  return {
    scope,
    object: 'budget',
    limit_usd: microsToUsd(budget.limitMicros),
    window: budget.window,
    alert_at: [...budget.alertAt],
    window_start: isoTimeOrNull(window.startMs),
    resets_at: isoTimeOrNull(window.endMs),
    spent_usd: microsToUsd(spentMicros),
    held_usd: microsToUsd(held),
    left_usd: microsToUsd(Math.max(0, budget.limitMicros - spentMicros - held)),
    waiting_jobs: accounts.lines.count(scope),
  }
}

const budgetOf = (request: BudgetRequest): Omit<Budget, 'alerted'> => ({
  limitMicros: usdToMicros(request.limit_usd),
  window: request.window,
  alertAt: request.alert_at ?? [],
})

const budgetCount = (parts: Parts): number =>
  [...parts.accounts.ledger.values()].filter(({ budget }) => budget !== null).length

const noBudget = () => refuse('not_found', 'There is no such budget.')
