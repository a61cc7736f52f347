/** One step of an actor's schema. Additive only: old code may wake on a database that newer code has migrated. */
export type Migration = { id: number; description: string; sql: string }

/**
 * Brings an actor's database up to date: runs the migrations it has not seen, all in one transaction, and records them in
 * the table `migrations`. Synchronous, for constructors. Ids beyond the known ones are another version's and are left
 * alone. `nowMs` is recorded as the time of application. Throws on ids that do not rise and on SQL that fails; then
 * nothing has changed. Gaps are no fault: ids are given out before the work that needs them is done.
 */
export const migrate = (
  sql: SqlStorage,
  storage: DurableObjectStorage,
  migrations: readonly Migration[],
  nowMs: number,
): void => {
  let before = 0
  for (const { id } of migrations) {
    if (id <= before) throw new Error(`migration ${id} stands behind ${before}: ids must rise`)
    before = id
  }
  storage.transactionSync(() => {
    sql.exec(
      'CREATE TABLE IF NOT EXISTS migrations (id INTEGER PRIMARY KEY, description TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT',
    )
    const applied = new Set(
      sql
        .exec<{ id: number }>('SELECT id FROM migrations')
        .toArray()
        .map((row) => row.id),
    )
    for (const { id, description, sql: statements } of migrations) {
      if (applied.has(id)) continue
      sql.exec(statements)
      sql.exec('INSERT INTO migrations (id, description, applied_at) VALUES (?, ?, ?)', id, description, nowMs)
    }
  })
}
