import * as v from 'valibot'

/**
 * Rows that cannot be read: written by a newer version, or damaged. One of them must not stop the others, so it is left out
 * where many are read, and noted here until the scheduler has set it aside.
 */
export class Unreadable {
  readonly #met = new Map<string, string[]>()
  readonly #known = new Set<string>()

  /** The rows that can be read; of the others the id and the columns at fault are noted. */
  readable<S extends v.GenericSchema>(schema: S, rows: Record<string, SqlStorageValue>[]): v.InferOutput<S>[] {
    return rows.flatMap((row) => {
      const parsed = v.safeParse(schema, row)
      if (parsed.success) return [parsed.output]
      const columns = parsed.issues.map((issue) => String(issue.path?.[0]?.key ?? '?'))
      this.#met.set(String(row['id'] ?? ''), [...new Set(columns)])
      return []
    })
  }

  /** What was met since the last call. `isNew` is true once per process and job. */
  take(): { id: string; columns: string[]; isNew: boolean }[] {
    const met = [...this.#met].map(([id, columns]) => ({ id, columns, isNew: !this.#known.has(id) }))
    this.#met.clear()
    if (this.#known.size > KNOWN) this.#known.clear()
    for (const { id } of met) this.#known.add(id)
    return met
  }
}

/** Ids remembered so as to be logged once. */
const KNOWN = 10_000

const jsonWhere = (holds: (value: unknown) => boolean) =>
  v.pipe(
    v.string(),
    v.check((text) => {
      try {
        return holds(JSON.parse(text))
      } catch {
        return false
      }
    }),
  )

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/** What the scheduler reads out of a job's JSON columns. Costly, so only looked at after a turn has failed. */
export const JSON_COLUMNS = {
  /** Null for a call on the line, whose words pass the Worker only. */
  input: jsonWhere((value) => value === null || isRecord(value)),
  metadata: jsonWhere(isRecord),
  wishes: jsonWhere(
    (value) => isRecord(value) && Array.isArray(value['models']) && typeof value['maxAttempts'] === 'number',
  ),
  fault: v.nullable(jsonWhere((value) => isRecord(value) && typeof value['code'] === 'string')),
}
