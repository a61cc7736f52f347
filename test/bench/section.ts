/** One part of the report. */
export type Section = {
  title: string
  /** The table. */
  text: string
  notes: string[]
  /** The figures of every round, for `--json`. */
  data: Record<string, unknown>
}
