import { evictDurableObject } from 'cloudflare:test'
import { beforeEach, expect, test, vi } from 'vitest'
import type { Replay } from '../../../src/contract/dead-letter.ts'
import { exec, ring } from '../support/actor.ts'
import { instanceStub, must, openSite, rowsOf, type Site } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'
import { failJobs } from '../support/letters.ts'

/** Rows that this version cannot read: of a newer one, after a rollback, or damaged. */

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod', { limits: { concurrency: 1 } })
})

test.each([
  ['a type that only a newer version knows', "type = 'image.dream@9'", 'type'],
  ['damaged wishes', `wishes = '{"models":["a lighthouse'`, 'wishes'],
])('a waiting job of %s stops no other, is put off, and fails at its deadline', async (_what, damage, column) => {
  const lines: string[] = []
  vi.spyOn(console, 'error').mockImplementation((line) => void lines.push(String(line)))
  const clock = movableClock()
  provider.hold('generate')
  const first = await site.begin()
  await eventually('the call hangs', () => provider.open.generate === 1)
  const damaged = await site.begin({ deadline_s: 600 })
  const behind = await site.begin()
  await exec(`UPDATE jobs SET ${damage} WHERE id = '${damaged.id}'`)
  provider.release('generate')
  for (const { id } of [first, behind, await site.begin()]) expect((await site.ended(id)).status).toBe('succeeded')

  // A new process meets it too.
  await evictDurableObject(instanceStub('prod'))
  expect((await site.ended((await site.begin()).id)).status).toBe('succeeded')
  expect(await rowsOf('prod', `SELECT status FROM jobs WHERE id = '${damaged.id}'`)).toEqual([{ status: 'queued' }])

  clock.advance(601_000)
  await ring()
  await ring()
  const story = await rowsOf('prod', `SELECT type, data FROM events WHERE job = '${damaged.id}' ORDER BY seq`)
  expect(story.map(({ type }) => type)).toEqual(['job.queued', 'job.failed'])
  expect(JSON.parse(String(story[1]?.['data'])).code).toBe('outcome_unknown')
  const [row] = await rowsOf('prod', `SELECT status, due_at_ms, fault FROM jobs WHERE id = '${damaged.id}'`)
  expect(row).toMatchObject({ status: 'failed', due_at_ms: null, fault: expect.stringContaining('cannot be read') })
  if (column !== 'type')
    expect(await site.job(damaged.id)).toMatchObject({
      status: 'failed',
      error: { code: 'outcome_unknown' },
      cost_usd: 0,
    })
  expect(await rowsOf('prod', 'SELECT max(seq) - count(*) AS gaps FROM events')).toEqual([{ gaps: 0 }])

  // Once per process, and nothing of what stands in it.
  const told = lines.filter((line) => line.includes('job.unreadable')).map((line) => JSON.parse(line))
  const line = { level: 'error', event: 'job.unreadable', instance: 'prod', job: damaged.id, columns: [column] }
  expect(told).toEqual([line, line])
})

test('a job of damaged input fails for itself, and is left out of the list that it would break', async () => {
  provider.hold('generate')
  const first = await site.begin()
  const damaged = await site.begin()
  await exec(`UPDATE jobs SET input = '{"prompt":"a lighthouse' WHERE id = '${damaged.id}'`)
  const behind = await site.begin()
  provider.release('generate')
  for (const { id } of [first, behind]) expect((await site.ended(id)).status).toBe('succeeded')
  expect(await rowsOf('prod', `SELECT status FROM jobs WHERE id = '${damaged.id}'`)).toEqual([{ status: 'failed' }])
  const { status, body } = await site.send<{ data: { id: string }[] }>('GET', '/jobs')
  expect([status, body.data.map(({ id }) => id)]).toEqual([200, [behind.id, first.id]])
})

test('a job whose row can be read again before its deadline runs', async () => {
  const clock = movableClock()
  provider.hold('generate')
  const first = await site.begin()
  const damaged = await site.begin({ deadline_s: 6_000 })
  await exec(`UPDATE jobs SET type = 'image.dream@9' WHERE id = '${damaged.id}'`)
  provider.release('generate')
  await site.ended(first.id)
  await exec(`UPDATE jobs SET type = 'image.generate@1' WHERE id = '${damaged.id}'`)
  clock.advance(600_000)
  await ring()
  expect((await site.ended(damaged.id)).status).toBe('succeeded')
})

test('a running job whose row cannot be read holds up neither its lane nor its provider for longer than its deadline', async () => {
  const clock = movableClock()
  provider.hold('generate')
  const damaged = await site.begin({ deadline_s: 600 })
  await eventually('the call hangs', () => provider.open.generate === 1)
  await exec(`UPDATE jobs SET type = 'image.dream@9' WHERE id = '${damaged.id}'`)
  // The row of a running job is in memory: a new process has to read it.
  await evictDurableObject(instanceStub('prod'))
  const behind = await site.begin({ deadline_s: 6_000 })
  provider.release('generate')
  await eventually('the call has ended', () => provider.open.generate === 0)
  clock.advance(600_001)
  await ring()
  expect((await site.ended(behind.id)).status).toBe('succeeded')
  expect(await rowsOf('prod', `SELECT outcome FROM attempts WHERE job = '${damaged.id}'`)).toEqual([
    { outcome: 'outcome_unknown' },
  ])
})

test('an attempt whose row cannot be read does not keep its job from ending', async () => {
  provider.hold('generate')
  const job = await site.begin()
  await eventually('the call hangs', () => provider.open.generate === 1)
  await exec(`INSERT INTO attempts (job, number, model, credential, reason, started_at_ms, outcome)
    VALUES ('${job.id}', 0, 'ideogram/ideogram-3', 'main', 'x', 0, 'exploded')`)
  provider.release('generate')
  expect((await site.ended(job.id)).status).toBe('succeeded')
})

test('a dead letter of damaged input stays one when all are replayed, and stops no other job', async () => {
  const clock = movableClock()
  const [readable, damaged] = await failJobs(site, provider, 2)
  await exec(`UPDATE jobs SET input = '{"prompt' WHERE id = '${damaged?.id}'`)
  clock.freeze()
  const request = { json: { rate_per_minute: 60 } }
  const { body } = await must(202, site.send<Replay>('POST', '/dead-letters/replay', request))
  // The damaged one is the second, and its turn comes with the next second.
  clock.advance(1_000)
  await ring()
  expect((await site.ended((await site.begin()).id)).status).toBe('succeeded')
  expect((await site.ended(readable?.id ?? '')).status).toBe('succeeded')
  clock.advance(1_000)
  await ring()
  const replay = await site.send<Replay>('GET', `/dead-letters/replays/${body.id}`)
  expect(replay.body).toMatchObject({ status: 'completed', matched: 2, replayed: 1, failed_to_replay: 1 })
})
