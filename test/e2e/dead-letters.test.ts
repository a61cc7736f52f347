import { expect, test } from 'vitest'
import type { Batch } from '../../src/contract/batch.ts'
import type { Replay } from '../../src/contract/dead-letter.ts'
import { liveJobsOnDisk, openReplaysOnDisk } from './database.ts'
import { api, startEmulator, startProduct } from './harness.ts'
import { imageJob, provision, until } from './support.ts'

const COUNT = 14

test('kill -9 in the middle of a replay by filter: it goes on by itself, and replays each job of a batch once', {
  timeout: 180_000,
}, async () => {
  const emulator = await startEmulator({ latencyMs: 100, draw: false })
  const first = await startProduct()
  const { base, user, key } = await provision(first.url, { baseUrl: emulator.url, limits: { concurrency: 10 } })
  const jobs = Array.from({ length: COUNT }, (_, i) => imageJob(`refused at first ${i} [[fail_once:400]]`))
  const { id } = await user.ask<Batch>('POST', `${base}/batches`, { jobs })
  const failed = await until(
    () => user.ask<Batch>('GET', `${base}/batches/${id}`),
    (batch) => batch.ended_at !== null,
  )
  expect(failed).toMatchObject({ status: 'failed', counts: { failed: COUNT }, cost_usd: 0 })
  const order = await user.ask<Replay>('POST', `${base}/dead-letters/replay`, { rate_per_minute: 120 })
  expect(order.matched).toBe(COUNT)
  await until(
    () => user.ask<Replay>('GET', `${base}/dead-letters/replays/${order.id}`),
    (replay) => replay.replayed >= 4,
  )
  await first.kill9()

  const second = await startProduct({ state: first.state })
  // No request is sent: only the alarms can go on with the order and its jobs.
  await until(
    () => [openReplaysOnDisk(second.state), liveJobsOnDisk(second.state)],
    (left) => left.every((count) => count === 0),
    120_000,
  )

  const again = api(second.url, key)
  const replay = await again.ask<Replay>('GET', `${base}/dead-letters/replays/${order.id}`)
  expect(replay).toMatchObject({ status: 'completed', matched: COUNT, replayed: COUNT, failed_to_replay: 0 })
  const story = await again.subscribe(`${base}/events?after=0`)
  const batch = await again.ask<Batch>('GET', `${base}/batches/${id}`)
  await story.until((event) => event.type === 'job.succeeded')
  await until(
    () => story.events.filter(({ type }) => type === 'job.replayed'),
    (events) => events.length >= COUNT,
  )
  const replayed = story.events.filter(({ type }) => type === 'job.replayed').map(({ job }) => job)
  expect(replayed.sort()).toEqual([...batch.jobs].sort())
  expect(story.events.filter(({ type }) => type === 'batch.completed')).toHaveLength(1)
  await story.close()
  // An attempt whose answer the crash swallowed may have failed again; nothing was bought twice, and the batch counts right.
  expect(batch.ended_at).toBe(failed.ended_at)
  expect(batch.counts.succeeded + batch.counts.failed).toBe(COUNT)
  expect(batch.counts.succeeded).toBeGreaterThanOrEqual(COUNT - 4)
  const perPrompt = Map.groupBy(emulator.stats().generations, (generation) => generation.prompt)
  expect([...perPrompt.values()].filter((generations) => generations.length > 1)).toEqual([])
})
