import { expect, test } from 'vitest'
import { liveJobsOnDisk } from './database.ts'
import { api, startEmulator, startProduct } from './harness.ts'
import { allJobs, imageJob, provision, until } from './support.ts'

const promptOf = (i: number): string => {
  if (i < 4) return `slow upload ${i} [[slow:200]] [[slow_image:4000]]`
  if (i < 7) return `slow accept ${i} [[stall:3000]]`
  return `plain ${i}`
}

test('kill -9 with jobs queued, in flight and uploading loses none and pays for none twice', {
  timeout: 180_000,
}, async () => {
  const emulator = await startEmulator({ latencyMs: 1_500, draw: false })
  const first = await startProduct()
  const { base, user, key } = await provision(first.url, { baseUrl: emulator.url, limits: { concurrency: 10 } })
  const prompts = Array.from({ length: 20 }, (_, i) => promptOf(i))
  const submitted = await Promise.all(
    prompts.map((prompt) => user.ask<{ id: string }>('POST', `${base}/jobs`, imageJob(prompt))),
  )
  await until(
    () => emulator.stats(),
    (stats) => stats.downloads >= 4 && stats.inflight >= 3,
  )
  const before = emulator.stats().generations
  await first.kill9()

  const second = await startProduct({ state: first.state })
  // No request is sent: only the alarms can bring the work back. What became of it is read from the disk.
  await until(
    () => liveJobsOnDisk(second.state),
    (live) => live === 0,
    120_000,
  )

  const jobs = await allJobs(api(second.url, key), base)
  expect(jobs.map((job) => job.id).sort()).toEqual(submitted.map((job) => job.id).sort())
  const perPrompt = Map.groupBy(emulator.stats().generations, (generation) => generation.prompt)
  expect([...perPrompt.values()].filter((generations) => generations.length > 1)).toEqual([])
  const received = new Set(before.filter((generation) => generation.responded).map((generation) => generation.prompt))
  const failed = jobs.filter((job) => job.status !== 'succeeded')
  expect(received.size).toBeGreaterThan(4)
  expect(failed.filter((job) => received.has(job.input?.prompt ?? '')).map((job) => job.error)).toEqual([])
  // Those whose answer the crash swallowed: nobody can know whether they were made, so they are not bought again.
  expect(failed.map((job) => job.error?.code)).toEqual(failed.map(() => 'outcome_unknown'))
})

test('kill -9 with hundreds of jobs in flight: it starts again while all that wakes says what became of it', {
  timeout: 180_000,
}, async () => {
  const emulator = await startEmulator({ latencyMs: 3_000, maxInflight: 2_000, draw: false })
  let product = await startProduct()
  const { state } = product
  const { base, key } = await provision(product.url, { baseUrl: emulator.url, limits: { concurrency: 600 } })
  const inFlight = (least: number) =>
    until(
      () => emulator.stats().inflight,
      (now) => now >= least,
    )
  for (const round of [1, 2]) {
    const user = api(product.url, key)
    await Promise.all(
      Array.from({ length: 300 }, (_, i) => user.ask('POST', `${base}/jobs`, imageJob(`round ${round}, picture ${i}`))),
    )
    await inFlight(200)
    await product.kill9()
    product = await startProduct({ state })
  }
  await until(
    () => liveJobsOnDisk(state),
    (live) => live === 0,
    120_000,
  )
  const jobs = await allJobs(api(product.url, key), base)
  expect(jobs).toHaveLength(600)
  expect(jobs.filter(({ error }) => error && error.code !== 'outcome_unknown')).toEqual([])
})
