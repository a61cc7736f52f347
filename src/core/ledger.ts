import { monthOf } from './calendar.ts'
import type { Hold } from './hold.ts'

/**
 * The books: per scope what was spent on which day and what is held, and whether a budget has room. A scope is `instance` or
 * `project:{name}`; a job counts in the instance and in its project. Spending is kept by day, so a budget may change its
 * window at any time: a month is the sum of its days. Money is integer micros.
 *
 * The state is changed in place: it is a mirror of the rows of ledger and jobs, made anew from them at a restart.
 */
export type Ledger = Map<string, Account>

export type Account = {
  budget: Budget | null
  /** Since ever, and by day. A day that is not there had no spending, or lies too far back to matter to a window. */
  total: Sums
  days: Map<string, Sums>
  /** Held by jobs that wait, and by attempts that began, by the day on which they did. */
  waitingMicros: number
  runningMicros: Map<string, number>
}

export const WINDOWS = ['day', 'month', 'total'] as const
export type Window = (typeof WINDOWS)[number]

export type Budget = {
  limitMicros: number
  window: Window
  /** Shares of the limit at which an alert is told. */
  alertAt: readonly number[]
  /** Shares told, by the window they were told in: each once. */
  alerted: Readonly<Record<string, readonly number[]>>
}

/** `settled` is known cost, `presumed` the estimate of an attempt whose cost nobody knows. */
export type Sums = {
  settledMicros: number
  presumedMicros: number
  /** The part of it that went beyond what was held. */
  overHoldMicros: number
  /** Attempts of unknown price whose cost nobody knows either: they are in no sum. */
  unpriced: number
  attempts: number
}

/** One attempt's line in the ledger. */
export type Entry = Sums & { kind: 'settled' | 'presumed' | 'unpriced'; day: string; heldMicros: number }

/** Why a budget has no room. */
export type Shortage = { scope: string; budget: Budget; spentMicros: number; heldMicros: number }

const INSTANCE = 'instance'

export const scopeOf = (project: string): string => `project:${project}`

/** The scopes that a job counts in; the narrowest first, so that it is the one told where both are short. */
export const scopesOf = (project: string | null): string[] =>
  project === null ? [INSTANCE] : [scopeOf(project), INSTANCE]

export const projectOf = (scope: string): string | null => (scope === INSTANCE ? null : scope.slice('project:'.length))

export const noSums = (): Sums => ({ settledMicros: 0, presumedMicros: 0, overHoldMicros: 0, unpriced: 0, attempts: 0 })

export const addSums = (to: Sums, more: Sums): void => {
  to.settledMicros += more.settledMicros
  to.presumedMicros += more.presumedMicros
  to.overHoldMicros += more.overHoldMicros
  to.unpriced += more.unpriced
  to.attempts += more.attempts
}

export const bookedMicros = (sums: Sums): number => sums.settledMicros + sums.presumedMicros

export const accountOf = (ledger: Ledger, scope: string): Account => {
  const known = ledger.get(scope)
  if (known) return known
  const account: Account = {
    budget: null,
    total: noSums(),
    days: new Map(),
    waitingMicros: 0,
    runningMicros: new Map(),
  }
  ledger.set(scope, account)
  return account
}

/**
 * The line of an attempt that is over, or null where it bought nothing. `estimateMicros` null: its price was not known.
 * An unknown cost is presumed: what the attempt's usage comes to at most, where that is known, else what was held; never zero.
 */
export const entryOf = (
  held: Hold | null,
  estimateMicros: number | null,
  costMicros: number | null,
  today: string,
  presumedMicros: number | null = null,
): Entry | null => {
  const line = { ...noSums(), day: held?.day ?? today, heldMicros: held?.micros ?? 0, attempts: 1 }
  if (costMicros !== null) {
    if (costMicros === 0) return null
    const overHoldMicros = Math.max(0, costMicros - line.heldMicros)
    return { ...line, kind: 'settled', settledMicros: costMicros, overHoldMicros }
  }
  // Without a hold everything that this job bought is in the books already.
  if (held === null) return null
  if (estimateMicros === null) return { ...line, kind: 'unpriced', unpriced: 1 }
  const presumed = presumedMicros ?? held.micros
  return { ...line, kind: 'presumed', presumedMicros: presumed, overHoldMicros: Math.max(0, presumed - held.micros) }
}

/** Releases what was held and holds what is to be; null is nothing. */
export const moveHold = (ledger: Ledger, scopes: readonly string[], from: Hold | null, to: Hold | null): void => {
  for (const scope of scopes) {
    const account = accountOf(ledger, scope)
    if (from) changeHeld(account, from.day, -from.micros)
    if (to) changeHeld(account, to.day, to.micros)
  }
}

export const bookEntry = (ledger: Ledger, scopes: readonly string[], entry: Entry): void => {
  for (const scope of scopes) {
    const account = accountOf(ledger, scope)
    addSums(account.total, entry)
    const day = account.days.get(entry.day) ?? noSums()
    account.days.set(entry.day, day)
    addSums(day, entry)
  }
}

/**
 * The first budget without room for `micros` more, or null. To be asked before a hold is taken: what waits counts too.
 * What costs nothing always has room.
 */
export const shortForHold = (
  ledger: Ledger,
  scopes: readonly string[],
  micros: number,
  today: string,
): Shortage | null =>
  firstShort(ledger, scopes, micros, (account, window) => {
    const { spentMicros, startedMicros } = usedIn(account, window, today)
    return { spentMicros, heldMicros: startedMicros + account.waitingMicros }
  })

/**
 * As above, before an attempt begins: only what is spent and what runs stands in its way, for what waits comes after it. In
 * the usual course of things there is room, since it was held; not after the budget was lowered.
 */
export const shortForStart = (
  ledger: Ledger,
  scopes: readonly string[],
  micros: number,
  today: string,
): Shortage | null =>
  firstShort(ledger, scopes, micros, (account, window) => {
    const { spentMicros, startedMicros } = usedIn(account, window, today)
    return { spentMicros, heldMicros: startedMicros }
  })

/** Spent and held by what has begun, in the window that holds this day. */
export const usedIn = (
  account: Account,
  window: Window,
  today: string,
): { spentMicros: number; startedMicros: number; sums: Sums } => {
  const key = windowKey(window, today)
  const isIn = (day: string): boolean => windowKey(window, day) === key
  const sums = noSums()
  if (window === 'total') addSums(sums, account.total)
  else for (const [day, ofDay] of account.days) if (isIn(day)) addSums(sums, ofDay)
  let startedMicros = 0
  for (const [day, micros] of account.runningMicros) if (isIn(day)) startedMicros += micros
  return { spentMicros: bookedMicros(sums), startedMicros, sums }
}

/** The name of the window of this kind that holds a day. */
export const windowKey = (window: Window, day: string): string => {
  if (window === 'total') return 'total'
  return window === 'day' ? day : monthOf(day)
}

/** Shares of the limit that spending has reached in the window of this day and that were not told in it. */
export const alertsDue = (account: Account, day: string): number[] => {
  const { budget } = account
  if (!budget || budget.alertAt.length === 0) return []
  const { spentMicros } = usedIn(account, budget.window, day)
  const told = budget.alerted[windowKey(budget.window, day)] ?? []
  return budget.alertAt
    .filter(
      (share) => spentMicros > 0 && spentMicros >= Math.round(share * budget.limitMicros) && !told.includes(share),
    )
    .sort((a, b) => a - b)
}

/** Attempts may run over the end of a window, so the one before is remembered too. */
const WINDOWS_REMEMBERED = 3

/** The budget with these alerts noted as told. */
export const withAlerted = (budget: Budget, day: string, shares: readonly number[]): Budget => {
  const key = windowKey(budget.window, day)
  const alerted = { ...budget.alerted, [key]: [...(budget.alerted[key] ?? []), ...shares] }
  const kept = Object.entries(alerted)
    .sort(([a], [b]) => (a < b ? 1 : -1))
    .slice(0, WINDOWS_REMEMBERED)
  return { ...budget, alerted: Object.fromEntries(kept) }
}

const firstShort = (
  ledger: Ledger,
  scopes: readonly string[],
  micros: number,
  usedOf: (account: Account, window: Window) => { spentMicros: number; heldMicros: number },
): Shortage | null => {
  if (micros <= 0) return null
  for (const scope of scopes) {
    const account = ledger.get(scope)
    const budget = account?.budget
    if (!account || !budget) continue
    const used = usedOf(account, budget.window)
    if (used.spentMicros + used.heldMicros + micros > budget.limitMicros) return { scope, budget, ...used }
  }
  return null
}

const changeHeld = (account: Account, day: string | null, micros: number): void => {
  if (day === null) {
    account.waitingMicros += micros
    return
  }
  const left = (account.runningMicros.get(day) ?? 0) + micros
  if (left === 0) account.runningMicros.delete(day)
  else account.runningMicros.set(day, left)
}
