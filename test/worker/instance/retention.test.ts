import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { Batch } from '../../../src/contract/batch.ts'
import type { LedgerView } from '../../../src/contract/budget.ts'
import type { Job, JobPage } from '../../../src/contract/job.ts'
import type { RetentionConfig } from '../../../src/contract/retention.ts'
import type { UsageReport } from '../../../src/contract/usage-report.ts'
import { instanceStub, jobRequest, must, openSite, rowsOf, type Site, send, withKey } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'
import { failJobs, idsOf } from '../support/letters.ts'
import { openStream } from '../support/streams.ts'

let provider: FakeIdeogram
let clock: ReturnType<typeof movableClock>
beforeEach(() => {
  provider = fakeIdeogram()
  clock = movableClock()
})

const MINUTE_S = 60
const DAY_S = 24 * 60 * MINUTE_S

const keeping = (retention: RetentionConfig): Promise<Site> => openSite('prod', { config: { retention } })

/** Puts the clock forward, and rings the alarm until nothing of what `query` counts is left. */
const trimmed = async (query: string, left = 0, stepMs = 10_000): Promise<void> => {
  await eventually(`${query} is ${left}`, async () => {
    await runDurableObjectAlarm(instanceStub('prod'))
    clock.advance(stepMs)
    return (await count(query)) === left
  })
}

/** The alarm rings some times without anything to wait for: what must stay would be gone. */
const rung = async (times = 30): Promise<void> => {
  for (let i = 0; i < times; i += 1) {
    await runDurableObjectAlarm(instanceStub('prod'))
    clock.advance(1_000)
  }
}

const count = async (query: string): Promise<number> =>
  Number((await rowsOf('prod', `SELECT count(*) AS n FROM ${query}`))[0]?.['n'])

const finish = async (site: Site, jobs: number, more: Record<string, unknown> = {}): Promise<Job[]> => {
  const begun = await Promise.all(Array.from({ length: jobs }, () => site.begin(more)))
  return Promise.all(begun.map(({ id }) => site.ended(id)))
}

const difference = async (site: Site): Promise<number> =>
  (await must(200, site.send<LedgerView>('GET', '/ledger'))).body.difference_usd

const objects = async (prefix: string): Promise<string[]> =>
  (await env.ARTIFACTS.list({ prefix })).objects.map(({ key }) => key)

describe('a finished job', () => {
  test('tells when it may be trimmed, and is gone with its attempts after that', async () => {
    const site = await keeping({ jobs_s: MINUTE_S })
    const begun = await site.begin()
    expect(begun).toMatchObject({ expires_at: null, artifacts_expire_at: null, archived: false })
    const job = await site.ended(begun.id)
    const ended = Date.parse(job.ended_at ?? '')
    expect(Date.parse(job.expires_at ?? '')).toBe(ended + MINUTE_S * 1000)
    clock.advance(MINUTE_S * 1000)
    await trimmed('jobs')
    expect(await count('attempts')).toBe(0)
    expect((await site.send('GET', `/jobs/${job.id}`)).status).toBe(404)
    expect((await site.send<typeof JobPage>('GET', '/jobs')).body).toMatchObject({ data: [], next: null })
  })

  test('stays until its time, and live jobs stay whatever their age', async () => {
    const site = await keeping({ jobs_s: DAY_S })
    provider.hold('generate')
    const running = await site.begin({ deadline_s: 7 * DAY_S })
    await eventually('the call', () => provider.open.generate === 1)
    const later = await site.begin({ not_before: new Date(Date.now() + 5 * DAY_S * 1000).toISOString() })
    const canceled = await must(200, site.send<Job>('POST', `/jobs/${(await site.begin()).id}/cancel`))
    clock.advance(DAY_S * 1000 - 60_000)
    await rung()
    expect(await count('jobs')).toBe(3)
    clock.advance(60_000)
    await trimmed(`jobs WHERE id = '${canceled.body.id}'`, 0, 10 * MINUTE_S * 1000)
    expect((await site.job(running.id)).status).toBe('running')
    expect((await site.job(later.id)).status).toBe('scheduled')
    provider.release('generate')
  })

  test('that ended late is found again although younger ones are gone', async () => {
    const site = await keeping({ jobs_s: MINUTE_S })
    const late = await site.begin({ not_before: new Date(Date.now() + 10 * MINUTE_S * 1000).toISOString() })
    await finish(site, 3)
    clock.advance(2 * MINUTE_S * 1000)
    await trimmed(`jobs WHERE id <> '${late.id}'`)
    await must(200, site.send('POST', `/jobs/${late.id}/cancel`))
    clock.advance(2 * MINUTE_S * 1000)
    await trimmed('jobs')
  })

  test('is trimmed by a process that begins anew', async () => {
    const site = await keeping({ jobs_s: MINUTE_S })
    await finish(site, 5)
    clock.advance(2 * MINUTE_S * 1000)
    await evictDurableObject(instanceStub('prod'))
    await trimmed('jobs')
  })

  test('is kept for thirty days where the instance says nothing', async () => {
    const site = await openSite('prod')
    const [job] = await finish(site, 1)
    const keptMs = Date.parse(job?.expires_at ?? '') - Date.parse(job?.ended_at ?? '')
    expect(keptMs).toBe(30 * DAY_S * 1000)
  })

  test('is not made again by its Idempotency-Key', async () => {
    const site = await keeping({ jobs_s: MINUTE_S })
    const key = { 'idempotency-key': 'once' }
    const first = await must(202, site.submit({}, key))
    await site.ended(first.body.id)
    clock.advance(2 * MINUTE_S * 1000)
    await trimmed('jobs')
    const again = await site.submit({}, key)
    expect([again.status, again.text]).toEqual([409, expect.stringContaining('no longer kept')])
    expect(await count('jobs')).toBe(0)
    clock.advance(DAY_S * 1000)
    await trimmed('idempotency')
    expect((await site.submit({}, key)).status).toBe(202)
  })
})

describe('a shorter retention', () => {
  test('holds for what is there already, and null is the default again', async () => {
    const site = await openSite('prod')
    await finish(site, 2)
    clock.advance(DAY_S * 1000)
    const patched = await site.send('PATCH', '', { json: { config: { retention: { jobs_s: MINUTE_S } } } })
    expect(patched.status).toBe(200)
    await trimmed('jobs')
    await must(200, site.send('PATCH', '', { json: { config: { retention: null } } }))
    const [job] = await finish(site, 1)
    expect(Date.parse(job?.expires_at ?? '') - Date.parse(job?.ended_at ?? '')).toBe(30 * DAY_S * 1000)
  })

  test('must be a number of seconds within its bounds', async () => {
    for (const retention of [
      { jobs_s: 0 },
      { events_s: 1.5 },
      { logs_s: 1e9 },
      { usage_hours_s: 60 },
      { archive: 1 },
    ]) {
      const json = { id: 'other', config: { retention } }
      const answer = await send('POST', '/v1/instances', { key: env.ROOT_KEY, json })
      expect([answer.status, answer.body.error.param]).toEqual([400, `config.retention.${Object.keys(retention)[0]}`])
    }
  })
})

describe('dead letters and batches', () => {
  test('a dead letter outlives other jobs, until it is discarded or its own time is over', async () => {
    const site = await keeping({ jobs_s: MINUTE_S, dead_letters_s: DAY_S })
    const [put, left] = await failJobs(site, provider, 2)
    expect(Date.parse(left?.expires_at ?? '') - Date.parse(left?.ended_at ?? '')).toBe(DAY_S * 1000)
    clock.advance(10 * MINUTE_S * 1000)
    await rung()
    expect(await idsOf(site)).toHaveLength(2)
    await must(204, site.send('DELETE', `/dead-letters/${put?.id}`))
    await trimmed(`jobs WHERE id = '${put?.id}'`)
    expect(await idsOf(site)).toEqual([left?.id])
    clock.advance(DAY_S * 1000)
    await trimmed('jobs')
    expect(await idsOf(site)).toEqual([])
  })

  test('a batch that has not ended keeps its jobs; one that has goes when they are gone', async () => {
    const site = await keeping({ jobs_s: MINUTE_S })
    const not_before = new Date(Date.now() + DAY_S * 1000).toISOString()
    const jobs = [jobRequest(), jobRequest({ not_before })]
    const batch = (await must(202, site.send<Batch>('POST', '/batches', { json: { jobs } }))).body
    const [first = '', second = ''] = batch.jobs
    await site.ended(first)
    clock.advance(10 * MINUTE_S * 1000)
    await rung()
    expect((await site.job(first)).status).toBe('succeeded')
    await must(200, site.send('POST', `/jobs/${second}/cancel`))
    await trimmed(`jobs WHERE id = '${first}'`)
    const kept = (await must(200, site.send<Batch>('GET', `/batches/${batch.id}`))).body
    expect(kept).toMatchObject({ status: 'partial', counts: { succeeded: 1, canceled: 1 } })
    clock.advance(10 * MINUTE_S * 1000)
    await trimmed('batches')
    expect((await site.send('GET', `/batches/${batch.id}`)).status).toBe(404)
    expect(await count('jobs')).toBe(0)
  })
})

describe('events', () => {
  test('go from the oldest on, the numbers go on, and who asks for what is gone is told', async () => {
    const site = await keeping({ events_s: MINUTE_S })
    await finish(site, 3)
    clock.advance(10 * MINUTE_S * 1000)
    await trimmed('events', 1)
    expect(await rowsOf('prod', 'SELECT seq FROM events')).toEqual([{ seq: 9 }])
    await evictDurableObject(instanceStub('prod'))
    const [job] = await finish(site, 1)
    const seqs = await rowsOf('prod', `SELECT min(seq) AS first, max(seq) AS last FROM events WHERE job = '${job?.id}'`)
    expect(seqs).toEqual([{ first: 10, last: 12 }])
    const stream = await openStream(`${site.base}/events?after=2`, { key: site.key })
    await eventually('the rest', () => stream.events.length >= 5)
    expect(stream.events.map(({ seq, type }) => [seq, type]).slice(0, 3)).toEqual([
      [8, 'stream.gap'],
      [9, 'job.succeeded'],
      [10, 'job.queued'],
    ])
  })

  test('of a job that is kept whole are told without a gap, those of an older one with it', async () => {
    const site = await keeping({ events_s: MINUTE_S })
    const [old] = await finish(site, 1)
    clock.advance(10 * MINUTE_S * 1000)
    const [young] = await finish(site, 1)
    await trimmed('events', 3)
    const typesOf = async (id: string | undefined) => {
      const stream = await openStream(`${site.base}/jobs/${id}/events`, { key: site.key })
      await stream.untilClosed()
      return stream.events.map(({ type }) => type)
    }
    expect(await typesOf(young?.id)).toEqual(['job.queued', 'job.started', 'job.succeeded'])
    expect(await typesOf(old?.id)).toEqual(['stream.gap'])
  })

  test('stay while a clock that was set back says that they are young', async () => {
    const site = await keeping({ events_s: MINUTE_S, jobs_s: MINUTE_S })
    clock.advance(DAY_S * 1000)
    await finish(site, 1)
    clock.advance(-DAY_S * 1000)
    await finish(site, 1)
    clock.advance(10 * MINUTE_S * 1000)
    await trimmed('jobs', 1)
    expect((await rowsOf('prod', 'SELECT max(seq) AS n FROM events'))[0]).toEqual({ n: 6 })
    clock.advance(DAY_S * 1000)
    await trimmed('jobs')
    await trimmed('events', 1)
  })
})

test('the log is trimmed by age', async () => {
  const site = await keeping({ logs_s: MINUTE_S })
  await finish(site, 1)
  expect(await count('log')).toBeGreaterThan(0)
  clock.advance(10 * MINUTE_S * 1000)
  await trimmed('log')
})

describe('the books', () => {
  test('prove themselves while lines are folded, also a day that is folded twice, and usage stays', async () => {
    const site = await keeping({ jobs_s: MINUTE_S, ledger_s: MINUTE_S })
    await finish(site, 4, { project: 'north' })
    await finish(site, 3)
    const before = (await site.send<LedgerView>('GET', '/ledger')).body
    clock.advance(10 * MINUTE_S * 1000)
    await trimmed("ledger WHERE kind <> 'carried'")
    expect(await count('ledger')).toBe(2)
    expect({ ...(await site.send<LedgerView>('GET', '/ledger')).body, at: before.at }).toEqual(before)
    await finish(site, 2, { project: 'north' })
    clock.advance(10 * MINUTE_S * 1000)
    await trimmed("ledger WHERE kind <> 'carried'")
    const after = (await site.send<LedgerView>('GET', '/ledger')).body
    expect(after).toMatchObject({ difference_usd: 0, attempts: 9 })
    expect(after.settled_usd).toBeCloseTo((before.settled_usd / 7) * 9, 6)
    await evictDurableObject(instanceStub('prod'))
    expect(await difference(site)).toBe(0)
    expect((await site.send<UsageReport>('GET', '/usage?interval=day')).body.total.jobs.succeeded).toBe(9)
  })
})

describe('pictures', () => {
  test('go with the age of their job, and a job that stays says so', async () => {
    const site = await keeping({ artifacts_s: MINUTE_S })
    const [job] = await finish(site, 1)
    const image = job?.output?.images[0]
    expect(Date.parse(job?.artifacts_expire_at ?? '') - Date.parse(job?.ended_at ?? '')).toBe(MINUTE_S * 1000)
    expect((await send('GET', image?.url ?? '')).status).toBe(200)
    const url = image?.url ?? ''
    clock.advance(MINUTE_S * 1000)
    expect((await site.job(job?.id ?? '')).output?.images[0]).toMatchObject({ artifact: image?.artifact, url: null })
    await eventually('the picture is gone', async () => {
      await rung(1)
      return (await objects('prod/job_')).length === 0
    })
    expect((await send('GET', url)).status).toBe(404)
    // What is gone stays gone, whatever is promised for others from now on.
    await must(200, site.send('PATCH', '', { json: { config: { retention: { artifacts_s: DAY_S } } } }))
    expect((await site.job(job?.id ?? '')).output?.images[0]?.url).toBeNull()
  })
})

describe('the archive', () => {
  const archived = async (site: Site, jobs: number, more: Record<string, unknown> = {}): Promise<Job[]> => {
    const finished = await finish(site, jobs, more)
    clock.advance(10 * MINUTE_S * 1000)
    await trimmed('jobs')
    return finished
  }

  test('answers a job as it was, without its pictures once they are gone', async () => {
    const site = await keeping({ jobs_s: MINUTE_S, artifacts_s: DAY_S, archive: true })
    const jobs = await archived(site, 5, { metadata: { album: 'sea' } })
    for (const job of jobs) {
      const read = await site.job(job.id)
      expect({ ...read, expires_at: job.expires_at, archived: false, output: null }).toEqual({ ...job, output: null })
      expect(read.archived).toBe(true)
      expect(read.output?.images[0]?.url).toContain('/artifacts/')
      expect(Date.parse(read.expires_at ?? '')).toBeGreaterThan(Date.now() + 300 * DAY_S * 1000)
    }
    const artifact = jobs[0]?.output?.images[0]?.artifact
    expect((await site.send('GET', `/artifacts/${artifact}`)).status).toBe(200)
    expect((await site.send<{ data: Job[] }>('GET', '/jobs')).body.data).toEqual([])
    expect((await site.send('GET', `/jobs/${jobs[0]?.id}/events`)).status).toBe(404)
    clock.advance(DAY_S * 1000)
    expect((await site.job(jobs[0]?.id ?? '')).output?.images[0]?.url).toBeNull()
    expect(await objects('prod/archive/')).toHaveLength(1)
  })

  test('answers a repeated submit, and refuses what would change the job', async () => {
    const site = await keeping({ jobs_s: MINUTE_S, archive: true })
    const key = { 'idempotency-key': 'once' }
    const first = await must(202, site.submit({}, key))
    await site.ended(first.body.id)
    clock.advance(10 * MINUTE_S * 1000)
    await trimmed('jobs')
    const again = await site.submit({}, key)
    expect([again.status, again.body.id, again.body.archived]).toEqual([202, first.body.id, true])
    for (const action of ['cancel', 'replay'])
      expect((await site.send('POST', `/jobs/${first.body.id}/${action}`)).status).toBe(409)
  })

  test("shows a project's key its own jobs only", async () => {
    const site = await keeping({ jobs_s: MINUTE_S, artifacts_s: DAY_S, archive: true })
    const [north] = await finish(site, 1, { project: 'north' })
    const [south] = await archived(site, 1, { project: 'south' })
    const { key } = await site.makeKey({ name: 'north', role: 'user', project: 'north' })
    const through = withKey(site, key)
    expect((await through.job(north?.id ?? '')).archived).toBe(true)
    const foreign = await through.send('GET', `/jobs/${south?.id}`)
    const unknown = await through.send('GET', '/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV')
    expect([foreign.status, foreign.body.error.message]).toEqual([404, unknown.body.error.message])
    expect((await through.send('POST', `/jobs/${south?.id}/replay`)).status).toBe(404)
    const artifact = south?.output?.images[0]?.artifact
    expect((await through.send('GET', `/artifacts/${artifact}`)).status).toBe(404)
  })

  test('loses nothing and says nothing twice where the actor dies between writing and deleting', async () => {
    const site = await keeping({ jobs_s: MINUTE_S, archive: true })
    const jobs = await finish(site, 3)
    clock.advance(10 * MINUTE_S * 1000)
    const put = vi.spyOn(Object.getPrototypeOf(env.ARTIFACTS), 'put')
    const original = put.getMockImplementation()
    put.mockRestore()
    expect(original).toBeUndefined()
    // As a crash leaves it: announced and written, but nothing deleted.
    const ids = jobs.map(({ id }) => id).sort()
    await env.ARTIFACTS.put('prod/archive/half.ndjson', `{"id":"${ids[0]}","status":"of a crash"}\n`)
    await runInDurableObject(instanceStub('prod'), (_instance, { storage }) => {
      const row = [ids[2] ?? '', 'half', ids[0] ?? '']
      storage.sql.exec('INSERT INTO archives VALUES (?, ?, ?, 3, NULL)', ...row)
    })
    await evictDurableObject(instanceStub('prod'))
    await trimmed('jobs')
    for (const job of jobs) expect((await site.job(job.id)).status).toBe('succeeded')
    await trimmed('archives WHERE written_at_ms IS NULL')
    expect(await objects('prod/archive/')).toHaveLength(1)
  })

  test('does not delete a job that the bucket did not take', async () => {
    const site = await keeping({ jobs_s: MINUTE_S, archive: true })
    const [job] = await finish(site, 1)
    const put = vi.spyOn(Object.getPrototypeOf(env.ARTIFACTS), 'put').mockRejectedValue(new Error('R2 is down'))
    clock.advance(10 * MINUTE_S * 1000)
    await eventually('a try', async () => {
      await rung(1)
      return put.mock.calls.length > 0
    })
    expect((await site.job(job?.id ?? '')).archived).toBe(false)
    put.mockRestore()
    clock.advance(MINUTE_S * 1000)
    await trimmed('jobs')
    expect((await site.job(job?.id ?? '')).archived).toBe(true)
  })

  test('forgets what is too old for it, and all of it with its instance', async () => {
    const site = await keeping({ jobs_s: MINUTE_S, archive: true, archive_s: DAY_S })
    const [old] = await archived(site, 1)
    clock.advance(DAY_S * 1000)
    const [young] = await archived(site, 1)
    await trimmed('archives', 1)
    expect((await site.send('GET', `/jobs/${old?.id}`)).status).toBe(404)
    expect((await site.job(young?.id ?? '')).archived).toBe(true)
    await must(204, send('DELETE', site.base, { key: env.ROOT_KEY }))
    expect(await objects('prod/')).toEqual([])
  })
})
