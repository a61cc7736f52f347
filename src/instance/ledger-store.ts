import * as v from 'valibot'
import { type Budget, type Entry, type Sums, WINDOWS } from '../core/ledger.ts'

/** All SQL about money: the ledger, spending by day, budgets, projects. */

const micros = v.pipe(v.number(), v.integer())
const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const json = <S extends v.GenericSchema>(schema: S) => v.pipe(v.string(), v.parseJson(), schema)

const sums = {
  settled_micros: micros,
  presumed_micros: micros,
  over_hold_micros: micros,
  unpriced: count,
  attempts: count,
}
const SumsRow = v.pipe(
  v.object(sums),
  v.transform(
    (row): Sums => ({
      settledMicros: row.settled_micros,
      presumedMicros: row.presumed_micros,
      overHoldMicros: row.over_hold_micros,
      unpriced: row.unpriced,
      attempts: row.attempts,
    }),
  ),
)

const BudgetRow = v.object({
  scope: v.string(),
  limit_micros: count,
  time_window: v.picklist(WINDOWS),
  alert_at: json(v.array(v.number())),
  alerted: json(v.record(v.string(), v.array(v.number()))),
})

const ProjectRow = v.object({ name: v.string(), created_at_ms: count })
export type ProjectRow = v.InferOutput<typeof ProjectRow>

/** In the column of the day: the sum over all of them. */
export const ALL_DAYS = 'total'

type Spending = { scope: string; day: string; sums: Sums }

export class LedgerStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  // -------------------------------------------------------------------------------------------------- ledger

  /** Throws where this attempt is in the books already. */
  insert(job: { id: string; attempt: number; project: string | null }, entry: Entry, atMs: number): void {
    this.#sql.exec(
      `INSERT INTO ledger (day, project, job, attempt, kind, settled_micros, presumed_micros, over_hold_micros, unpriced,
         attempts, held_micros, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      entry.day,
      job.project ?? '',
      job.id,
      job.attempt,
      entry.kind,
      entry.settledMicros,
      entry.presumedMicros,
      entry.overHoldMicros,
      entry.unpriced,
      entry.attempts,
      entry.heldMicros,
      atMs,
    )
  }

  /** Sums over the lines by project, null for jobs of none. Reads all of them. */
  sumsByProject(): { project: string | null; sums: Sums }[] {
    const rows = this.#sql.exec(
      `SELECT project, sum(settled) AS settled_micros, sum(presumed) AS presumed_micros, sum(over_hold) AS over_hold_micros,
         sum(unpriced) AS unpriced, sum(attempts) AS attempts
       FROM (SELECT day, project, sum(settled_micros) AS settled, sum(presumed_micros) AS presumed,
               sum(over_hold_micros) AS over_hold, sum(unpriced) AS unpriced, sum(attempts) AS attempts
             FROM ledger GROUP BY day, project)
       GROUP BY project`,
    )
    return rows.toArray().map((row) => ({
      project: v.parse(v.object({ project: v.string() }), row).project || null,
      sums: v.parse(SumsRow, row),
    }))
  }

  // ------------------------------------------------------------------------------------------------ spending

  addSpending(scope: string, day: string, more: Sums): void {
    this.#sql.exec(
      `INSERT INTO spending (scope, day, settled_micros, presumed_micros, over_hold_micros, unpriced, attempts)
       VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (scope, day) DO UPDATE SET settled_micros = settled_micros + excluded.settled_micros,
         presumed_micros = presumed_micros + excluded.presumed_micros,
         over_hold_micros = over_hold_micros + excluded.over_hold_micros,
         unpriced = unpriced + excluded.unpriced, attempts = attempts + excluded.attempts`,
      scope,
      day,
      more.settledMicros,
      more.presumedMicros,
      more.overHoldMicros,
      more.unpriced,
      more.attempts,
    )
  }

  /** Spending of every scope since ever, by day and in all. Reads all of it. */
  spending(): Spending[] {
    return this.#spending('TRUE')
  }

  /** Of the instance and of projects that are declared or have a budget: in all, and of days from this one on. */
  accountSpending(fromDay: string): Spending[] {
    return this.#spending(
      `scope IN (SELECT 'instance' UNION SELECT scope FROM budgets UNION SELECT 'project:' || name FROM projects)
       AND (day >= ? OR day = ?)`,
      fromDay,
      ALL_DAYS,
    )
  }

  spendingOf(scope: string, fromDay: string): Spending[] {
    return this.#spending('scope = ? AND (day >= ? OR day = ?)', scope, fromDay, ALL_DAYS)
  }

  #spending(where: string, ...bindings: string[]): Spending[] {
    const Row = v.object({ scope: v.string(), day: v.string() })
    return this.#sql
      .exec(`SELECT * FROM spending WHERE ${where}`, ...bindings)
      .toArray()
      .map((row) => ({ ...v.parse(Row, row), sums: v.parse(SumsRow, row) }))
  }

  // ------------------------------------------------------------------------------------------------- budgets

  budgets(): Map<string, Budget> {
    const rows = this.#sql.exec('SELECT * FROM budgets ORDER BY scope').toArray()
    return new Map(
      rows.map((raw) => {
        const row = v.parse(BudgetRow, raw)
        const { limit_micros: limitMicros, time_window: window, alert_at: alertAt, alerted } = row
        return [row.scope, { limitMicros, window, alertAt, alerted }]
      }),
    )
  }

  saveBudget(scope: string, budget: Budget): void {
    this.#sql.exec(
      'INSERT OR REPLACE INTO budgets (scope, limit_micros, time_window, alert_at, alerted) VALUES (?, ?, ?, ?, ?)',
      scope,
      budget.limitMicros,
      budget.window,
      JSON.stringify(budget.alertAt),
      JSON.stringify(budget.alerted),
    )
  }

  deleteBudget(scope: string): void {
    this.#sql.exec('DELETE FROM budgets WHERE scope = ?', scope)
  }

  // ------------------------------------------------------------------------------------------------ projects

  projects(): ProjectRow[] {
    return this.#sql
      .exec('SELECT * FROM projects ORDER BY name')
      .toArray()
      .map((row) => v.parse(ProjectRow, row))
  }

  insertProject(project: ProjectRow): void {
    this.#sql.exec('INSERT INTO projects (name, created_at_ms) VALUES (?, ?)', project.name, project.created_at_ms)
  }

  deleteProject(name: string): void {
    this.#sql.exec('DELETE FROM projects WHERE name = ?', name)
  }
}
