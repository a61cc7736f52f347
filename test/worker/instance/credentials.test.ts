import { evictDurableObject, runDurableObjectAlarm } from 'cloudflare:test'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Credential, ProviderView } from '../../../src/contract/instance.ts'
import { intervalOf } from '../../../src/core/token-bucket.ts'
import { Lane } from '../../../src/job/lane.ts'
import { LIMITS } from '../../../src/limits.ts'
import {
  instanceStub,
  jobRequest,
  laneRows,
  must,
  openSite,
  PROVIDER_SECRET,
  rowsOf,
  type Site,
} from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { durable, openSocket, type Subscriber } from '../support/streams.ts'

/** Several credentials of one provider: who serves, what stops one of them, and how they come and go under way. */

const NAME = 'instance:prod:provider:ideogram:credential'
const SECOND_SECRET = 'second-secret-of-the-tests-9876543210-abcd'
const NEW_SECRET = 'new-secret-of-the-tests-5555555555-efgh'
const ASYNC = { input: { prompt: 'a lighthouse at dawn' } }
const PATH = '/providers/ideogram/credentials'

let site: Site
let provider: FakeIdeogram
const subscribers: Subscriber[] = []
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})
afterEach(async () => {
  for (const subscriber of subscribers.splice(0)) await subscriber.close()
})

const ring = () => runDurableObjectAlarm(instanceStub('prod'))
const patch = (name: string, json: Record<string, unknown>) =>
  must(200, site.send<Credential>('PATCH', `${PATH}/${name}`, { json }))
const addSecond = (more: Record<string, unknown> = {}) =>
  must(201, site.send('POST', PATH, { json: { name: 'second', secret: SECOND_SECRET, ...more } }))
const credentials = async () => (await must(200, site.send<{ data: Credential[] }>('GET', PATH))).body.data
const credential = async (name: string): Promise<Credential> => {
  const found = (await credentials()).find((item) => item.name === name)
  if (!found) throw new Error(`no credential ${name}`)
  return found
}
const eventsOf = async (type: string) =>
  (await rowsOf('prod', `SELECT job, project, data FROM events WHERE type = '${type}'`)).map(
    ({ job, project, data }) => ({
      job,
      project,
      ...(JSON.parse(String(data)) as Record<string, unknown>),
    }),
  )
const parked = () =>
  eventually('the attempt waits', async () => (await laneRows('prod', 'SELECT * FROM attempts')).length > 0)

describe('limits of a credential', () => {
  test('hold for each by itself, and a waiting job names one of them', async () => {
    await patch('main', { limits: { concurrency: 1 } })
    await addSecond({ limits: { concurrency: 2 } })
    provider.hold('generate')
    const jobs = await Promise.all(Array.from({ length: 8 }, () => site.begin()))
    await eventually('three calls hang', () => provider.open.generate === 3)
    expect((await credentials()).map(({ name, live }) => [name, live.running])).toEqual([
      ['main', 1],
      ['second', 2],
    ])
    const waiting = await Promise.all(jobs.map(({ id }) => site.job(id)))
    for (const { queue } of waiting.filter(({ status }) => status === 'queued'))
      expect(queue).toMatchObject({ waiting_for: 'concurrency', limit: expect.stringContaining(NAME) })
    provider.release('generate')
    for (const { id } of jobs) expect((await site.ended(id)).status).toBe('succeeded')
    expect(provider.mostOpen).toBe(3)
    expect((await credentials()).map(({ live }) => live.running)).toEqual([0, 0])
  })

  test('a provider whose every credential is out of room waits until the first has it again', async () => {
    const clock = movableClock()
    const now = clock.freeze()
    await patch('main', { limits: { requests_per_minute: 6 } })
    await addSecond({ limits: { requests_per_minute: 3 } })
    const waitMs = intervalOf({ limit: 6, windowMs: 60_000 })
    const jobs = [await site.begin(), await site.begin()]
    for (const { id } of jobs) await site.ended(id)
    expect(new Set(provider.accepted.map(({ secret }) => secret))).toEqual(new Set([PROVIDER_SECRET, SECOND_SECRET]))
    const third = await site.begin()
    expect((await site.job(third.id)).queue).toEqual({
      position: 1,
      waiting_for: 'provider_rate',
      limit: `${NAME}:main`,
      estimated_start_at: new Date(now + waitMs).toISOString(),
    })
    clock.advance(waitMs - 1)
    await ring()
    expect(provider.calls.generate).toBe(2)
    clock.advance(1)
    await ring()
    expect((await site.ended(third.id)).status).toBe('succeeded')
    expect(provider.accepted.at(-1)?.secret).toBe(PROVIDER_SECRET)
  })

  test.each([
    5,
    // More than one turn looks at.
    LIMITS.claimsPerTurn + 10,
  ])('%i jobs that go on with a credential without room hold up nobody behind them', async (many) => {
    const clock = movableClock()
    const now = clock.freeze()
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 2 } } })
    await patch('main', { limits: { requests_per_minute: 1 } })
    await site.ended((await site.begin()).id)
    await addSecond()
    const later = { not_before: new Date(now + 1_000).toISOString() }
    const bound = await Promise.all(Array.from({ length: many }, () => site.begin(later)))
    // As an attempt with that credential leaves them that has begun something at the provider.
    const waiting = "FROM jobs WHERE status = 'scheduled'"
    await rowsOf(
      'prod',
      `INSERT INTO attempts (job, number, model, credential, secret, reason, started_at_ms, ended_at_ms, outcome)
       SELECT id, 1, model, 'main', 1, 'first choice', created_at_ms, created_at_ms, 'artifact_failed' ${waiting} RETURNING job`,
    )
    await rowsOf('prod', `UPDATE jobs SET attempt = 1, resume = '{}' WHERE id IN (SELECT id ${waiting}) RETURNING id`)
    await evictDurableObject(instanceStub('prod'))
    clock.advance(1_000)
    await ring()
    expect((await site.ended((await site.begin()).id)).status).toBe('succeeded')
    for (const { id } of bound) expect((await site.job(id)).status).toBe('queued')
    const [first] = await Promise.all(bound.map(({ id }) => site.job(id)))
    // Not that it could start at any moment: the other credential, which has room, is none of its own.
    if (first?.queue?.waiting_for !== 'not_before')
      expect(first?.queue).toMatchObject({ waiting_for: 'provider_rate', limit: `${NAME}:main` })
    // Nor do they sleep on when it has room again.
    await patch('main', { limits: { requests_per_minute: null } })
    clock.advance(LIMITS.leaseMs)
    await ring()
    const begun = await Promise.all(bound.map(async ({ id }) => (await site.job(id)).status !== 'queued'))
    expect(begun).toContain(true)
  })

  test('are kept over a restart of the actor', async () => {
    const clock = movableClock()
    clock.freeze()
    await patch('main', { limits: { requests_per_minute: 6 } })
    await site.ended((await site.begin()).id)
    await evictDurableObject(instanceStub('prod'))
    expect((await site.begin()).queue).toMatchObject({ waiting_for: 'provider_rate', limit: `${NAME}:main` })
    expect(provider.calls.generate).toBe(1)
  })

  test('are changed one by one, taken away with null, and refused by the name of their field', async () => {
    await patch('main', { limits: { requests_per_minute: 60, concurrency: 2 } })
    expect((await patch('main', { limits: { concurrency: null } })).body.limits).toEqual({
      requests_per_minute: 60,
      concurrency: null,
    })
    const bad = await site.send('PATCH', `${PATH}/main`, { json: { limits: { requests_per_minute: 0 } } })
    expect([bad.status, bad.body.error.param]).toEqual([400, 'limits.requests_per_minute'])
    expect((await credential('main')).limits).toEqual({ requests_per_minute: 60, concurrency: null })
  })
})

describe('what a provider says of one account', () => {
  test('too many requests stop that credential, and the other serves at once', async () => {
    await addSecond()
    provider.next.generate.push(failing(429, { error: 'slow down' }, { 'retry-after': '600' }))
    const job = await site.ended((await site.begin({ max_attempts: 1 })).id)
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_rate_limited', 'done'])
    for (let i = 0; i < 4; i += 1) await site.ended((await site.begin()).id)
    const used = new Set(provider.accepted.map(({ secret }) => secret))
    expect([provider.accepted.length, used.size]).toEqual([5, 1])
    const [silent, other] = (await credentials()).sort((a, b) => a.live.share - b.live.share)
    expect(silent).toMatchObject({ live: { share: 0.5, next_request_at: expect.any(String) } })
    expect(other).toMatchObject({ live: { share: 1, next_request_at: null } })
    expect((await site.send<ProviderView>('GET', '/providers/ideogram')).body.adaptive.share).toBe(1)
  })

  test('no quota cools it with an event that says until when, the job goes on with the other, and it comes back', async () => {
    const clock = movableClock()
    await addSecond({ weight: 0 })
    provider.next.generate.push((url) => {
      void patch('second', { weight: 1 })
      return eventually('the other is in service', async () => (await credential('second')).weight === 1).then(() =>
        failing(402, { error: 'no', reject_reason: 'insufficient_funds' })(url),
      )
    })
    const job = await site.ended((await site.begin()).id)
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_quota_exhausted', 'done'])
    expect(await eventsOf('credential.cooled')).toEqual([
      {
        job: null,
        project: null,
        provider: 'ideogram',
        credential: 'main',
        code: 'provider_quota_exhausted',
        request_id: job.request_id,
        until: (await credential('main')).breaker.until,
      },
    ])
    clock.advance(60_001)
    await patch('second', { weight: 0 })
    expect((await site.ended((await site.begin()).id)).status).toBe('succeeded')
    expect(await eventsOf('credential.restored')).toMatchObject([
      { job: null, provider: 'ideogram', credential: 'main' },
    ])
  })

  test('a bad key switches it off with an event, which only those see who see the whole instance', async () => {
    await addSecond({ weight: 0 })
    const narrow = await site.makeKey({ name: 'narrow', role: 'user', project: 'forge' })
    const [all, mine] = [
      await openSocket(`${site.base}/events`, { key: site.key }),
      await openSocket(`${site.base}/events`, { key: narrow.key }),
    ]
    subscribers.push(all, mine)
    provider.next.generate.push(failing(401))
    const job = await site.ended((await site.begin({ project: 'forge' })).id)
    expect(job).toMatchObject({ status: 'failed', error: { code: 'provider_auth_failed' } })
    await patch('main', { enabled: true })
    await site.ended((await site.begin({ project: 'forge' })).id)
    await eventually('the stories', () => durable(mine.events).length >= 6 && durable(all.events).length >= 8)
    const told = durable(all.events).filter((event) => event.type.startsWith('credential.'))
    const main = { provider: 'ideogram', credential: 'main', request_id: expect.any(String) }
    expect(told.map(({ type, job: about, data }) => [type, about, data])).toEqual([
      ['credential.disabled', null, { ...main, code: 'provider_auth_failed' }],
      ['credential.restored', null, main],
    ])
    expect(durable(mine.events).map(({ type }) => type.split('.')[0])).toEqual(Array(6).fill('job'))
    expect(durable(all.events).map(({ seq }) => seq)).toEqual(durable(all.events).map((_event, i) => i + 1))
  })
})

describe('a secret that is replaced', () => {
  test('leaves a call alone that is under way with the old one', async () => {
    provider.hold('generate')
    const job = await site.begin({ max_attempts: 1 })
    await eventually('the call hangs', () => provider.open.generate === 1)
    await patch('main', { secret: NEW_SECRET })
    provider.release('generate')
    expect((await site.ended(job.id)).status).toBe('succeeded')
    expect(provider.accepted.map(({ secret }) => secret)).toEqual([PROVIDER_SECRET])
  })

  test('is asked with again at once where the old one was refused, and that costs no attempt', async () => {
    provider.next.generate.push(async (url) => {
      await patch('main', { secret: NEW_SECRET })
      return failing(401)(url)
    })
    const job = await site.ended((await site.begin({ max_attempts: 1 })).id)
    expect(job.status).toBe('succeeded')
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_auth_failed', 'done'])
    expect(provider.accepted.map(({ secret }) => secret)).toEqual([NEW_SECRET])
    expect(await credential('main')).toMatchObject({ enabled: true, disabled_reason: null })
    expect(await eventsOf('credential.disabled')).toEqual([])
  })

  test('that is refused too is switched off, and the job ends', async () => {
    provider.next.generate.push(async (url) => {
      await patch('main', { secret: NEW_SECRET })
      return failing(401)(url)
    }, failing(401))
    const job = await site.ended((await site.begin()).id)
    expect(job).toMatchObject({ status: 'failed', error: { code: 'provider_auth_failed' } })
    expect(await eventsOf('credential.disabled')).toHaveLength(1)
  })

  test('is what attempts that wait for the provider go on polling with', async () => {
    const job = await site.begin(ASYNC)
    await parked()
    await patch('main', { secret: NEW_SECRET })
    expect((await site.ended(job.id)).attempts).toMatchObject([{ outcome: 'done' }])
    expect(provider.polledWith.at(-1)).toBe(NEW_SECRET)
  })

  test('reaches a poll also where the lane could not be told: what was refused goes on from its checkpoint', async () => {
    vi.spyOn(Lane.prototype, 'renew').mockRejectedValue(new Error('gone'))
    provider.next.poll.push(failing(401))
    const job = await site.begin(ASYNC)
    await parked()
    await patch('main', { secret: NEW_SECRET })
    const done = await site.ended(job.id)
    expect(done.attempts.map(({ outcome }) => outcome)).toEqual(['provider_auth_failed', 'done'])
    expect([provider.accepted.length, provider.polledWith.at(-1)]).toEqual([1, NEW_SECRET])
    expect(await credential('main')).toMatchObject({ enabled: true })
  })
})

describe('a credential that is deleted', () => {
  const rows = () => rowsOf('prod', 'SELECT name FROM credentials')

  test('serves no new job, and what it began ends well; then its secret is gone', async () => {
    const job = await site.begin(ASYNC)
    await parked()
    await must(204, site.send('DELETE', `${PATH}/main`))
    expect(await credentials()).toEqual([])
    const refused = await site.send('POST', '/jobs', { json: jobRequest() })
    expect([refused.status, refused.body.error.code]).toEqual([400, 'no_provider'])
    expect((await site.ended(job.id)).status).toBe('succeeded')
    expect(provider.polledWith.at(-1)).toBe(PROVIDER_SECRET)
    await eventually('the secret is gone', async () => (await rows()).length === 0)
    expect(await rowsOf('prod', `SELECT name FROM credential_uses`)).toEqual([])
  })

  test('is kept while a retry must go on in its account', async () => {
    provider.next.poll.push(failing(404))
    const job = await site.begin(ASYNC)
    await parked()
    await must(204, site.send('DELETE', `${PATH}/main`))
    await addSecond()
    const done = await site.ended(job.id)
    expect(done.attempts.map(({ outcome }) => outcome)).toEqual(['provider_protocol_error', 'done'])
    expect([provider.accepted.length, provider.polledWith]).toEqual([1, [PROVIDER_SECRET, PROVIDER_SECRET]])
    await eventually('the secret is gone', async () => (await rows()).length === 1)
  })

  test('without work under way goes at once, and another of its name starts afresh', async () => {
    provider.next.generate.push(failing(401))
    await site.ended((await site.begin()).id)
    await must(204, site.send('DELETE', `${PATH}/main`))
    expect(await rows()).toEqual([])
    await must(201, site.send('POST', PATH, { json: { name: 'main', secret: NEW_SECRET } }))
    expect(await credential('main')).toMatchObject({
      enabled: true,
      usage: { attempts: 0, errors: 0, last_used_at: null, last_error: null },
    })
    expect((await site.ended((await site.begin()).id)).status).toBe('succeeded')
  })
})

describe('the uses of a credential', () => {
  test('are counted with their cost, last use and last error, which says no more than a code', async () => {
    const clock = movableClock()
    clock.freeze()
    provider.next.generate.push(failing(422, { error: `the key ${PROVIDER_SECRET} asked for something unsafe` }))
    const bad = await site.ended((await site.begin()).id)
    clock.advance(1_000)
    const good = await site.ended((await site.begin()).id)
    const { usage } = await credential('main')
    expect(usage).toEqual({
      attempts: 2,
      errors: 1,
      cost_usd: good.cost_usd,
      last_used_at: good.attempts[0]?.started_at,
      last_error: { code: 'content_rejected', at: bad.attempts[0]?.ended_at },
    })
  })

  test('survive a restart once they were written, which costs no write of its own more often than every few seconds', async () => {
    const clock = movableClock()
    await site.ended((await site.begin()).id)
    await site.ended((await site.begin()).id)
    clock.advance(5_001)
    await ring()
    const before = (await credential('main')).usage
    expect(before.attempts).toBe(2)
    await evictDurableObject(instanceStub('prod'))
    expect((await credential('main')).usage).toEqual(before)
  })
})
