import * as v from 'valibot'

/**
 * All SQL that folds old lines of the ledger into one of kind `carried` per day and project. Lines are added to what was
 * carried before and deleted in the same transaction, so sums, and with them the proof of the books, stay.
 */

const Group = v.object({ day: v.string(), project: v.string() })
/** A day and a project; empty for jobs of none. */
export type Group = v.InferOutput<typeof Group>

const Line = v.object({ job: v.string(), attempt: v.number(), at_ms: v.number() })

/** What was folded of one group, and what of it is left that was looked at. */
export type Folded = { folded: number; left: number; reached: string | null }

/** Lines `day`, `project`, job behind ?3 up to ?4, not younger than ?5. The carried line is of no job, and so is left out. */
const OLD = "day = ?1 AND project = ?2 AND job > ?3 AND job <= ?4 AND at_ms <= ?5 AND job <> ''"

export class FoldStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  /** The first group behind this one, or the first of a day where only that is given. */
  groupBehind(after: Group | null, fromDay: string): Group | null {
    const [row] =
      after === null
        ? this.#sql.exec('SELECT day, project FROM ledger WHERE day >= ? ORDER BY day, project LIMIT 1', fromDay)
        : this.#sql.exec(
            'SELECT day, project FROM ledger WHERE (day, project) > (?, ?) ORDER BY day, project LIMIT 1',
            after.day,
            after.project,
          )
    return row ? v.parse(Group, row) : null
  }

  /** Folds what is old among the first `limit` lines behind `after` whose job's id is below `before`. */
  fold({ day, project }: Group, after: string, before: string, cutoffMs: number, limit: number): Folded {
    const lines = this.#sql
      .exec(
        `SELECT job, attempt, at_ms FROM ledger WHERE day = ? AND project = ? AND job > ? AND job < ? AND job <> ''
         ORDER BY job, attempt LIMIT ?`,
        day,
        project,
        after,
        before,
        limit,
      )
      .toArray()
      .map((row) => v.parse(Line, row))
    const last = lines.at(-1)
    if (!last) return { folded: 0, left: 0, reached: null }
    // The last job may have lines behind the limit: all of them are taken, which are few.
    const where = [day, project, after, last.job, cutoffMs]
    const old = lines.filter((line) => line.at_ms <= cutoffMs).length
    if (old > 0) {
      this.#sql.exec(
        `INSERT INTO ledger (day, project, job, attempt, kind, settled_micros, presumed_micros, over_hold_micros, unpriced,
           attempts, held_micros, at_ms)
         SELECT day, project, '', 0, 'carried', sum(settled_micros), sum(presumed_micros), sum(over_hold_micros),
           sum(unpriced), sum(attempts), sum(held_micros), max(at_ms) FROM ledger WHERE ${OLD} GROUP BY day, project
         ON CONFLICT (day, project, job, attempt) DO UPDATE SET settled_micros = settled_micros + excluded.settled_micros,
           presumed_micros = presumed_micros + excluded.presumed_micros,
           over_hold_micros = over_hold_micros + excluded.over_hold_micros, unpriced = unpriced + excluded.unpriced,
           attempts = attempts + excluded.attempts, held_micros = held_micros + excluded.held_micros,
           at_ms = max(at_ms, excluded.at_ms)`,
        ...where,
      )
      this.#sql.exec(`DELETE FROM ledger WHERE ${OLD}`, ...where)
    }
    return { folded: old, left: lines.length - old, reached: lines.length === limit ? last.job : null }
  }

  /** Whether this day and project have a line of a job. */
  hasLines({ day, project }: Group): boolean {
    const found = this.#sql.exec(
      "SELECT 1 FROM ledger WHERE day = ? AND project = ? AND job > '' LIMIT 1",
      day,
      project,
    )
    return found.toArray().length > 0
  }
}
