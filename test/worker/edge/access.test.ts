import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Job } from '../../../src/contract/job.ts'
import {
  type Answer,
  instanceStub,
  type NewKey,
  openSite,
  PROVIDER_SECRET,
  ROOT_KEY,
  rowsOf,
  type Site,
  send,
  withKey,
} from '../support/client.ts'
import { movableClock } from '../support/clock.ts'
import { fakeIdeogram } from '../support/fake-ideogram.ts'
import { durable, openStream } from '../support/streams.ts'

/** Who may do what, and what those who may not are told. */

type Call = [method: string, path: string, json?: unknown]
const CALLS: Call[] = [
  ['GET', ''],
  ['PATCH', '', { config: { queue_bound: 7 } }],
  ['GET', '/jobs'],
  ['POST', '/jobs', { type: 'image.generate', input: { prompt: 'x' } }],
  ['GET', '/jobs/job_01JAAAAAAAAAAAAAAAAAAAAAAA'],
  ['POST', '/jobs/job_01JAAAAAAAAAAAAAAAAAAAAAAA/cancel'],
  ['GET', '/events'],
  ['GET', '/jobs/job_01JAAAAAAAAAAAAAAAAAAAAAAA/events'],
  ['POST', '/tickets'],
  ['GET', '/artifacts/art_01JAAAAAAAAAAAAAAAAAAAAAAA_1_0'],
  ['GET', '/keys'],
  ['POST', '/keys', { name: 'mine', role: 'admin' }],
  ['DELETE', '/keys/0123456789abcdef'],
  ['GET', '/providers'],
  ['GET', '/providers/ideogram'],
  ['PUT', '/providers/ideogram', { enabled: false }],
  ['GET', '/providers/ideogram/credentials'],
  ['POST', '/providers/ideogram/credentials', { name: 'other', secret: 'x' }],
  ['PATCH', '/providers/ideogram/credentials/main', { enabled: false }],
  ['DELETE', '/providers/ideogram/credentials/main'],
  ['GET', '/node-types'],
  ['GET', '/models'],
  ['GET', '/usage'],
  ['GET', '/logs'],
  ['GET', '/prices'],
  ['GET', '/prices/ideogram/ideogram-3'],
  ['PUT', '/prices/ideogram/ideogram-3', { rates: { per_image_usd: 0.01 } }],
  ['DELETE', '/prices/ideogram/ideogram-3'],
]

/** All that a caller sees of an answer, but for what is made anew for each request. */
const seen = ({ status, headers, text }: Answer<unknown>): string => {
  const id = headers.get('x-request-id') ?? ''
  return JSON.stringify([
    status,
    [...headers].map(([name, value]) => [name, value.replace(id, '')]),
    text.replace(id, ''),
  ])
}

let site: Site
beforeEach(async () => {
  site = await openSite('prod')
})

describe('a caller without any right here', () => {
  test.each(CALLS)('gets the same answer whatever the reason: %s %s', async (method, path, json) => {
    const clock = movableClock()
    const foreign = await openSite('other')
    const revoked = await site.makeKey({ name: 'revoked', role: 'admin' })
    const expired = await site.makeKey({
      name: 'expired',
      role: 'admin',
      expires_at: new Date(Date.now() + 60_000).toISOString(),
    })
    expect((await site.send('DELETE', `/keys/${revoked.id}`)).status).toBe(204)
    clock.advance(61_000)
    const wrong = `${site.key.slice(0, -1)}${site.key.endsWith('A') ? 'B' : 'A'}`
    const nobody = `sy_0123456789abcdef_${'A'.repeat(43)}`
    const options = json === undefined ? {} : { json }
    const ask = async (base: string, key: string) => seen(await send(method, base + path, { key, ...options }))
    const answers = {
      unknownInstance: await ask('/v1/instances/nowhere', site.key),
      foreignKey: await ask(site.base, foreign.key),
      revokedKey: await ask(site.base, revoked.key),
      expiredKey: await ask(site.base, expired.key),
      wrongSecret: await ask(site.base, wrong),
      unknownKey: await ask(site.base, nobody),
    }
    expect(JSON.parse(answers.unknownInstance)[0]).toBe(404)
    expect(new Set(Object.values(answers)).size).toBe(1)
  })

  test.each([
    ['nothing', null],
    ['a key of another form', 'sk-something'],
    ['a key cut short', 'sy_0123456789abcdef_short'],
    ['nearly the root key', `${ROOT_KEY}x`],
  ])('who sends %s as a key is asked for one', async (_name, key) => {
    for (const base of [site.base, '/v1/instances/nowhere']) {
      expect((await send('GET', `${base}/jobs`, { key })).status).toBe(401)
    }
  })

  test('an instance that was deleted is as unknown as one that never was', async () => {
    await send('DELETE', site.base, { key: ROOT_KEY })
    const [gone, never] = await Promise.all([
      site.send('GET', '/jobs'),
      send('GET', '/v1/instances/never/jobs', { key: site.key }),
    ])
    expect(seen(gone)).toBe(seen(never))
    expect(await env.DIRECTORY.prepare('SELECT count(*) AS n FROM instances').first('n')).toBe(0)
  })
})

describe('the super admin', () => {
  const instances: Call[] = [
    ['POST', '/v1/instances', { id: 'third' }],
    ['GET', '/v1/instances'],
    ['DELETE', '/v1/instances/prod'],
  ]
  test.each(instances)('alone may %s %s', async (method, path, json) => {
    const options = json === undefined ? {} : { json }
    expect((await send(method, path, { key: site.key, ...options })).status).toBe(404)
    expect((await send(method, path, { key: null, ...options })).status).toBe(401)
    expect((await send(method, path, { key: ROOT_KEY, ...options })).status).toBeLessThan(300)
  })

  test('an id that is taken is refused, and nothing of the request stays', async () => {
    const again = await send('POST', '/v1/instances', {
      key: ROOT_KEY,
      json: { id: 'prod', organization: 'late', config: { queue_bound: 3 } },
    })
    expect([again.status, again.body.error.code]).toEqual([409, 'conflict'])
    expect(
      (await send<{ organization: null; config: object }>('GET', site.base, { key: ROOT_KEY })).body,
    ).toMatchObject({ organization: null, config: {} })
    expect((await env.DIRECTORY.prepare('SELECT id FROM organizations').all()).results).toEqual([])
  })
})

describe('a key of the role user', () => {
  const jobsAndReading = ['/jobs', '/events', '/tickets', '/artifacts', '/node-types', '/models']
  const administration = CALLS.filter(([method, path]) => {
    if (jobsAndReading.some((start) => path.startsWith(start))) return false
    return method !== 'GET' || path.startsWith('/keys') || path.endsWith('/credentials')
  })

  test.each(administration)('is told that administration is not its right: %s %s', async (method, path, json) => {
    const user = withKey(site, (await site.makeKey({ name: 'user', role: 'user' })).key)
    const answer = await user.send(method, path, json === undefined ? {} : { json })
    expect([answer.status, answer.body.error.code, answer.body.error.type]).toEqual([
      403,
      'permission_denied',
      'permission_error',
    ])
  })

  test('may submit, see and cancel jobs', async () => {
    const user = withKey(site, (await site.makeKey({ name: 'user', role: 'user' })).key)
    const job = await user.begin({ not_before: new Date(Date.now() + 3_600_000).toISOString() })
    expect((await user.send('GET', `/jobs/${job.id}`)).status).toBe(200)
    expect((await user.send('POST', `/jobs/${job.id}/cancel`)).status).toBe(200)
  })

  test('holds only the scopes it was given', async () => {
    const reader = withKey(site, (await site.makeKey({ name: 'reader', role: 'user', scopes: ['read'] })).key)
    const writer = withKey(site, (await site.makeKey({ name: 'writer', role: 'user', scopes: ['jobs'] })).key)
    expect((await reader.submit()).status).toBe(403)
    expect((await reader.send('GET', '/jobs')).status).toBe(200)
    expect((await writer.send('GET', '/jobs')).status).toBe(403)
    expect((await writer.send('GET', '/events')).status).toBe(403)
    expect((await writer.submit({ not_before: new Date(Date.now() + 3_600_000).toISOString() })).status).toBe(202)
  })
})

describe('a key of one project', () => {
  let one: Site
  let two: Site
  beforeEach(async () => {
    fakeIdeogram()
    one = withKey(site, (await site.makeKey({ name: 'one', role: 'user', project: 'one' })).key)
    two = withKey(site, (await site.makeKey({ name: 'two', role: 'user', project: 'two' })).key)
  })

  test('sees the jobs of its project and no others, whichever way it asks', async () => {
    const [mine, theirs] = [await one.begin(), await two.begin()]
    await site.begin()
    await Promise.all([one.ended(mine.id), two.ended(theirs.id)])
    expect([mine.project, theirs.project]).toEqual(['one', 'two'])
    const list = async (query: string) =>
      (await one.send<{ data: Job[] }>('GET', `/jobs${query}`)).body.data.map((job) => job.id)
    expect(await list('')).toEqual([mine.id])
    expect(await list('?status=succeeded')).toEqual([mine.id])
    expect(await list(`?after=job_7${'Z'.repeat(25)}`)).toEqual([mine.id])
    const other = await one.send('GET', `/jobs/${theirs.id}`)
    const none = await one.send('GET', '/jobs/job_01JAAAAAAAAAAAAAAAAAAAAAAA')
    expect(other.status).toBe(404)
    expect(seen(other)).toBe(seen(none))
    for (const path of [`/jobs/${theirs.id}/events`, `/artifacts/${theirs.id.replace('job', 'art')}_1_0`]) {
      expect((await one.send('GET', path)).status).toBe(404)
      expect((await two.send('HEAD', path.replace('/events', ''))).status).toBe(200)
    }
    expect((await one.send('POST', `/jobs/${theirs.id}/cancel`)).status).toBe(404)
  })

  test('pages through its own jobs behind many others without being told the id of one', async () => {
    const mine = await one.begin()
    await runInDurableObject(
      instanceStub('prod'),
      (_instance, { storage }) =>
        void storage.sql.exec(
          `INSERT INTO jobs (id, status, provider, model, tag, queued_at_ms, tokens, attempt, counted, deadline_at_ms,
             created_at_ms, ended_at_ms, type, project, priority, request_id, input, wishes, metadata)
           WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10020)
           SELECT printf('job_%010d%016d', i / 3, i), 'canceled', provider, model, tag, queued_at_ms, tokens, attempt, counted,
             deadline_at_ms, created_at_ms, created_at_ms, type, CASE WHEN i % 10000 < 20 THEN 'one' ELSE 'two' END, priority,
             request_id, input, wishes, metadata FROM jobs, n WHERE id = ?`,
          mine.id,
        ),
    )
    const [told, cursors]: [string[], string[]] = [[], []]
    for (let next: string | null = `job_7${'Z'.repeat(25)}`; next !== null && cursors.length < 50; ) {
      const path: string = `/jobs?limit=7&after=${next}`
      const page: { data: Job[]; next: string | null } = (await one.send<typeof page>('GET', path)).body
      told.push(...page.data.map(({ id }) => id))
      next = page.next
      if (next !== null) cursors.push(next)
    }
    const rows = await rowsOf('prod', 'SELECT id, project FROM jobs ORDER BY id DESC')
    expect(told).toEqual(rows.filter(({ project }) => project === 'one').map(({ id }) => id))
    const theirs = new Set(rows.filter(({ project }) => project === 'two').map(({ id }) => id))
    expect(cursors.filter((cursor) => theirs.has(cursor))).toEqual([])
  })

  test('that filters by another project is shown nothing', async () => {
    await one.begin()
    await two.begin()
    expect((await one.send<{ data: Job[] }>('GET', '/jobs?project=two')).body.data).toEqual([])
  })

  test('may not submit to another project', async () => {
    const answer = await one.send('POST', '/jobs', {
      json: { type: 'image.generate', input: { prompt: 'x' }, project: 'two' },
    })
    expect([answer.status, answer.body.error.code]).toEqual([403, 'permission_denied'])
  })

  test('sees the events of its project only', async () => {
    const stream = await openStream(`${site.base}/events?after=0`, { key: one.key })
    const theirs = await two.begin()
    await two.ended(theirs.id)
    const mine = await one.begin()
    await one.ended(mine.id)
    const events = await stream.until(3)
    expect(new Set(events.map((event) => event.job))).toEqual(new Set([mine.id]))
    expect(durable(events).map((event) => event.type)).toEqual(['job.queued', 'job.started', 'job.succeeded'])
    await stream.close()
  })

  test('has idempotency keys of its own', async () => {
    const headers = { 'idempotency-key': 'same' }
    const jobs = [await one.submit({}, headers), await two.submit({}, headers), await site.submit({}, headers)]
    expect(jobs.map(({ status }) => status)).toEqual([202, 202, 202])
    expect(new Set(jobs.map(({ body }) => body.id)).size).toBe(3)
  })
})

describe('what is secret', () => {
  test('a key is shown once and lies in the database only as its digest', async () => {
    const made = await site.makeKey({ name: 'other', role: 'user' })
    expect(made.key).toMatch(/^sy_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/)
    const list = await site.send<{ data: NewKey[] }>('GET', '/keys')
    expect(list.body.data.map((key) => key.name).sort()).toEqual(['other', 'owner'])
    const secret = made.key.split('_').slice(2).join('_')
    for (const text of [list.text, JSON.stringify(await rowsOf('prod', 'SELECT * FROM api_keys'))]) {
      expect(text).toContain(made.id)
      expect(text).not.toContain(secret)
    }
    expect(list.text).not.toContain('digest')
  })

  test('a revoked key is gone at once, also from the list', async () => {
    const made = await site.makeKey({ name: 'other', role: 'admin' })
    expect((await site.send('DELETE', `/keys/${made.id}`)).status).toBe(204)
    expect((await withKey(site, made.key).send('GET', '/jobs')).status).toBe(404)
    expect((await site.send('DELETE', `/keys/${made.id}`)).status).toBe(404)
    expect(await rowsOf('prod', `SELECT * FROM api_keys WHERE id = '${made.id}'`)).toEqual([])
  })

  test('a credential is never returned, only the hint of its last four characters', async () => {
    const other = `${PROVIDER_SECRET}-2`
    const answers = [
      await site.send('POST', '/providers/ideogram/credentials', { json: { name: 'second', secret: other } }),
      await site.send('POST', '/providers/ideogram/credentials', { json: { name: 'second', secret: other } }),
      await site.send('GET', '/providers/ideogram/credentials'),
      await site.send('PATCH', '/providers/ideogram/credentials/second', {
        json: { secret: PROVIDER_SECRET, weight: 3 },
      }),
      await site.send('GET', '/providers/ideogram'),
      await site.send('GET', '/providers'),
    ]
    expect(answers.map(({ status }) => status)).toEqual([201, 409, 200, 200, 200, 200])
    for (const { text } of answers) expect(text).not.toContain(PROVIDER_SECRET.slice(0, -4))
    expect(answers[2]?.text).toContain('"hint":"wxyz"')
    const rows = JSON.stringify(await rowsOf('prod', 'SELECT * FROM credentials'))
    expect(rows).toContain('second')
    expect(rows).not.toContain('secret-of-the-tests')
  })

  test('of a short secret not even a hint is given', async () => {
    const { text } = await site.send('POST', '/providers/ideogram/credentials', {
      json: { name: 'short', secret: 'abcdefgh' },
    })
    expect(JSON.parse(text)).toMatchObject({ hint: null })
  })
})
