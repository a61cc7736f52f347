import { runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import { usageOf } from '../../../src/contract/usage.ts'
import type { UsageReport } from '../../../src/contract/usage-report.ts'
import type { Instance } from '../../../src/instance/instance.ts'
import { instanceStub, openSite, rowsOf, type Site, SYNC, withKey } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'

const HOUR_MS = 60 * 60 * 1000
const DAY_MS = 24 * HOUR_MS
const inFuture = (ms: number): string => new Date(Date.now() + ms).toISOString()

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const usage = async (query = '', by = site): Promise<UsageReport> => {
  const answer = await by.send<UsageReport>('GET', `/usage${query}`)
  if (answer.status !== 200) throw new Error(answer.text)
  return answer.body
}

const exec = (work: (sql: SqlStorage) => void) =>
  runInDurableObject(instanceStub('prod'), (_instance, { storage }) => work(storage.sql))

/** Ends the attempt of a running job as its lane would. */
const report = (job: string, end: object) =>
  runInDurableObject(instanceStub('prod'), (instance: Instance) =>
    instance.report(0, JSON.stringify([{ kind: 'end', job, attempt: 1, end: { ...NOTHING, ...end } }]), 1),
  )
const NOTHING = {
  output: null,
  fault: null,
  costMicros: 0,
  providerRequestId: null,
  providerMs: 0,
  storeMs: 0,
  resume: null,
}

const running = (id: string) => eventually('it runs', async () => (await site.job(id)).status === 'running')

describe('usage', () => {
  test('of a new instance is nothing', async () => {
    expect(await usage()).toMatchObject({
      object: 'usage',
      interval: 'day',
      time_zone: 'UTC',
      data: [],
      total: { attempts: 0, jobs: { succeeded: 0 }, cost_usd: 0, latency_ms: { p50: null, p95: null } },
    })
  })

  test('counts jobs, attempts, errors, images and money as the provider and the jobs do', async () => {
    const endedAfter = async (replies: ReturnType<typeof failing>[], more: Record<string, unknown> = {}) => {
      provider.next.generate.push(...replies)
      return site.ended((await site.begin(more)).id)
    }
    const jobs = [
      await endedAfter([failing(503)]),
      await endedAfter([failing(422)]),
      await endedAfter([failing(503), failing(503)], { max_attempts: 2 }),
      await endedAfter([], { input: { prompt: 'two', count: 2, ...SYNC } }),
    ]
    const canceled = await site.begin({ not_before: inFuture(DAY_MS) })
    await site.send('POST', `/jobs/${canceled.id}/cancel`)
    const { total } = await usage()
    expect(jobs.map(({ status }) => status)).toEqual(['succeeded', 'failed', 'failed', 'succeeded'])
    expect(total).toMatchObject({
      jobs: { succeeded: 2, failed: 2, canceled: 1 },
      attempts: provider.calls.generate,
      errors: { provider_unavailable: 3, content_rejected: 1 },
      images: provider.calls.image,
      cost_usd: jobs.reduce((sum, job) => sum + (job.cost_usd ?? 0), 0),
    })
    expect(total.attempts - 4).toBe(provider.accepted.length)
    expect(total.unknown_cost_attempts).toBe(jobs.filter(({ cost_usd }) => cost_usd === null).length)
  })

  test('adds up to the sums over the attempts of the database, whatever became of them', async () => {
    provider.next.generate.push(failing(503), failing(429), failing(422))
    const made = await Promise.all(Array.from({ length: 8 }, (_, i) => site.begin({ project: `p${i % 2}` })))
    await Promise.all(made.map(({ id }) => site.ended(id)))
    const [attempts] = await rowsOf(
      'prod',
      `SELECT count(*) AS attempts, sum(cost_micros) AS micros, sum(cost_micros IS NULL) AS unknown, sum(outcome <> 'done') AS errors FROM attempts`,
    )
    const { total } = await usage()
    expect({
      attempts: total.attempts,
      micros: Math.round(total.cost_usd * 1e6),
      unknown: total.unknown_cost_attempts,
      errors: Object.values(total.errors).reduce((sum, count) => sum + count, 0),
    }).toEqual(attempts)
    expect(total.jobs.succeeded + total.jobs.failed).toBe(8)
  })

  test('tells times within one per cent, from when a job could start', async () => {
    const clock = movableClock()
    clock.freeze()
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    provider.hold('generate')
    const jobs = [await site.begin(), await site.begin(), await site.begin()]
    for (const [i, { id }] of jobs.entries()) {
      await running(id)
      clock.advance(100_000)
      await report(id, { output: { images: [] }, providerMs: 1_000 * (i + 1) })
    }
    provider.release('generate')
    const { total } = await usage()
    const isWithin = (value: number | null, ms: number) => Math.abs((value ?? Number.NaN) - ms) <= ms * 0.01
    expect([total.latency_ms, total.queue_ms, total.provider_ms]).toSatisfy(() =>
      [
        // They waited for 0, 100 and 200 s, and ran for 100 s each.
        isWithin(total.latency_ms.p50, 200_000),
        isWithin(total.queue_ms.p50, 100_000),
        isWithin(total.provider_ms.p50, 2_000),
        // Rank ⌊0.95 · 2⌋ of three values.
        isWithin(total.latency_ms.p95, 200_000),
      ].every(Boolean),
    )
  })

  test('counts tokens by kind, those that occurred', async () => {
    provider.hold('generate')
    const jobs = [await site.begin(), await site.begin()]
    for (const { id } of jobs) {
      await running(id)
      const used = usageOf({ inputTokens: 100, cachedInputTokens: 40, outputTokens: 7 })
      await report(id, { output: { images: [] }, usage: used })
    }
    expect((await usage()).total.tokens).toEqual({ input: 200, cached_input: 80, output: 14 })
    provider.release('generate')
  })

  test('counts an attempt that was canceled or overdue, at a cost that nobody knows', async () => {
    provider.hold('generate')
    const { id } = await site.begin()
    await running(id)
    await site.send('POST', `/jobs/${id}/cancel`)
    const late = await site.ended((await site.begin({ deadline_s: 1 })).id)
    expect(late.error?.code).toBe('deadline_exceeded')
    provider.release('generate')
    expect((await usage()).total).toMatchObject({
      jobs: { succeeded: 0, failed: 1, canceled: 1 },
      attempts: 2,
      errors: { canceled: 1, deadline_exceeded: 1 },
      unknown_cost_attempts: 2,
    })
  })

  test('is told once for an end that is reported twice', async () => {
    const { id } = await site.ended((await site.begin()).id)
    await report(id, { output: { images: [] } })
    expect((await usage()).total).toMatchObject({ attempts: 1, jobs: { succeeded: 1 } })
  })
})

describe('usage by time and group', () => {
  test('has a bucket for every hour in which something ended, and none for the others', async () => {
    const clock = movableClock()
    const first = Math.floor(clock.freeze() / HOUR_MS) * HOUR_MS
    await site.ended((await site.begin()).id)
    clock.advance(3 * HOUR_MS)
    await site.ended((await site.begin()).id)
    await site.ended((await site.begin()).id)
    const { data, total } = await usage('?interval=hour')
    expect(data.map(({ start, attempts }) => [Date.parse(start), attempts])).toEqual([
      [first, 1],
      [first + 3 * HOUR_MS, 2],
    ])
    expect(total.attempts).toBe(3)
  })

  test('is told by provider, model and project, alone and together, and adds up to the same', async () => {
    const of = (project: string | null, model: string) =>
      site.begin({ ...(project === null ? {} : { project }), models: [`ideogram/${model}`] })
    for (const { id } of [await of('a', 'ideogram-3'), await of('a', 'ideogram-4'), await of(null, 'ideogram-3')])
      await site.ended(id)
    const labels = async (query: string) =>
      (await usage(query)).data.map(({ provider, model, project, attempts }) => ({
        ...(provider === undefined ? {} : { provider }),
        ...(model === undefined ? {} : { model }),
        ...(project === undefined ? {} : { project }),
        attempts,
      }))
    expect(await labels('')).toEqual([{ attempts: 3 }])
    expect(await labels('?group_by=provider')).toEqual([{ provider: 'ideogram', attempts: 3 }])
    expect(await labels('?group_by=model')).toEqual([
      { model: 'ideogram/ideogram-3', attempts: 2 },
      { model: 'ideogram/ideogram-4', attempts: 1 },
    ])
    expect(await labels('?group_by=project')).toEqual([
      { project: 'a', attempts: 2 },
      { project: null, attempts: 1 },
    ])
    expect(await labels('?group_by=project,model,provider')).toHaveLength(3)
    expect((await usage('?group_by=project,model')).total).toEqual((await usage('')).total)
    expect((await usage('?project=a')).total.attempts).toBe(2)
  })

  test('begins with the whole bucket in which from lies, and ends before to', async () => {
    const clock = movableClock()
    clock.freeze()
    await site.ended((await site.begin()).id)
    const at = Date.now()
    clock.advance(DAY_MS)
    await site.ended((await site.begin()).id)
    const count = async (from: number, to: number, interval: string) => {
      const query = `?interval=${interval}&from=${new Date(from).toISOString()}&to=${new Date(to).toISOString()}`
      return (await usage(query)).total.attempts
    }
    expect(await count(at, at + 1, 'hour')).toBe(1)
    expect(await count(at, Math.floor(at / HOUR_MS) * HOUR_MS + HOUR_MS, 'hour')).toBe(1)
    expect(await count(at, at + DAY_MS + 1, 'hour')).toBe(2)
    expect(await count(at - 5 * DAY_MS, at - DAY_MS, 'day')).toBe(0)
    expect(await count(at, at + DAY_MS + 1, 'day')).toBe(2)
  })

  test('ends with the whole bucket that begins before to, whether its hours are in their day yet or not', async () => {
    const clock = movableClock()
    const now = clock.freeze()
    const day = Math.ceil(now / DAY_MS) * DAY_MS
    // Ten past eight.
    clock.advance(day - now + 8 * HOUR_MS + HOUR_MS / 6)
    for (let i = 0; i < 3; i += 1) {
      await site.ended((await site.begin()).id)
      clock.advance(HOUR_MS)
    }
    const ask = async () => {
      const date = new Date(day).toISOString().slice(0, 10)
      const told = (to: string, interval: string) =>
        usage(`?interval=${interval}&from=${date}T00:00:00Z&to=${date}T${to}:00Z`)
      const counts = []
      for (const to of ['08:00', '08:01', '09:00', '09:01', '10:30'])
        counts.push([(await told(to, 'hour')).total.attempts, (await told(to, 'day')).total.attempts])
      return counts
    }
    const counts = [
      [0, 3],
      [1, 3],
      [1, 3],
      [2, 3],
      [3, 3],
    ]
    expect(await ask()).toEqual(counts)
    clock.advance(DAY_MS)
    await site.ended((await site.begin()).id)
    expect(await rowsOf('prod', 'SELECT attempts FROM usage_days')).toEqual([{ attempts: 3 }])
    expect(await ask()).toEqual(counts)
  })

  test('of days is the same before and after hours are added to their days', async () => {
    const clock = movableClock()
    clock.freeze()
    for (let i = 0; i < 5; i += 1) {
      await site.ended((await site.begin({ project: `p${i}` })).id)
      clock.advance(11 * HOUR_MS)
      // Hours as the reference, whatever was folded by now.
      const { data } = await usage(`?interval=hour&group_by=project&from=${inFuture(-20 * DAY_MS)}`)
      const days = Map.groupBy(data, ({ start }) => start.slice(0, 10))
      const told = await usage('?interval=day')
      expect(told.data.map(({ start, attempts }) => [start.slice(0, 10), attempts])).toEqual(
        [...days].map(([day, rows]) => [day, rows.reduce((sum, row) => sum + row.attempts, 0)]),
      )
      expect(told.total.attempts).toBe(i + 1)
    }
    expect((await rowsOf('prod', 'SELECT sum(attempts) AS n FROM usage_days'))[0]?.['n']).toBe(4)
  })

  test('loses nothing where the clock is set back behind an hour that was added to its day', async () => {
    const clock = movableClock()
    clock.freeze()
    await site.ended((await site.begin()).id)
    clock.advance(2 * HOUR_MS)
    await site.ended((await site.begin()).id)
    clock.advance(-2 * HOUR_MS)
    await site.ended((await site.begin()).id)
    const until = `&from=${inFuture(-2 * DAY_MS)}&to=${inFuture(2 * DAY_MS)}`
    expect((await usage(`?interval=day${until}`)).total.attempts).toBe(3)
    expect((await usage(`?interval=hour${until}`)).total.attempts).toBe(3)
  })

  test('keeps days when hours have become too old', async () => {
    const clock = movableClock()
    clock.freeze()
    await site.ended((await site.begin()).id)
    for (let i = 0; i < 2; i += 1) {
      clock.advance(93 * DAY_MS)
      await site.ended((await site.begin()).id)
    }
    const first = {
      attempts: 1,
      start: expect.stringContaining(new Date(Date.now() - 186 * DAY_MS).toISOString().slice(0, 10)),
    }
    expect((await usage(`?interval=day&from=${inFuture(-190 * DAY_MS)}`)).data[0]).toMatchObject(first)
    const hours = await rowsOf('prod', 'SELECT start_ms FROM usage_hours')
    expect(hours.every(({ start_ms }) => Number(start_ms) > Date.now() - 94 * DAY_MS)).toBe(true)
  })

  test('counts days in the zone of the instance, by whole hours', async () => {
    const clock = movableClock()
    await exec((sql) => {
      const identity = JSON.parse(String(sql.exec("SELECT value FROM meta WHERE key = 'instance'").one()['value']))
      identity.config.time_zone = 'Asia/Kathmandu'
      sql.exec("UPDATE meta SET value = ? WHERE key = 'instance'", JSON.stringify(identity))
    })
    await runInDurableObject(instanceStub('prod'), (_instance, state) => state.abort('restart')).catch(() => null)
    // Midnight there is 18:15 here: what ends from 18:00 to 19:00 is of the day that was.
    clock.advance(Date.parse('2027-02-01T18:30:00Z') - clock.freeze())
    await site.ended((await site.begin()).id)
    clock.advance(HOUR_MS)
    await site.ended((await site.begin()).id)
    const { data, time_zone } = await usage('?interval=day')
    expect([time_zone, data.map(({ start, attempts }) => [start, attempts])]).toEqual([
      'Asia/Kathmandu',
      [
        ['2027-01-31T18:15:00.000Z', 1],
        ['2027-02-01T18:15:00.000Z', 1],
      ],
    ])
  })
})

describe('the books of usage', () => {
  test('are written with the settlement or neither is', async () => {
    await exec((sql) => {
      sql.exec("CREATE TRIGGER broken BEFORE INSERT ON usage_hours BEGIN SELECT RAISE(ABORT, 'no room'); END")
    })
    provider.hold('generate')
    const { id } = await site.begin()
    await running(id)
    await expect(report(id, { output: { images: [] } })).rejects.toThrow()
    expect((await site.job(id)).status).toBe('running')
    await exec((sql) => void sql.exec('DROP TRIGGER broken'))
    await report(id, { output: { images: [] }, costMicros: 5 })
    expect((await usage()).total).toMatchObject({ attempts: 1, cost_usd: 0.000005, jobs: { succeeded: 1 } })
    provider.release('generate')
  })

  test('count what ended beside a settlement that failed once, and that one not at all', async () => {
    await exec((sql) => {
      sql.exec(
        `CREATE TRIGGER broken BEFORE INSERT ON usage_hours WHEN NEW.project = 'bad'
         BEGIN SELECT RAISE(ABORT, 'no room'); END`,
      )
    })
    provider.hold('generate')
    const jobs = [await site.begin({ project: 'good' }), await site.begin({ project: 'bad' }), await site.begin()]
    for (const { id } of jobs) await running(id)
    // Together, so that they are applied in one transaction, which the second makes fail.
    const outcomes = await Promise.allSettled(
      jobs.map(({ id }) => report(id, { output: { images: [] }, costMicros: 7 })),
    )
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect((await usage()).total).toMatchObject({ attempts: 2, cost_usd: 0.000014, jobs: { succeeded: 2 } })
    await exec((sql) => void sql.exec('DROP TRIGGER broken'))
    provider.release('generate')
  })

  test('go on where they were after a restart', async () => {
    movableClock().freeze()
    await site.ended((await site.begin()).id)
    await runInDurableObject(instanceStub('prod'), (_instance, state) => state.abort('restart')).catch(() => null)
    await site.ended((await site.begin()).id)
    expect((await usage()).total).toMatchObject({ attempts: 2, jobs: { succeeded: 2 } })
    expect(await rowsOf('prod', 'SELECT * FROM usage_hours')).toHaveLength(1)
  })

  test('refuse to add up more rows than a turn has time for, and tell a project all the same', async () => {
    const own = withKey(site, (await site.makeKey({ name: 'p', role: 'user', project: 'p-1' })).key)
    await site.ended((await site.begin({ project: 'p-1' })).id)
    await exec((sql) => {
      sql.exec(
        `WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= 10001)
         INSERT INTO usage_hours SELECT start_ms, 'p-' || i, model, attempts, succeeded, failed, canceled, images, cost_micros,
           unknown_costs, errors, tokens, provider_ms, queue_ms, total_ms FROM usage_hours, n WHERE project = 'p-1'`,
      )
    })
    for (const interval of ['hour', 'day']) {
      const answer = await site.send('GET', `/usage?interval=${interval}`)
      expect([answer.status, answer.body.error.code, answer.body.error.param]).toEqual([400, 'invalid_request', 'from'])
      expect((await usage(`?interval=${interval}`, own)).total.attempts).toBe(1)
      expect((await usage(`?interval=${interval}&project=p-7`)).total.attempts).toBe(1)
    }
  })

  test('are told of days gone by, however many rows lie behind them', async () => {
    const clock = movableClock()
    clock.freeze()
    await site.ended((await site.begin({ project: 'p-1' })).id)
    const [from, to] = [inFuture(-DAY_MS), inFuture(1)]
    clock.advance(2 * DAY_MS)
    await site.ended((await site.begin({ project: 'p-1' })).id)
    await exec((sql) => {
      sql.exec(
        `WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= 10001)
         INSERT INTO usage_hours SELECT start_ms, 'p-' || i, model, attempts, succeeded, failed, canceled, images, cost_micros,
           unknown_costs, errors, tokens, provider_ms, queue_ms, total_ms FROM usage_hours, n WHERE start_ms > ?`,
        Date.parse(to),
      )
    })
    for (const interval of ['hour', 'day'])
      expect((await usage(`?interval=${interval}&from=${from}&to=${to}`)).total.attempts).toBe(1)
  })
})

describe('who may see usage', () => {
  test('a key of one project sees its own, whatever it asks for', async () => {
    await site.ended((await site.begin({ project: 'a' })).id)
    await site.ended((await site.begin({ project: 'b' })).id)
    await site.ended((await site.begin()).id)
    const own = withKey(site, (await site.makeKey({ name: 'a', role: 'user', project: 'a' })).key)
    for (const query of ['', '?interval=hour', '?project=a', '?group_by=project']) {
      const { data, total } = await usage(query, own)
      expect(total.attempts).toBe(1)
      expect(data.every(({ project }) => project === undefined || project === 'a')).toBe(true)
    }
    expect(await usage('?project=b', own)).toMatchObject({ data: [], total: { attempts: 0 } })
  })

  test('a key without the scope read sees none', async () => {
    const writer = withKey(site, (await site.makeKey({ name: 'w', role: 'user', scopes: ['jobs'] })).key)
    expect((await writer.send('GET', '/usage')).status).toBe(403)
    expect((await writer.send('GET', '/logs')).status).toBe(403)
  })

  test('another instance sees nothing of it', async () => {
    await site.ended((await site.begin()).id)
    const other = await openSite('other')
    expect((await usage('', other)).total.attempts).toBe(0)
    expect((await other.send('GET', `${site.base}/usage`.replace(other.base, ''))).status).toBe(404)
  })

  test.each([
    ['interval=week', 'interval'],
    ['group_by=', 'group_by'],
    ['group_by=model,model', 'group_by'],
    ['group_by=model,secret', 'group_by'],
    ['group_by=__proto__', 'group_by'],
    ['from=yesterday', 'from'],
    ['from=2026-02-30T00:00:00Z', 'from'],
    ['from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z', 'from'],
    ['from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z', 'from'],
    ['interval=hour&from=2026-01-01T00:00:00Z&to=2026-02-02T00:00:00Z', 'from'],
    ['interval=day&from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z', 'from'],
    ['project=%00', 'project'],
    ['limit=5', 'limit'],
  ])('a question that cannot be meant is refused, and its field named: %s', async (query, param) => {
    const answer = await site.send('GET', `/usage?${query}`)
    expect([answer.status, answer.body.error?.code, answer.body.error?.param]).toEqual([400, 'invalid_request', param])
  })
})
