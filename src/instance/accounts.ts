import type { Fault, Result } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import type { InstanceConfig } from '../contract/instance.ts'
import { type Calendar, createCalendar, type Day, monthOf } from '../core/calendar.ts'
import { outputLimitOf } from '../core/call-bound.ts'
import { followHold, grownHold, type Hold, type Stage } from '../core/hold.ts'
import {
  type Account,
  accountOf,
  addSums,
  alertsDue,
  type Budget,
  bookEntry,
  bookedMicros,
  entryOf,
  type Ledger,
  moveHold,
  noSums,
  projectOf,
  type Sums,
  scopeOf,
  scopesOf,
  shortForHold,
  shortForStart,
  usedIn,
  windowKey,
  withAlerted,
} from '../core/ledger.ts'
import type { Ambient } from './ambient.ts'
import { BudgetLines } from './budget-lines.ts'
import type { JobRow, MoneyOfRow, NewJob } from './job-rows.ts'
import type { JobStore } from './job-store.ts'
import { ALL_DAYS, type LedgerStore } from './ledger-store.ts'
import { overBudget, priceUnknown, tooDear } from './over-budget.ts'
import { wishesOf } from './wishes.ts'

/** Why a job gets no money; `waitsFor` is the budget for which it may wait, as the instance is configured. */
export type Refusal = { fault: Fault; waitsFor: string | null }

/** A budget's spending has reached a share of its limit. */
export type Alert = { scope: string; data: { [key: string]: string | number | null } }

type Sources = { store: LedgerStore; jobs: JobStore; config: () => InstanceConfig; ambient: Ambient }

/** What a job's next attempt needs, and what its client allows. */
type Need = { project: string | null; estimateMicros: number | null; spentMicros: number; maxCostMicros: number | null }

/**
 * The instance's money: a mirror in memory of what is spent and held, and what it says to a job. Counters are written once
 * per transaction, by `flush`; lines of the ledger at once. Every method runs inside the caller's transaction.
 */
export class Accounts {
  /**
   * The instance, its declared projects and those with a budget: a bounded number. Others are labels, which a client may make
   * up with every job: nothing is decided by what they spent, which stands in the database alone.
   */
  readonly ledger: Ledger = new Map()
  /** Jobs that wait for their budget. */
  readonly lines = new BudgetLines()
  readonly #from: Sources
  #calendar: Calendar = createCalendar('UTC')
  /** Days before this one are not in memory. */
  #loadedFrom = ''
  /** Scopes of declared projects. */
  #declared = new Set<string>()
  /** Spending not yet written, by scope and day. */
  readonly #unwritten = new Map<string, Map<string, Sums>>()

  constructor(from: Sources) {
    this.#from = from
  }

  reload(): void {
    const { store, jobs, ambient } = this.#from
    const now = ambient.now()
    this.ledger.clear()
    this.#unwritten.clear()
    this.#loadedFrom = `${monthOf(this.calendar().dayAt(now - TWO_MONTHS_BACK_MS).key)}-01`
    this.#declared = new Set(store.projects().map(({ name }) => scopeOf(name)))
    for (const scope of [...scopesOf(null), ...this.#declared]) accountOf(this.ledger, scope)
    for (const [scope, budget] of store.budgets()) accountOf(this.ledger, scope).budget = budget
    for (const { scope, day, sums } of store.accountSpending(this.#loadedFrom))
      placeSums(accountOf(this.ledger, scope), day, sums)
    for (const { project, day, micros } of jobs.census.accountHolds())
      moveHold(this.ledger, scopesOf(project), null, { micros, day })
    this.lines.reload(jobs.census.budgetLines())
  }

  calendar(): Calendar {
    const zone = this.#from.config().time_zone ?? 'UTC'
    if (zone !== this.#calendar.zone) this.#calendar = createCalendar(zone)
    return this.#calendar
  }

  /** The window of a budget that is open now; `endMs` is null where it never ends. Null without a budget. */
  windowOf(scope: string, now: number): { key: string; startMs: number | null; endMs: number | null } | null {
    const window = this.ledger.get(scope)?.budget?.window
    if (window === undefined) return null
    const calendar = this.calendar()
    const day = calendar.dayAt(now)
    const key = windowKey(window, day.key)
    if (window === 'total') return { key, startMs: null, endMs: null }
    if (window === 'day') return { key, startMs: day.startMs, endMs: day.endMs }
    return { key, startMs: calendar.monthStartAt(now), endMs: calendar.monthEndAt(now) }
  }

  /** What a new hold may take of a budget; infinite without one. */
  roomIn(scope: string, now: number): number {
    const today = this.#today(now).key
    const account = this.ledger.get(scope)
    if (!account?.budget) return Number.POSITIVE_INFINITY
    const { spentMicros, startedMicros } = usedIn(account, account.budget.window, today)
    return account.budget.limitMicros - spentMicros - startedMicros - account.waitingMicros
  }

  // ------------------------------------------------------------------------------------------------- admission

  /** Holds a new job's estimated cost. One that is over budget is refused or, where it may, waits without a hold. */
  admit(job: NewJob, ofProject: boolean, now: number, mayWait = true): Result<MoneyOfRow> {
    const estimate = estimateOf(job, job.model)
    const refusal = this.#refusal(needOf(job, estimate, 0), shortForHold, now, ofProject)
    const money = { ...NO_MONEY, estimate_micros: estimate }
    if (!refusal) {
      const held = { micros: estimate ?? 0, day: null }
      moveHold(this.ledger, this.#accountsOf(job.project), null, held)
      return { ok: true, value: { ...money, held_micros: held.micros } }
    }
    const { waitsFor } = refusal
    // One that costs more than the whole budget would wait in vain.
    const limit = waitsFor === null ? null : this.ledger.get(waitsFor)?.budget?.limitMicros
    if (!mayWait || waitsFor === null || (estimate ?? 0) > (limit ?? 0)) return { ok: false, fault: refusal.fault }
    // What is not due yet asks again when it is.
    const waits = job.status === 'queued' ? waitsFor : null
    this.lines.move(null, waits, estimate ?? 0)
    return { ok: true, value: { ...money, budget_scope: waits } }
  }

  /** A job that was admitted is not taken in after all. */
  giveBack(project: string | null, money: MoneyOfRow): void {
    this.lines.move(money.budget_scope, null, money.estimate_micros ?? 0)
    if (money.held_micros === null) return
    moveHold(this.ledger, this.#accountsOf(project), { micros: money.held_micros, day: money.held_day }, null)
  }

  /**
   * What a step of the job does to its money: books what an attempt bought, releases, and holds anew. `refusal` says that
   * there was no room for the next attempt: then nothing is held.
   */
  follow(
    row: JobRow,
    after: Stage,
    costMicros: number | null,
    now: number,
    presumedMicros: number | null = null,
  ): { money: MoneyOfRow; refusal: Refusal | null } {
    const held = heldOf(row)
    const today = this.#today(now).key
    const scopes = this.#accountsOf(row.project)
    const { closes, hold } = followHold({ ...row, held }, after, costMicros)
    // Whoever gives up a call leaves an answer that had begun at most: not all that was kept free for it.
    const begun = held && after.status === 'canceled' ? Math.min(held.micros, row.estimate_micros ?? held.micros) : null
    const presumed = presumedMicros ?? begun
    const entry = closes && entryOf(held, row.estimate_micros, closes.costMicros, today, presumed)
    let next: Hold | null = hold === 'same' ? held : null
    let estimate = row.estimate_micros
    if (hold === 'new' || (hold === 'begins' && held === null && after.resume === null)) {
      estimate = estimateOf(row, after.model)
      if (hold === 'begins') next = { micros: this.#grown(row, estimate ?? 0, now), day: today }
    } else if (hold === 'begins' && held) next = { micros: this.#grown(row, held.micros, now), day: today }
    if (entry) {
      bookEntry(this.ledger, scopes, entry)
      this.#note(scopesOf(row.project), entry.day, entry)
      this.#from.store.insert(row, entry, now)
    }
    moveHold(this.ledger, scopes, held, next)
    const spent = row.spent_micros + (entry ? bookedMicros(entry) : 0)
    let refusal: Refusal | null = null
    if (hold === 'new') {
      refusal = this.#refusal(needOf(row, estimate, spent), shortForHold, now, row.project !== null)
      next = refusal ? null : { micros: estimate ?? 0, day: null }
      moveHold(this.ledger, scopes, null, next)
    }
    if (held && (held.micros > (next?.micros ?? 0) || entry)) this.lines.stir(scopes)
    const money = {
      estimate_micros: estimate,
      held_micros: next?.micros ?? null,
      held_day: next?.day ?? null,
      spent_micros: spent,
      budget_scope: null,
    }
    return { money, refusal }
  }

  /** Whether an attempt may begin on what is held for it; null where it may. */
  mayStart(row: JobRow, now: number): Refusal | null {
    const held = heldOf(row)
    if (held ? held.day !== null : row.resume !== null) return null
    const estimate = held ? (row.estimate_micros === null ? null : held.micros) : estimateOf(row, row.model)
    return this.#refusal(needOf(row, estimate, row.spent_micros), shortForStart, now, row.project !== null)
  }

  /**
   * Tokens that each choice may have at most of the attempt that a job begins or has begun, so that it costs no more than is
   * held for it; null where nothing bounds what it costs, or all that it could is held.
   */
  outputLimit(row: JobRow, now: number): number | null {
    const { holds, prices, maxCostMicros } = wishesOf(row)
    const [hold, price] = [holds?.[row.model], prices?.[row.model]]
    if (!hold || !price) return null
    const isBound = maxCostMicros !== null || scopesOf(row.project).some((scope) => this.ledger.get(scope)?.budget)
    if (!isBound) return null
    const held = heldOf(row) ?? { micros: hold.micros, day: null }
    return outputLimitOf(price, hold, held.day === null ? this.#grown(row, held.micros, now) : held.micros)
  }

  /** What a job holds for the attempt that it begins, in the place of what it has held. */
  #grown(row: JobRow, heldMicros: number, now: number): number {
    const hold = wishesOf(row).holds?.[row.model]
    if (!hold || hold.mostMicros <= heldMicros) return heldMicros
    const ofRow = row.held_micros ?? 0
    const room = Math.min(...scopesOf(row.project).map((scope) => this.roomIn(scope, now))) + ofRow
    const { maxCostMicros } = wishesOf(row)
    const own = maxCostMicros === null ? Number.POSITIVE_INFINITY : maxCostMicros - row.spent_micros
    return grownHold(heldMicros, hold.mostMicros, room, own)
  }

  /** Whether a job that waits could be held for, on this model, in the place of what it holds now. */
  mayHold(row: JobRow, model: string, now: number): Refusal | null {
    const held = heldOf(row)
    this.#today(now)
    const scopes = this.#accountsOf(row.project)
    moveHold(this.ledger, scopes, held, null)
    const need = needOf(row, estimateOf(row, model), row.spent_micros)
    const refusal = this.#refusal(need, shortForHold, now, row.project !== null)
    moveHold(this.ledger, scopes, null, held)
    return refusal
  }

  /** Gives up what a waiting job holds, so that it stands in the line of a budget. */
  setAside(row: JobRow, scope: string): MoneyOfRow {
    moveHold(this.ledger, this.#accountsOf(row.project), heldOf(row), null)
    this.lines.stir(scopesOf(row.project))
    return { ...moneyOf(row), held_micros: null, held_day: null, budget_scope: scope }
  }

  // --------------------------------------------------------------------------------------------------- budgets

  setBudget(scope: string, budget: Omit<Budget, 'alerted'> | null): void {
    const today = this.#today(this.#from.ambient.now()).key
    const account = this.#open(scope)
    account.budget = budget && { ...budget, alerted: account.budget?.alerted ?? {} }
    if (account.budget) this.#from.store.saveBudget(scope, account.budget)
    else this.#from.store.deleteBudget(scope)
    this.#letGo(scope)
    this.lines.stir([scope], true)
    // Looked at by the next flush: what is spent may be past a threshold of the new budget.
    this.#note([scope], today, noSums())
  }

  /** A project is declared from now on. */
  declare(name: string): void {
    this.#open(scopeOf(name))
    this.#declared.add(scopeOf(name))
  }

  undeclare(name: string): void {
    this.#declared.delete(scopeOf(name))
    this.#letGo(scopeOf(name))
  }

  #accountsOf(project: string | null): string[] {
    return scopesOf(project).filter((scope) => this.ledger.has(scope))
  }

  /** The account of a scope; one that is new is made of what the database has of it. */
  #open(scope: string): Account {
    const known = this.ledger.get(scope)
    if (known) return known
    const { store, jobs } = this.#from
    const account = accountOf(this.ledger, scope)
    this.#writeCounters()
    for (const days of this.#unwritten.values()) for (const key of days.keys()) days.set(key, noSums())
    for (const { day, sums } of store.spendingOf(scope, this.#loadedFrom)) placeSums(account, day, sums)
    const project = projectOf(scope)
    for (const { day, micros } of project === null ? [] : jobs.census.holdsOf(project))
      moveHold(this.ledger, [scope], null, { micros, day })
    return account
  }

  #letGo(scope: string): void {
    if (projectOf(scope) === null || this.#declared.has(scope) || this.ledger.get(scope)?.budget) return
    this.ledger.delete(scope)
  }

  /** Writes the counters that this transaction moved, each once; tells the alerts that they reached. */
  flush(): Alert[] {
    this.#writeCounters()
    const touched = [...this.#unwritten].flatMap(([scope, days]) => [...days.keys()].map((day) => ({ scope, day })))
    this.#unwritten.clear()
    return touched.flatMap(({ scope, day }) => this.#alert(scope, day))
  }

  #writeCounters(): void {
    const { store } = this.#from
    for (const [scope, days] of this.#unwritten) {
      const total = noSums()
      for (const [day, sums] of days) {
        if (sums.attempts > 0) store.addSpending(scope, day, sums)
        addSums(total, sums)
      }
      if (total.attempts > 0) store.addSpending(scope, ALL_DAYS, total)
    }
  }

  #alert(scope: string, day: string): Alert[] {
    const account = this.ledger.get(scope)
    const due = account ? alertsDue(account, day) : []
    const budget = account?.budget
    if (!account || !budget || due.length === 0) return []
    account.budget = withAlerted(budget, day, due)
    this.#from.store.saveBudget(scope, account.budget)
    const { spentMicros } = usedIn(account, budget.window, day)
    const startMs = this.#startOf(budget, day)
    return due.map((threshold) => ({
      scope,
      data: {
        scope,
        window: budget.window,
        threshold,
        spent_usd: microsToUsd(spentMicros),
        limit_usd: microsToUsd(budget.limitMicros),
        window_start: startMs === null ? null : new Date(startMs).toISOString(),
      },
    }))
  }

  /** When the window that holds this day began. */
  #startOf({ window }: Budget, day: string): number | null {
    if (window === 'total') return null
    return this.calendar().startOf(window === 'day' ? day : `${monthOf(day)}-01`)
  }

  /** Reads older days where the clock or the time zone went back to a month that is not in memory. */
  #today(now: number): Day {
    const day = this.calendar().dayAt(now)
    if (`${monthOf(day.key)}-01` >= this.#loadedFrom) return day
    this.#writeCounters()
    const touched = [...this.#unwritten]
    this.reload()
    for (const [scope, days] of touched) for (const key of days.keys()) this.#note([scope], key, noSums())
    return day
  }

  #note(scopes: readonly string[], day: string, more: Sums): void {
    for (const scope of scopes) {
      const days = this.#unwritten.get(scope) ?? new Map<string, Sums>()
      this.#unwritten.set(scope, days)
      const sums = days.get(day) ?? noSums()
      days.set(day, sums)
      addSums(sums, more)
    }
  }

  /** `ofProject`: whoever reads the refusal, at once or in the record of a job, may be a client of one project. */
  #refusal(need: Need, short: typeof shortForHold, now: number, ofProject: boolean): Refusal | null {
    const { budget: policy } = this.#from.config()
    const { estimateMicros: estimate, spentMicros: spent, maxCostMicros: most } = need
    const scopes = scopesOf(need.project)
    if (estimate === null) {
      const bound = most === null ? scopes.find((scope) => this.ledger.get(scope)?.budget) : 'job'
      return bound === undefined || policy?.unknown_price === 'allow'
        ? null
        : { fault: priceUnknown(bound), waitsFor: null }
    }
    if (most !== null && spent + estimate > most) return { fault: tooDear(most, spent, estimate), waitsFor: null }
    const shortage = short(this.ledger, scopes, estimate, this.#today(now).key)
    if (!shortage) return null
    const endMs = this.windowOf(shortage.scope, now)?.endMs ?? null
    const hidden = ofProject && projectOf(shortage.scope) === null
    return {
      fault: overBudget(shortage, estimate, endMs, hidden),
      waitsFor: policy?.over === 'wait' ? shortage.scope : null,
    }
  }
}

/** A month and the one before it, with days to spare. */
const TWO_MONTHS_BACK_MS = 35 * 24 * 60 * 60 * 1000

/** By the price that the job was judged by when it was taken in. */
const estimateOf = (job: Pick<JobRow, 'wishes'>, model: string): number | null => {
  const { holds, prices } = wishesOf(job)
  return holds?.[model]?.micros ?? prices?.[model]?.estimated_micros ?? null
}

const needOf = (job: Pick<JobRow, 'project' | 'wishes'>, estimateMicros: number | null, spentMicros: number): Need => ({
  project: job.project,
  estimateMicros,
  spentMicros,
  maxCostMicros: wishesOf(job).maxCostMicros,
})

export const NO_MONEY: MoneyOfRow = {
  estimate_micros: null,
  held_micros: null,
  held_day: null,
  spent_micros: 0,
  budget_scope: null,
}

const placeSums = (account: Account, day: string, sums: Sums): void => {
  if (day === ALL_DAYS) account.total = sums
  else account.days.set(day, sums)
}

const heldOf = (row: JobRow): Hold | null =>
  row.held_micros === null ? null : { micros: row.held_micros, day: row.held_day }

const moneyOf = (row: JobRow): MoneyOfRow => ({
  estimate_micros: row.estimate_micros,
  held_micros: row.held_micros,
  held_day: row.held_day,
  spent_micros: row.spent_micros,
  budget_scope: row.budget_scope,
})

export const heldMicros = (account: Account): number =>
  [...account.runningMicros.values()].reduce((sum, micros) => sum + micros, account.waitingMicros)
