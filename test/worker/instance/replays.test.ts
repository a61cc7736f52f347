import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Replay } from '../../../src/contract/dead-letter.ts'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, must, openSite, rowsOf, type Site, withKey } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { failJobs, idsOf } from '../support/letters.ts'

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const order = async (json: Record<string, unknown> = {}, through = site): Promise<Replay> =>
  (await must(202, through.send<Replay>('POST', '/dead-letters/replay', { json }))).body
const read = async (id: string): Promise<Replay> =>
  (await must(200, site.send<Replay>('GET', `/dead-letters/replays/${id}`))).body
const completed = (id: string): Promise<Replay> =>
  eventually('the replay completes', async () => {
    const replay = await read(id)
    return replay.status === 'completed' && replay
  })
const ring = () => runDurableObjectAlarm(instanceStub('prod'))
const replayedJobs = async (): Promise<Record<string, number>> =>
  Object.fromEntries(
    (await rowsOf('prod', "SELECT job, count(*) AS n FROM events WHERE type = 'job.replayed' GROUP BY job")).map(
      ({ job, n }) => [String(job), Number(n)],
    ),
  )
const onceEach = (jobs: readonly { id: string }[]) => Object.fromEntries(jobs.map(({ id }) => [id, 1]))

describe('a replay by filter', () => {
  test('runs every dead letter that matches again, once, and tells how far it is', async () => {
    const failed = await failJobs(site, provider, 4, { project: 'a' })
    const [other] = await failJobs(site, provider, 1, { project: 'b' })
    const answer = await site.send<Replay>('POST', '/dead-letters/replay', { json: { project: 'a' } })
    expect([answer.status, answer.headers.get('location')]).toEqual([202, answer.body.urls.get])
    expect(answer.body).toMatchObject({
      object: 'replay',
      project: 'a',
      filter: { project: 'a' },
      rate_per_minute: 600,
      matched: 4,
      failed_to_replay: 0,
    })
    const replay = await completed(answer.body.id)
    expect(replay).toMatchObject({ matched: 4, replayed: 4, failed_to_replay: 0, ended_at: expect.any(String) })
    for (const { id } of failed) expect((await site.ended(id)).status).toBe('succeeded')
    expect(await replayedJobs()).toEqual(onceEach(failed))
    expect(await idsOf(site)).toEqual([other?.id])
  })

  test('goes at the rate it was ordered with, however often the actor wakes', async () => {
    const clock = movableClock()
    const failed = await failJobs(site, provider, 4)
    clock.freeze()
    const { id } = await order({ rate_per_minute: 2 })
    const told: number[] = []
    for (let step = 0; step < 12; step += 1) {
      for (let times = 0; times < 3; times += 1) await ring()
      told.push((await read(id)).replayed)
      clock.advance(10_000)
    }
    expect(told).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4])
    expect(await replayedJobs()).toEqual(onceEach(failed))
  })

  test('takes the oldest failure first', async () => {
    const clock = movableClock()
    const failed = await failJobs(site, provider, 3)
    clock.freeze()
    await order({ rate_per_minute: 1 })
    expect(await replayedJobs()).toEqual(onceEach(failed.slice(0, 1)))
  })

  test('leaves alone what fails after it was ordered, its own jobs included', async () => {
    const clock = movableClock()
    const failed = await failJobs(site, provider, 2)
    clock.freeze()
    provider.next.generate.push(failing(400), failing(400))
    const { id } = await order({ rate_per_minute: 6_000 })
    for (const job of failed) expect((await site.ended(job.id)).status).toBe('failed')
    for (let times = 0; times < 5; times += 1) {
      await ring()
      clock.advance(1_000)
    }
    expect(await read(id)).toMatchObject({ status: 'completed', matched: 2, replayed: 2 })
    expect(await replayedJobs()).toEqual(onceEach(failed))
    expect(await idsOf(site)).toHaveLength(2)
  })

  test.each([
    ['evicted', () => evictDurableObject(instanceStub('prod'))],
    ['killed', () => abortAllDurableObjects()],
  ])('goes on where it was when the actor is %s in the middle', async (_name, interrupt) => {
    const clock = movableClock()
    const failed = await failJobs(site, provider, 6)
    clock.freeze()
    const { id } = await order({ rate_per_minute: 60 })
    for (let step = 0; step < 8; step += 1) {
      await interrupt()
      await ring()
      expect((await read(id)).replayed).toBe(Math.min(6, step + 1))
      clock.advance(1_000)
    }
    await ring()
    expect(await read(id)).toMatchObject({ status: 'completed', matched: 6, replayed: 6 })
    expect(await replayedJobs()).toEqual(onceEach(failed))
  })

  test('waits while the queue is full and loses none', async () => {
    const clock = movableClock()
    const failed = await failJobs(site, provider, 3)
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    await site.send('PATCH', '', { json: { config: { queue_bound: 1 } } })
    provider.hold('generate')
    const running = await site.begin()
    clock.freeze()
    const { id } = await order({ rate_per_minute: 6_000 })
    expect(await read(id)).toMatchObject({ status: 'running', matched: 3, replayed: 1, failed_to_replay: 0 })
    clock.advance(1_000)
    await ring()
    expect((await read(id)).replayed).toBe(1)
    provider.release('generate')
    await site.ended(running.id)
    await eventually('all are through', async () => {
      clock.advance(1_000)
      await ring()
      return (await read(id)).status === 'completed'
    })
    expect(await replayedJobs()).toEqual(onceEach(failed))
  })

  test('counts what no provider can take, and leaves it a dead letter', async () => {
    const failed = await failJobs(site, provider, 2)
    await site.send('PUT', '/providers/ideogram', { json: { enabled: false } })
    const replay = await completed((await order()).id)
    expect(replay).toMatchObject({ matched: 2, replayed: 0, failed_to_replay: 2 })
    expect((await idsOf(site)).sort()).toEqual(failed.map(({ id }) => id).sort())
    expect(await replayedJobs()).toEqual({})
  })

  test('passes over what was replayed or discarded meanwhile', async () => {
    const clock = movableClock()
    const [first, second, third, fourth] = await failJobs(site, provider, 4)
    clock.freeze()
    const { id } = await order({ rate_per_minute: 60 })
    await site.send('POST', `/jobs/${second?.id}/replay`)
    await site.send('DELETE', `/dead-letters/${third?.id}`)
    for (let step = 0; step < 4; step += 1) {
      clock.advance(1_000)
      await ring()
    }
    expect(await read(id)).toMatchObject({ status: 'completed', matched: 4, replayed: 2 })
    expect(await replayedJobs()).toEqual(onceEach([first, second, fourth].flatMap((job) => job ?? [])))
  })

  test('beside another of the same jobs replays each of them once between them', async () => {
    const clock = movableClock()
    const failed = await failJobs(site, provider, 6)
    clock.freeze()
    const orders = await Promise.all([order({ rate_per_minute: 60 }), order({ rate_per_minute: 120 })])
    for (let step = 0; step < 12; step += 1) {
      clock.advance(1_000)
      await ring()
    }
    const done = await Promise.all(orders.map(({ id }) => read(id)))
    expect(done.map(({ status }) => status)).toEqual(['completed', 'completed'])
    expect(done.reduce((sum, { replayed }) => sum + replayed, 0)).toBe(6)
    expect(await replayedJobs()).toEqual(onceEach(failed))
  })

  test('is remembered among the last thousand that have ended', async () => {
    await runInDurableObject(instanceStub('prod'), (_instance, { storage }) => {
      storage.sql.exec(
        `INSERT INTO replays WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
         SELECT printf('replay_%026d', i), NULL, 'completed', '{}', 60, 0, '', 0, '', 0, 1, 0, 0, 'req', i, i, NULL FROM n`,
        LIMITS.replaysKept + 1,
      )
    })
    const oldest = `replay_${String(1).padStart(26, '0')}`
    expect((await read(oldest)).status).toBe('completed')
    await order({ code: 'canceled' })
    expect((await site.send('GET', `/dead-letters/replays/${oldest}`)).status).toBe(404)
    const kept = await rowsOf('prod', 'SELECT count(*) AS n FROM replays')
    expect(kept[0]?.['n']).toBe(LIMITS.replaysKept + 1)
  })

  test('that is canceled stops, and says so again', async () => {
    const clock = movableClock()
    const failed = await failJobs(site, provider, 3)
    clock.freeze()
    const { id } = await order({ rate_per_minute: 60 })
    for (let times = 0; times < 2; times += 1) {
      const answer = await site.send<Replay>('POST', `/dead-letters/replays/${id}/cancel`)
      expect([answer.status, answer.body.status, answer.body.replayed]).toEqual([200, 'canceled', 1])
    }
    clock.advance(10_000)
    await ring()
    expect(await replayedJobs()).toEqual(onceEach(failed.slice(0, 1)))
    const done = await order({ rate_per_minute: 6_000 })
    clock.advance(1_000)
    await ring()
    expect((await read(done.id)).status).toBe('completed')
    expect((await site.send('POST', `/dead-letters/replays/${done.id}/cancel`)).status).toBe(409)
  })

  test('with nothing to replay completes at once', async () => {
    expect(await order({ code: 'canceled' })).toMatchObject({ status: 'completed', matched: 0, replayed: 0 })
  })

  test('belongs to the project of its key, and is seen by no other', async () => {
    const [own] = await failJobs(site, provider, 1, { project: 'own' })
    await failJobs(site, provider, 1, { project: 'other' })
    const key = async (project: string) =>
      withKey(site, (await site.makeKey({ name: project, role: 'user', project })).key)
    const replay = await order({}, await key('own'))
    expect(replay).toMatchObject({ project: 'own', matched: 1 })
    await completed(replay.id)
    expect(await replayedJobs()).toEqual(onceEach([own].flatMap((job) => job ?? [])))
    const whole = await order()
    const stranger = await key('other')
    for (const id of [replay.id, whole.id]) {
      expect((await stranger.send('GET', `/dead-letters/replays/${id}`)).status).toBe(404)
      expect((await stranger.send('POST', `/dead-letters/replays/${id}/cancel`)).status).toBe(404)
    }
    const list = async (through: Site) =>
      (await through.send<{ data: Replay[] }>('GET', '/dead-letters/replays')).body.data.map(({ id }) => id)
    expect(await list(stranger)).toEqual([])
    expect((await list(site)).sort()).toEqual([replay.id, whole.id].sort())
  })

  test('is one of at most ten at work', async () => {
    const clock = movableClock()
    await failJobs(site, provider, 12)
    clock.freeze()
    for (let i = 0; i < 10; i += 1) expect((await order({ rate_per_minute: 1 })).status).toBe('running')
    const one = await site.send('POST', '/dead-letters/replay', { json: {} })
    expect([one.status, one.body.error.code]).toEqual([429, 'rate_limited'])
    expect(await idsOf(site)).toHaveLength(2)
  })
})
