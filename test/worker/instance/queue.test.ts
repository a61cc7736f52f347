import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Job } from '../../../src/contract/job.ts'
import { intervalOf } from '../../../src/core/token-bucket.ts'
import { instanceStub, jobRequest, must, openSite, rowsOf, type Site, SYNC } from '../support/client.ts'
import { eventually, movableClock, pause } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'

const LIMIT = 'instance:prod:provider:ideogram'

let provider: FakeIdeogram
beforeEach(() => {
  provider = fakeIdeogram()
})

const named = (prompt: string, more: Record<string, unknown> = {}) => ({ input: { prompt, ...SYNC }, ...more })
const ring = () => runDurableObjectAlarm(instanceStub('prod'))
const running = async () => (await rowsOf('prod', "SELECT id FROM jobs WHERE status = 'running'")).length
const idle = () => eventually('nothing runs', async () => (await running()) === 0)
const allEnded = (site: Site, jobs: Job[]) => Promise.all(jobs.map(({ id }) => site.ended(id)))

describe('order', () => {
  test('is by priority, then by age', async () => {
    const site = await openSite('prod', { limits: { concurrency: 1 } })
    provider.hold('generate')
    const jobs = [await site.begin(named('first'))]
    for (const [prompt, priority] of [
      ['low', 0],
      ['middle', 5],
      ['high', 9],
      ['middle too', 5],
    ] as const) {
      jobs.push(await site.begin(named(prompt, { priority })))
    }
    provider.release('generate')
    await allEnded(site, jobs)
    expect(provider.accepted.map(({ prompt }) => prompt)).toEqual(['first', 'high', 'middle', 'middle too', 'low'])
  })

  test('ages: nine minutes of waiting outweigh nine steps of priority', async () => {
    const clock = movableClock()
    const site = await openSite('prod', { limits: { concurrency: 1 } })
    provider.hold('generate')
    const more = { deadline_s: 3600 }
    const jobs = [
      await site.begin(named('first', more)),
      await site.begin(named('old and low', { priority: 0, ...more })),
    ]
    clock.advance(8 * 60_000)
    jobs.push(await site.begin(named('eight minutes later', { priority: 9, ...more })))
    clock.advance(60_000 + 1_000)
    jobs.push(await site.begin(named('nine minutes later', { priority: 9, ...more })))
    provider.release('generate')
    await allEnded(site, jobs)
    expect(provider.accepted.map(({ prompt }) => prompt)).toEqual([
      'first',
      'eight minutes later',
      'old and low',
      'nine minutes later',
    ])
  })

  test('is not turned round by the age of jobs whose own model has no room: bulk work of another model stays behind', async () => {
    const clock = movableClock()
    const site = await openSite('prod', { limits: { concurrency: 2 } })
    const models = { 'ideogram-3': { limits: { concurrency: 1 } } }
    await must(200, site.send('PUT', '/providers/ideogram', { json: { models } }))
    const [full, free] = [{ models: ['ideogram/ideogram-3'] }, { models: ['ideogram/ideogram-4'] }]
    const [hangs, gate] = [{ open: false }, { open: false }]
    const until = (of: { open: boolean }) => async (url: URL) => {
      while (!of.open) await pause(2)
      return failing(400)(url)
    }
    const more = { deadline_s: 3600, max_attempts: 1 }
    provider.next.generate.push(until(hangs))
    await site.begin(named('holds its model', { ...more, ...full }))
    await eventually('it hangs', () => provider.open.generate === 1)
    provider.next.generate.push(until(gate))
    await site.begin(named('holds the other place', { ...more, ...free }))
    await eventually('both hang', () => provider.open.generate === 2)
    for (let i = 0; i < 3; i += 1) await site.begin(named('old', { ...more, ...full, priority: 0, project: 'a' }))
    clock.advance(8 * 60_000)
    const jobs = [
      await site.begin(named('bulk', { ...more, ...free, priority: 0, project: 'b' })),
      await site.begin(named('usual', { ...more, ...free, project: 'b' })),
    ]
    gate.open = true
    await allEnded(site, jobs)
    expect(provider.accepted.map(({ prompt }) => prompt)).toEqual(['usual', 'bulk'])
    hangs.open = true
  })

  test('does not punish a project for what it has canceled: its next job takes its turn as if those had never come', async () => {
    const site = await openSite('prod', { limits: { concurrency: 1 } })
    provider.hold('generate')
    const jobs = [await site.begin(named('first', { project: 'other' }))]
    const json = { project: 'mistaken', jobs: Array.from({ length: 20 }, () => jobRequest(named('mistake'))) }
    const batch = await must(202, site.send<{ id: string }>('POST', '/batches', { json }))
    for (let i = 0; i < 6; i += 1) jobs.push(await site.begin(named(`other ${i}`, { project: 'other' })))
    await must(200, site.send('POST', `/batches/${batch.body.id}/cancel`))
    jobs.push(await site.begin(named('mended', { project: 'mistaken' })))
    provider.release('generate')
    await allEnded(site, jobs)
    expect(provider.accepted.map(({ prompt }) => prompt).indexOf('mended')).toBeLessThanOrEqual(2)
  })

  test('is shown: place, what is waited for, and the name of the limit', async () => {
    const site = await openSite('prod', { limits: { concurrency: 1 } })
    provider.hold('generate')
    const first = await site.begin()
    const second = await site.begin({ priority: 3 })
    const third = await site.begin({ priority: 8 })
    expect((await site.job(first.id)).queue).toBeNull()
    const held = { waiting_for: 'concurrency', limit: LIMIT, estimated_start_at: expect.any(String) }
    expect((await site.job(third.id)).queue).toEqual({ position: 1, ...held })
    expect((await site.job(second.id)).queue).toEqual({ position: 2, ...held })
    provider.release('generate')
    await allEnded(site, [first, second, third])
  })
})

describe('the place in the queue', () => {
  test('is the one in which jobs of several projects and priorities start, for every one of them', async () => {
    const site = await openSite('prod', { limits: { concurrency: 1 } })
    provider.hold('generate')
    const jobs = [await site.begin(named('first'))]
    for (const [i, project] of ['a', 'a', 'a', 'a', 'b', 'b', 'c', 'a', 'c'].entries()) {
      const job = await site.begin(named(`${project}${i}`, { project, priority: i === 3 ? 9 : 5 }))
      jobs.push(job)
      // What a submit is told is what a read tells in the same moment.
      expect((await site.job(job.id)).queue?.position).toBe(job.queue?.position)
    }
    const places = await Promise.all(jobs.slice(1).map(async ({ id }) => (await site.job(id)).queue?.position ?? 0))
    expect([...places].sort((a, b) => a - b)).toEqual(places.map((_, i) => i + 1))
    provider.release('generate')
    await allEnded(site, jobs)
    const inOrder = jobs
      .slice(1)
      .map((job, i) => ({ prompt: (job.input as { prompt: string }).prompt, place: places[i] ?? 0 }))
    inOrder.sort((a, b) => a.place - b.place)
    expect(provider.accepted.slice(1).map(({ prompt }) => prompt)).toEqual(inOrder.map(({ prompt }) => prompt))
  })
})

describe('concurrency', () => {
  test('is never exceeded, and every place is used', async () => {
    const site = await openSite('prod', { limits: { concurrency: 3 } })
    provider.hold('generate')
    const jobs = await Promise.all(Array.from({ length: 12 }, () => site.begin()))
    await eventually('three calls hang', () => provider.open.generate === 3)
    expect(await running()).toBe(3)
    expect((await site.send<{ live: object }>('GET', '/providers/ideogram')).body.live).toEqual({
      running: 3,
      queued: 9,
      next_request_at: null,
    })
    provider.release('generate')
    await allEnded(site, jobs)
    expect([provider.mostOpen, provider.accepted.length]).toEqual([3, 12])
  })

  test('that is raised lets more out at once', async () => {
    const site = await openSite('prod', { limits: { concurrency: 1 } })
    provider.hold('generate')
    const jobs = await Promise.all(Array.from({ length: 5 }, () => site.begin()))
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 4 } } })
    await eventually('four calls hang', () => provider.open.generate === 4)
    provider.release('generate')
    await allEnded(site, jobs)
  })
})

describe('requests per minute', () => {
  test('the next one goes out in the very millisecond in which it may, and the waiting job tells which that is', async () => {
    const clock = movableClock()
    const now = clock.freeze()
    // Six a minute have no burst: one each ten seconds, and a tenth for the way there.
    const waitMs = intervalOf({ limit: 6, windowMs: 60_000 })
    expect(waitMs).toBe(10_100)
    const site = await openSite('prod', { limits: { requests_per_minute: 6 } })
    const [first, second] = [await site.begin(), await site.begin()]
    await site.ended(first.id)
    const at = new Date(now + waitMs).toISOString()
    expect((await site.job(second.id)).queue).toEqual({
      position: 1,
      waiting_for: 'provider_rate',
      limit: LIMIT,
      estimated_start_at: at,
    })
    clock.advance(waitMs - 1)
    await ring()
    expect(provider.calls.generate).toBe(1)
    clock.advance(1)
    await ring()
    expect((await site.ended(second.id)).started_at).toBe(at)
  })

  test('in no window of a minute are more sent than allowed, and no more than a breath of it is wasted', {
    timeout: 30_000,
  }, async () => {
    const clock = movableClock()
    clock.freeze()
    const limit = 20
    const site = await openSite('prod', { limits: { requests_per_minute: limit, concurrency: 50 } })
    await Promise.all(Array.from({ length: 50 }, () => site.begin({ deadline_s: 3600 })))
    for (let second = 0; second < 120; second += 1) {
      await idle()
      clock.advance(1_000)
      await ring()
    }
    await idle()
    const times = provider.accepted.map(({ atMs }) => atMs).sort((a, b) => a - b)
    for (const from of times)
      expect(times.filter((at) => at >= from && at < from + 60_000).length).toBeLessThanOrEqual(limit)
    expect(times.length).toBeGreaterThanOrEqual(2 * limit - 2)
    expect(times.length).toBeLessThanOrEqual(2 * limit)
  })

  test('is kept over a restart of the actor', async () => {
    const clock = movableClock()
    clock.freeze()
    const site = await openSite('prod', { limits: { requests_per_minute: 6 } })
    const [first, second] = [await site.begin(), await site.begin()]
    await site.ended(first.id)
    await evictDurableObject(instanceStub('prod'))
    clock.advance(5_000)
    await ring()
    expect((await site.job(second.id)).queue?.waiting_for).toBe('provider_rate')
    expect(provider.calls.generate).toBe(1)
    clock.advance(intervalOf({ limit: 6, windowMs: 60_000 }) - 5_000)
    await ring()
    expect((await site.ended(second.id)).status).toBe('succeeded')
  })
})

describe('the bound of the queue', () => {
  test('refuses with 429, queue_full and Retry-After, and takes jobs again when there is room', async () => {
    const site = await openSite('prod', { config: { queue_bound: 2 }, limits: { concurrency: 1 } })
    provider.hold('generate')
    const [first] = [await site.begin(), await site.submit({}, { 'idempotency-key': 'k' }), await site.begin()]
    const full = await site.send('POST', '/jobs', { json: jobRequest() })
    expect([full.status, full.body.error.code, full.body.error.type]).toEqual([429, 'queue_full', 'rate_limit_error'])
    expect(full.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    expect(full.headers.get('ratelimit')).toMatch(/^"queue";r=0, /)
    expect((await site.submit({}, { 'idempotency-key': 'k' })).headers.get('idempotency-replayed')).toBe('true')
    await site.send('POST', `/jobs/${first.id}/cancel`)
    expect((await site.submit()).status).toBe(202)
  })

  test('holds for requests that come at once', async () => {
    const site = await openSite('prod', { config: { queue_bound: 3 }, limits: { concurrency: 1 } })
    provider.hold('generate')
    await site.begin()
    const statuses = (await Promise.all(Array.from({ length: 10 }, () => site.submit()))).map(({ status }) => status)
    expect(statuses.filter((status) => status === 202)).toHaveLength(3)
    expect(statuses.filter((status) => status === 429)).toHaveLength(7)
  })
})

describe('not_before', () => {
  test('makes the job wait until its time, then it runs by itself', async () => {
    const site = await openSite('prod')
    const at = new Date(Date.now() + 700).toISOString()
    const job = await site.begin({ not_before: at })
    expect(job).toMatchObject({ status: 'scheduled', started_at: null })
    expect(job.queue).toEqual({ position: null, waiting_for: 'not_before', limit: null, estimated_start_at: at })
    const done = await site.ended(job.id)
    expect(done.status).toBe('succeeded')
    expect(Date.parse(done.started_at ?? '')).toBeGreaterThanOrEqual(Date.parse(at))
  })

  test('a job whose time comes is not left asleep: an alarm that is about to ring is not put off by what happens meanwhile', async () => {
    const clock = movableClock()
    const now = clock.freeze()
    const site = await openSite('prod')
    const alarm = () => runInDurableObject(instanceStub('prod'), (_instance, { storage }) => storage.getAlarm())
    const later = (ms: number) => site.begin({ not_before: new Date(now + ms).toISOString() })
    await later(60_000)
    expect(await alarm()).toBe(now + 60_000)
    // Due by half a second, and the platform has not come to it yet.
    clock.advance(60_500)
    await later(120_000)
    expect(await alarm()).toBe(now + 60_000)
    // So late that it may have been lost.
    clock.advance(2_000)
    await later(130_000)
    expect(await alarm()).toBe(now + 62_501)
  })

  test('in the past is now', async () => {
    const site = await openSite('prod')
    expect((await site.begin({ not_before: '2001-01-01T00:00:00Z' })).status).toBe('running')
  })

  test('counts the deadline from its time on', async () => {
    const clock = movableClock()
    const site = await openSite('prod')
    const hourMs = 3_600_000
    const job = await site.begin({ not_before: new Date(Date.now() + hourMs).toISOString(), deadline_s: 60 })
    clock.advance(hourMs - 1_000)
    await ring()
    expect((await site.job(job.id)).status).toBe('scheduled')
    clock.advance(2_000)
    await ring()
    expect((await site.ended(job.id)).status).toBe('succeeded')
  })

  test('a job that could not start before its deadline fails by it', async () => {
    const clock = movableClock()
    const site = await openSite('prod', { limits: { concurrency: 1 } })
    provider.hold('generate')
    await site.begin({ deadline_s: 3600 })
    const late = await site.begin({ deadline_s: 60 })
    clock.advance(61_000)
    await ring()
    expect(await site.ended(late.id)).toMatchObject({
      status: 'failed',
      error: { code: 'deadline_exceeded' },
      attempts: [],
      cost_usd: 0,
    })
  })
})
