import { expect, test } from 'vitest'
import { startEmulator, startProduct } from './harness.ts'
import { allJobs, imageJob, isOver, provision, until } from './support.ts'

test('200 jobs at once behind a limit of 10 all end, the provider never sees an eleventh, and no slot idles', {
  timeout: 120_000,
}, async () => {
  const emulator = await startEmulator({ latencyMs: 200, maxInflight: 10, draw: false })
  const product = await startProduct()
  const { base, user } = await provision(product.url, { baseUrl: emulator.url, limits: { concurrency: 10 } })
  const startedAt = Date.now()
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) => user.call('POST', `${base}/jobs`, imageJob(`job ${i}`))),
  )
  expect(answers.map((answer) => answer.status)).toEqual(Array(200).fill(202))

  const jobs = await until(
    () => allJobs(user, base),
    (all) => all.length === 200 && all.every(isOver),
    100_000,
  )
  console.log(`200 jobs: ${Date.now() - startedAt} ms`)

  expect(jobs.filter((job) => job.status !== 'succeeded').map((job) => job.error)).toEqual([])
  const stats = emulator.stats()
  expect(stats.accepted).toBe(200)
  expect(stats.maxInflight).toBe(10)
  expect(stats.rejectedInflight).toBe(0)
  // Nobody waited for nothing: while jobs were waiting, a slot that fell free was given away at once.
  expect(
    idleSlotSeconds(
      jobs.map((job) => [Date.parse(job.started_at ?? ''), Date.parse(job.ended_at ?? '')]),
      10,
    ),
  ).toBeLessThan(0.05)
})

/** Share of the time, from the first start to the last, in which fewer than `slots` jobs ran. */
const idleSlotSeconds = (runs: number[][], slots: number): number => {
  const moments = runs.flatMap(([start = 0, end = 0]) => [
    { at: start, by: 1 },
    { at: end, by: -1 },
  ])
  moments.sort((a, b) => a.at - b.at || b.by - a.by)
  const lastStart = Math.max(...runs.map(([start = 0]) => start))
  let running = 0
  let idle = 0
  let before = moments[0]?.at ?? 0
  const first = before
  for (const { at, by } of moments) {
    const until = Math.min(at, lastStart)
    if (running < slots && until > before) idle += ((slots - running) / slots) * (until - before)
    running += by
    before = Math.max(before, until)
  }
  return idle / Math.max(1, lastStart - first)
}
