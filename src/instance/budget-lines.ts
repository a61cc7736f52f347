import { earliest } from '../core/alarm.ts'
import { LIMITS } from '../limits.ts'
import type { Accounts } from './accounts.ts'
import type { JobRow } from './job-rows.ts'
import type { JobStore } from './job-store.ts'
import type { Transitions } from './transitions.ts'

/** Jobs that wait for one budget. */
type Line = {
  count: number
  /** None of them needs less. */
  leastMicros: number
  /** Behind whom to go on looking for jobs that have room again; null where there is no reason to look. */
  cursor: string | null
  /** Looks even where the room seems too small: the budget or its window has changed. */
  forced: boolean
  /** The least need met on this walk along the line, and whether room was made behind it. */
  leastSeen: number
  again: boolean
  windowKey: string
}

/** The lines of jobs without room in a budget, as far as memory knows them: the jobs themselves stand in the database. */
export class BudgetLines {
  readonly #lines = new Map<string, Line>()

  reload(lines: readonly { scope: string; count: number; leastMicros: number }[]): void {
    this.#lines.clear()
    for (const { scope, count, leastMicros } of lines) this.#lines.set(scope, { ...newLine(), count, leastMicros })
  }

  count(scope: string): number {
    return this.#lines.get(scope)?.count ?? 0
  }

  /** A job leaves one line and enters another; null is none. */
  move(from: string | null, to: string | null, needMicros: number): void {
    if (from === to) return
    const left = from === null ? undefined : this.#lines.get(from)
    if (left && from !== null) {
      left.count -= 1
      if (left.count <= 0) this.#lines.delete(from)
    }
    if (to === null) return
    const line = this.#lines.get(to) ?? { ...newLine(), cursor: null, leastMicros: needMicros }
    this.#lines.set(to, line)
    line.count += 1
    line.leastMicros = Math.min(line.leastMicros, needMicros)
    line.leastSeen = Math.min(line.leastSeen, needMicros)
  }

  /** There may be room again in these budgets. */
  stir(scopes: readonly string[], forced = false): void {
    for (const scope of scopes) {
      const line = this.#lines.get(scope)
      if (!line) continue
      // A walk under way goes on to the end: where room is made all the time, those far behind would never be asked.
      if (line.cursor !== null && !forced) line.again = true
      else line.cursor = ''
      if (line.cursor === '') line.leastSeen = Number.POSITIVE_INFINITY
      line.forced ||= forced
    }
  }

  /**
   * Lets jobs on whose budgets have room again, in bounded steps: at the turn of a window, after a release, after a change of
   * the budget. The oldest are asked first; one that does not fit does not hold up those behind it. Returns now where there is
   * more to look at.
   */
  wake(accounts: Accounts, jobs: JobStore, transitions: Transitions, now: number): number | null {
    let wakeAt: number | null = null
    for (const [scope, line] of [...this.#lines]) {
      const window = accounts.windowOf(scope, now)
      if ((window?.key ?? '') !== line.windowKey) {
        line.windowKey = window?.key ?? ''
        this.stir([scope], true)
      }
      if (line.cursor === null) continue
      if (!line.forced && accounts.roomIn(scope, now) < line.leastMicros) {
        line.cursor = null
        line.again = false
        continue
      }
      const rows = jobs.overBudget(scope, line.cursor, LIMITS.budgetLooksPerTurn)
      for (const row of rows) if (!this.#letOn(row, accounts, transitions, now)) note(line, row)
      if (rows.length === LIMITS.budgetLooksPerTurn) {
        line.cursor = rows.at(-1)?.id ?? null
        wakeAt = now
      } else {
        line.leastMicros = line.leastSeen
        line.forced = false
        line.cursor = line.again ? '' : null
        line.leastSeen = Number.POSITIVE_INFINITY
        if (line.again) wakeAt = now
        line.again = false
      }
    }
    return wakeAt
  }

  /** When the first window ends for which somebody waits; null where none does. Asked last in a turn, which may make lines. */
  nextWindow(accounts: Accounts, now: number): number | null {
    return earliest(...[...this.#lines.keys()].map((scope) => accounts.windowOf(scope, now)?.endMs ?? null))
  }

  /** False where the job stays in its line. */
  #letOn(row: JobRow, accounts: Accounts, transitions: Transitions, now: number): boolean {
    const refusal = accounts.mayHold(row, row.model, now)
    if (refusal && (refusal.waitsFor === null || refusal.waitsFor === row.budget_scope)) return false
    // Into the queue, or into the line of the other budget that has no room.
    transitions.apply(row, { type: 'due' })
    return true
  }
}

const newLine = (): Line => ({
  count: 0,
  leastMicros: 0,
  cursor: '',
  forced: true,
  leastSeen: Number.POSITIVE_INFINITY,
  again: false,
  windowKey: '-',
})

const note = (line: Line, row: JobRow): void => {
  line.leastSeen = Math.min(line.leastSeen, row.estimate_micros ?? 0)
}
