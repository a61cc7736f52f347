import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { LogLine, LogPage } from '../../../src/contract/log.ts'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, jobRequest, openSite, PROVIDER_SECRET, rowsOf, type Site, withKey } from '../support/client.ts'
import { movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'

const DAY_MS = 24 * 60 * 60 * 1000

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const page = async (query = '', by = site): Promise<LogPage> => {
  const answer = await by.send<LogPage>('GET', `/logs${query}`)
  if (answer.status !== 200) throw new Error(answer.text)
  return answer.body
}
const events = async (query = '', by = site): Promise<string[]> =>
  (await page(query, by)).data.map(({ event }) => event)

/** All pages, from the newest line to the oldest. */
const whole = async (query: string, by = site): Promise<LogLine[]> => {
  const lines: LogLine[] = []
  for (let after = ''; ; ) {
    const { data, next } = await page(`?${query}${after}`, by)
    lines.push(...data)
    if (next === null) return lines
    after = `&after=${next}`
  }
}

const exec = (work: (sql: SqlStorage) => void) =>
  runInDurableObject(instanceStub('prod'), (_instance, { storage }) => work(storage.sql))

describe('the log', () => {
  test('tells what became of a job, newest first, without a row of its own', async () => {
    const { id, request_id } = await site.ended((await site.begin({ project: 'a' })).id)
    const { data } = await page(`?job=${id}`)
    expect(data).toEqual([
      expect.objectContaining({ event: 'job.succeeded', level: 'info', data: { cost_usd: expect.any(Number) } }),
      expect.objectContaining({ event: 'job.started', data: { attempt: 1, model: 'ideogram/ideogram-3' } }),
      expect.objectContaining({ event: 'job.queued', job: id, project: 'a', request_id, id: '1' }),
    ])
    expect(await rowsOf('prod', `SELECT * FROM log WHERE job = '${id}'`)).toEqual([])
  })

  test('repeats no prompt, no secret and no word of a provider', async () => {
    provider.next.generate.push(
      failing(503, { error: 'the provider says BANANA' }),
      failing(422, { error: 'a lighthouse is unsafe, says BANANA' }),
    )
    await site.ended((await site.begin()).id)
    await site.send('PATCH', '/providers/ideogram/credentials/main', { json: { secret: `${PROVIDER_SECRET}-2` } })
    await site.send('PUT', '/providers/ideogram', { json: { base_url: 'https://user:hunter2@ideogram.example' } })
    const text = JSON.stringify(await whole('limit=100'))
    expect(text).toContain('job.retrying')
    expect(text).toContain('credential.changed')
    for (const word of ['BANANA', 'lighthouse', PROVIDER_SECRET, 'hunter2', 'message']) expect(text).not.toContain(word)
  })

  test('is filtered by level, at least', async () => {
    provider.next.generate.push(failing(503), failing(401))
    await site.ended((await site.begin({ max_attempts: 2 })).id)
    expect(new Set(await events('?level=warn'))).toEqual(new Set(['job.failed', 'job.retrying', 'credential.disabled']))
    expect(await events('?level=error')).toEqual(['credential.disabled'])
    expect((await page('?level=info')).data.length).toBeGreaterThan(6)
  })

  test('is filtered by event', async () => {
    for (let i = 0; i < 2; i += 1) await site.ended((await site.begin()).id)
    expect(await events('?event=job.succeeded')).toEqual(['job.succeeded', 'job.succeeded'])
    expect(await events('?event=key.created')).toEqual(['key.created'])
    expect(await events('?event=job.failed')).toEqual([])
    expect(await events('?event=job.succeeded&level=warn')).toEqual([])
  })

  test('is filtered by time', async () => {
    const clock = movableClock()
    clock.freeze()
    const iso = (ms: number) => new Date(ms).toISOString()
    const times: number[] = []
    for (let i = 0; i < 4; i += 1) {
      clock.advance(60_000)
      times.push(Date.now())
      await site.ended((await site.begin()).id)
    }
    const [, second = 0, third = 0] = times
    const told = async (query: string) =>
      new Set((await whole(`event=job.queued${query}`)).map(({ at }) => Date.parse(at)))
    expect(await told(`&from=${iso(second)}&to=${iso(third)}`)).toEqual(new Set([second]))
    expect(await told(`&from=${iso(third)}`)).toEqual(new Set(times.slice(2)))
    expect(await told(`&to=${iso(second)}`)).toEqual(new Set(times.slice(0, 1)))
    expect(await told(`&from=${iso(Date.now() + 1)}`)).toEqual(new Set())
    expect(await told(`&to=${iso(second - DAY_MS)}`)).toEqual(new Set())
  })

  test('comes in pages that join without gap or repetition, lines and events in one order', async () => {
    for (let i = 0; i < 3; i += 1) {
      await site.makeKey({ name: `k${i}`, role: 'user' })
      await site.makeKey({ name: `l${i}`, role: 'user' })
      await site.ended((await site.begin()).id)
    }
    const all = (await page('?limit=100')).data
    expect(all).toHaveLength(2 + 3 * 5)
    expect(all.map(({ at }) => at)).toEqual(
      all
        .map(({ at }) => at)
        .toSorted()
        .toReversed(),
    )
    expect(all.slice(0, 5).map(({ event }) => event)).toEqual([
      'job.succeeded',
      'job.started',
      'job.queued',
      'key.created',
      'key.created',
    ])
    for (const limit of [1, 2, 3, 7, 17]) expect(await whole(`limit=${limit}`)).toEqual(all)
  })

  test('tells what comes while it is read in no page behind', async () => {
    await site.ended((await site.begin()).id)
    const first = await page('?limit=2')
    await site.makeKey({ name: 'later', role: 'user' })
    await site.ended((await site.begin()).id)
    const rest = await page(`?limit=100&after=${first.next}`)
    expect([...first.data, ...rest.data].map(({ event }) => event)).toEqual([
      'job.succeeded',
      'job.started',
      'job.queued',
      'credential.created',
      'key.created',
    ])
    expect(rest.next).toBeNull()
  })
})

describe('lines of a request', () => {
  const idOf = (answer: { headers: Headers }) => answer.headers.get('x-request-id') ?? ''
  const about = async (requestId: string, by = site) =>
    (await whole(`request_id=${encodeURIComponent(requestId)}`, by)).map(({ event, job }) => [event, job])

  test('whose id Switchyard made are found without an entry in an index', async () => {
    movableClock().freeze()
    const made = await site.submit()
    await site.ended(made.body.id)
    expect((await about(idOf(made))).map(([, job]) => job)).toEqual([made.body.id, made.body.id, made.body.id])
    const indexed = 'SELECT id FROM jobs INDEXED BY jobs_request WHERE substr(request_id, 5, 8) <> substr(id, 5, 8)'
    expect(await rowsOf('prod', indexed)).toEqual([])
    const chosen = await site.submit({}, { 'x-request-id': 'mine' })
    expect(await rowsOf('prod', indexed)).toEqual([{ id: chosen.body.id }])
  })

  test.each(['order-66', 'x', 'req_01JAAAAAAAAAAAAAAAAAAAAAAA', 'a"b\'c%_', '~'.repeat(128)])(
    'whose id the client chose are found: %s',
    async (requestId) => {
      const made = await site.submit({}, { 'x-request-id': requestId })
      await site.ended(made.body.id)
      await site.ended((await site.begin()).id)
      expect((await about(requestId)).map(([event]) => event)).toEqual(['job.succeeded', 'job.started', 'job.queued'])
    },
  )

  test('that made many jobs are told of all of them, and those of an unknown id of none', async () => {
    const jobs = await Promise.all([1, 2, 3].map(() => site.submit({}, { 'x-request-id': 'many' })))
    for (const { body } of jobs) await site.ended(body.id)
    expect(await about('many')).toHaveLength(9)
    const [first] = jobs
    expect(await whole(`request_id=many&job=${first?.body.id}`)).toHaveLength(3)
    expect(await whole(`request_id=other&job=${first?.body.id}`)).toEqual([])
    expect(await about('nobody')).toEqual([])
  })

  test('that changed something are found too', async () => {
    const answer = await site.send('PUT', '/providers/ideogram', { json: { timeout_ms: 9_000 } })
    expect(await about(idOf(answer))).toEqual([['provider.configured', null]])
  })
})

describe('what an operator is told of providers', () => {
  test('is that a credential was disabled, and by which request', async () => {
    provider.next.generate.push(failing(401))
    const job = await site.ended((await site.begin()).id)
    expect((await page('?event=credential.disabled')).data).toEqual([
      expect.objectContaining({
        level: 'error',
        job: null,
        project: null,
        data: {
          provider: 'ideogram',
          credential: 'main',
          code: 'provider_auth_failed',
          request_id: job.request_id,
        },
      }),
    ])
  })

  test('is that a breaker opened, once, and closed again', async () => {
    const clock = movableClock()
    provider.next.generate.push(...Array.from({ length: 5 }, () => failing(503)))
    for (let i = 0; i < 5; i += 1) await site.ended((await site.begin({ max_attempts: 1 })).id)
    expect(await events('?event=breaker.opened')).toEqual(['breaker.opened'])
    clock.advance(LIMITS.breakerOpenMs + 1)
    await site.ended((await site.begin()).id)
    const lines = await whole('limit=100')
    expect(lines.flatMap(({ event }) => (event.startsWith('breaker') ? [event] : []))).toEqual([
      'breaker.closed',
      'breaker.opened',
    ])
  })

  test('is that limits were narrowed and restored, not every step between', async () => {
    provider.next.generate.push(failing(429, { error: 'slow down' }, { 'retry-after': '1' }))
    await site.ended((await site.begin()).id)
    expect((await page('?event=limits.narrowed')).data[0]?.data).toEqual({ provider: 'ideogram', share: 0.5 })
    for (let i = 0; i < 25; i += 1) await site.ended((await site.begin()).id)
    expect(await events('?event=limits.narrowed')).toHaveLength(1)
    expect(await events('?event=limits.restored')).toHaveLength(1)
  })
})

describe('changes of the configuration', () => {
  test('are told with who made them and which fields were given, without their values', async () => {
    const by = { actor: site.key.slice(3, 19) }
    const made = await site.makeKey({ name: 'k', role: 'user', project: 'p' })
    await site.send('DELETE', `/keys/${made.id}`)
    await site.send('PUT', '/providers/ideogram', { json: { timeout_ms: 9_000, limits: { concurrency: 3 } } })
    await site.send('POST', '/providers/ideogram/credentials', { json: { name: 'two', secret: 'abc', weight: 2 } })
    await site.send('PATCH', '/providers/ideogram/credentials/two', { json: { enabled: false } })
    await site.send('DELETE', '/providers/ideogram/credentials/two')
    await site.send('PATCH', '', { json: { config: { queue_bound: 7 } } })
    const told = (await whole('limit=100')).reverse().map(({ event, data }) => [event, data])
    const credential = { provider: 'ideogram', credential: 'two' }
    expect(told).toEqual([
      ['key.created', { actor: 'root', key: by.actor, name: 'owner', role: 'admin', project: null }],
      ['credential.created', { ...by, provider: 'ideogram', credential: 'main', fields: ['secret'] }],
      ['key.created', { ...by, key: made.id, name: 'k', role: 'user', project: 'p' }],
      ['key.revoked', { ...by, key: made.id }],
      ['provider.configured', { ...by, provider: 'ideogram', fields: ['limits', 'timeout_ms'] }],
      ['credential.created', { ...by, ...credential, fields: ['secret', 'weight'] }],
      ['credential.changed', { ...by, ...credential, fields: ['enabled'] }],
      ['credential.deleted', { ...by, ...credential }],
      ['instance.configured', { ...by, fields: ['queue_bound'] }],
    ])
  })

  test('that were refused are not told', async () => {
    const before = await page('?limit=100')
    await site.send('POST', '/keys', { json: { name: 'owner', role: 'user' } })
    await site.send('DELETE', '/keys/0123456789abcdef')
    await site.send('PUT', '/providers/ideogram', { json: { base_url: 'http://127.0.0.1' } })
    await site.send('PATCH', '/providers/ideogram/credentials/none', { json: { weight: 2 } })
    expect(await page('?limit=100')).toEqual(before)
  })
})

describe('who may read the log', () => {
  test('a key of one project reads of its jobs, and of nothing else, whatever it asks for', async () => {
    const own = withKey(site, (await site.makeKey({ name: 'a', role: 'user', project: 'a' })).key)
    provider.next.generate.push(failing(401))
    const foreign = await site.ended((await site.begin({ project: 'b' })).id)
    await site.send('PATCH', '/providers/ideogram/credentials/main', { json: { enabled: true } })
    const [mine] = [await site.ended((await site.begin({ project: 'a' })).id)]
    const same = await site.submit({ project: 'b' }, { 'x-request-id': 'shared' })
    await site.ended(same.body.id)
    expect((await whole('limit=100', own)).map(({ job }) => job)).toEqual([mine?.id, mine?.id, mine?.id])
    for (const query of [
      `job=${foreign.id}`,
      'request_id=shared',
      `request_id=${foreign.request_id}`,
      'level=error',
      'level=warn',
      'event=key.created',
      'event=credential.disabled',
    ])
      expect(await whole(query, own)).toEqual([])
  })

  test('a key without the scope admin reads nothing of keys and configuration', async () => {
    const reader = withKey(site, (await site.makeKey({ name: 'r', role: 'user' })).key)
    provider.next.generate.push(failing(401), failing(429))
    await site.ended((await site.begin()).id)
    await site.send('PATCH', '/providers/ideogram/credentials/main', { json: { enabled: true } })
    await site.ended((await site.begin()).id)
    const told = new Set((await whole('limit=100', reader)).map(({ event }) => event))
    expect(told).toContain('limits.narrowed')
    expect(
      [...told].filter((event) => /^(key|provider|instance|credential\.(created|changed|deleted))/.test(event)),
    ).toEqual([])
  })

  test.each([
    ['level=debug', 'level'],
    ['level=WARN', 'level'],
    ['event=job.progress', 'event'],
    ['event=__proto__', 'event'],
    ['job=x', 'job'],
    ['request_id=', 'request_id'],
    ['request_id=%00', 'request_id'],
    [`request_id=${'x'.repeat(129)}`, 'request_id'],
    ['from=now', 'from'],
    ['from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z', 'from'],
    ['after=-1', 'after'],
    ['after=1.2.3', 'after'],
    ['after=1e9', 'after'],
    ['after=9999999999999999', 'after'],
    ['limit=0', 'limit'],
    ['limit=101', 'limit'],
    ['project=a', 'project'],
  ])('a question that cannot be meant is refused, and its field named: %s', async (query, param) => {
    const answer = await site.send('GET', `/logs?${query}`)
    expect([answer.status, answer.body.error?.code, answer.body.error?.param]).toEqual([400, 'invalid_request', param])
  })
})

describe('a log of many lines', () => {
  const JOB = 'job_01JAAAAAAAAAAAAAAAAAAAAAAA'
  /** As many events of good jobs of another project. */
  const fill = (count: number) =>
    exec((sql) => {
      sql.exec(
        `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
         INSERT INTO events (seq, job, project, type, at_ms, data) SELECT i, '${JOB}', 'b', CASE WHEN i % 40000 = 7 THEN 'job.failed' ELSE 'job.queued' END, i, '{}' FROM n`,
      )
    })

  test('is read a piece at a time where a filter matches little, and to its end all the same', async () => {
    const own = withKey(site, (await site.makeKey({ name: 'a', role: 'user', project: 'a' })).key)
    await fill(12_000)
    const empty = await page('?event=job.queued', own)
    expect([empty.data, empty.next]).toEqual([[], String(12_000 - LIMITS.logScan + 1)])
    expect(await whole('event=job.queued', own)).toEqual([])
    const since = '&from=1970-01-01T00:00:02.000Z&to=1970-01-01T00:00:02.003Z'
    expect((await whole(`event=job.queued${since}`)).map(({ id }) => id)).toEqual(['2002', '2001', '2000'])
  })

  test('gives what went wrong at once, however much went well', async () => {
    await fill(100_000)
    const { data, next } = await page('?level=warn')
    expect([data.map(({ id }) => id), next]).toEqual([['80007', '40007', '7'], null])
  })

  test('keeps a bounded number of lines, the newest', async () => {
    await exec((sql) => {
      sql.exec(
        `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${LIMITS.logLines - 2})
         INSERT INTO log SELECT 0, i + 2, 0, 'limits.narrowed', NULL, NULL, NULL, '{}' FROM n`,
      )
    })
    for (let i = 0; i < 3; i += 1) await site.makeKey({ name: `k${i}`, role: 'user' })
    const [row] = await rowsOf('prod', 'SELECT count(*) AS n, min(number) AS oldest, max(number) AS newest FROM log')
    expect(row).toEqual({ n: LIMITS.logLines, oldest: 4, newest: LIMITS.logLines + 3 })
  })
})

describe('the log and the books', () => {
  test('a turn that failed is told, though all that it did was rolled back', async () => {
    const clock = movableClock()
    const { id } = await site.begin({ not_before: new Date(Date.now() + 60_000).toISOString() })
    await exec((sql) => {
      sql.exec("CREATE TRIGGER broken BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'no room for a lighthouse'); END")
    })
    clock.advance(61_000)
    await runDurableObjectAlarm(instanceStub('prod'))
    await exec((sql) => void sql.exec('DROP TRIGGER broken'))
    const { data } = await page('?level=error')
    expect(data).toEqual([expect.objectContaining({ event: 'instance.turn_failed', data: { name: 'Error' } })])
    await runDurableObjectAlarm(instanceStub('prod'))
    expect((await site.ended(id)).status).toBe('succeeded')
  })

  test('a change that is rolled back leaves no line', async () => {
    await exec((sql) => {
      sql.exec("CREATE TRIGGER broken BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'no room'); END")
    })
    const answer = await site.send('POST', '/keys', { json: { name: 'k', role: 'user' } })
    expect(answer.status).toBe(500)
    expect((await site.send<{ data: unknown[] }>('GET', '/keys')).body.data).toHaveLength(1)
    await exec((sql) => void sql.exec('DROP TRIGGER broken'))
    expect((await site.send('POST', '/jobs', { json: jobRequest() })).status).toBe(202)
  })
})
