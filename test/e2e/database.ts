import { globSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Reads the product's databases from the outside, where a test must not send it a request. Null: not readable now. */
export const liveJobsOnDisk = (state: string): number | null =>
  countOnDisk(state, 'SELECT count(*) AS live FROM jobs WHERE ended_at_ms IS NULL')

/** Replays by filter that still have something to do. */
export const openReplaysOnDisk = (state: string): number | null =>
  countOnDisk(state, 'SELECT count(*) AS live FROM replays WHERE due_at_ms IS NOT NULL')

const countOnDisk = (state: string, query: string): number | null => {
  for (const file of globSync(join(state, '**/*.sqlite'))) {
    const count = countLive(file, query)
    if (count !== null) return count
  }
  return null
}

const countLive = (file: string, query: string): number | null => {
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    const row = database.prepare(query).get()
    return Number(row?.live)
  } catch {
    return null // another actor's database, or one that is being written
  } finally {
    database.close()
  }
}
