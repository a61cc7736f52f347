import { globSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import type { Job } from '../../src/contract/job.ts'
import { startProvider } from '../bench/provider.ts'
import { liveJobsOnDisk } from './database.ts'
import { afterFile, api, startProduct } from './harness.ts'
import { imageJob, provision, type Ready, until } from './support.ts'

/** Many jobs through one instance that keeps little: the product from outside, its database read beside it. */

const JOBS = 3_000
const IN_PARALLEL = 16

type Counts = Record<'jobs' | 'attempts' | 'events' | 'lines', number>

const counts = (state: string): Counts | null => {
  for (const file of globSync(join(state, '**/*.sqlite'))) {
    const database = new DatabaseSync(file, { readOnly: true })
    try {
      return database
        .prepare(
          `SELECT (SELECT count(*) FROM jobs) AS jobs, (SELECT count(*) FROM attempts) AS attempts,
             (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM ledger WHERE kind <> 'carried') AS lines`,
        )
        .get() as Counts
    } catch {
      // Another actor's, or one that is being written.
    } finally {
      database.close()
    }
  }
  return null
}

const run = async ({ user, base }: Ready, jobs: number, prompt: string): Promise<string[]> => {
  const ids: string[] = []
  let begun = 0
  const one = async (): Promise<void> => {
    while (begun < jobs) {
      begun += 1
      const input = { provider_options: { ideogram: { mode: 'sync' } } }
      ids.push((await user.ask<Job>('POST', `${base}/jobs`, imageJob(prompt, {}, input))).id)
    }
  }
  await Promise.all(Array.from({ length: IN_PARALLEL }, one))
  return ids
}

test('thousands of jobs leave little behind, each can still be read, also after kill -9 in the midst', async () => {
  const provider = await startProvider()
  afterFile(provider.close)
  const first = await startProduct()
  const ready = await provision(first.url, { baseUrl: provider.url, limits: { concurrency: 48 } })
  const aSecond = { jobs_s: 1, events_s: 1, logs_s: 1, ledger_s: 1, artifacts_s: 3_600, archive: true }
  await ready.root.ask('PATCH', ready.base, { config: { retention: aSecond } })
  const ids = await run(ready, JOBS / 2, 'a lighthouse before the crash')
  // In the midst of trimming: attempts that a crash cuts off are another test's.
  await until(
    () => liveJobsOnDisk(first.state),
    (live) => live === 0,
  )
  await first.kill9()
  const product = await startProduct({ state: first.state })
  const again: Ready = { ...ready, root: api(product.url), user: api(product.url, ready.key) }
  ids.push(...(await run(again, JOBS / 2, 'a lighthouse after the crash')))
  // The last event stays, and nothing else.
  const left = await until(
    () => counts(product.state),
    (now) => now !== null && now.jobs === 0 && now.attempts === 0 && now.events === 1 && now.lines === 0,
  )
  expect(left).toEqual({ jobs: 0, attempts: 0, events: 1, lines: 0 })
  const sample = ids.filter((_, i) => i % 50 === 0 || i > ids.length - 10)
  for (const id of sample) {
    const job = await again.user.ask<Job>('GET', `${ready.base}/jobs/${id}`)
    expect(job).toMatchObject({ id, archived: true, status: 'succeeded' })
  }
  const ledger = await again.root.ask<{ difference_usd: number }>('GET', `${ready.base}/ledger`)
  expect(ledger.difference_usd).toBe(0)
}, 240_000)
