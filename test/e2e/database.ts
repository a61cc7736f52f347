import { globSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Reads the product's databases from the outside, where a test must not send it a request. */
export const liveJobsOnDisk = (state: string): number | null => {
  for (const file of globSync(join(state, '**/*.sqlite'))) {
    const count = countLive(file)
    if (count !== null) return count
  }
  return null
}

const countLive = (file: string): number | null => {
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    const row = database.prepare('SELECT count(*) AS live FROM jobs WHERE ended_at_ms IS NULL').get()
    return Number(row?.live)
  } catch {
    return null // another actor's database, or one that is being written
  } finally {
    database.close()
  }
}
