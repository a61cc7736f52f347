import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, jobRequest, openSite, rowsOf, type Site, SYNC } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const inFuture = (ms: number): string => new Date(Date.now() + ms).toISOString()

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

describe('what became of an attempt', () => {
  test('a provider that is down is asked again, and both attempts are told', async () => {
    provider.next.generate.push(failing(503))
    const job = await site.ended((await site.begin()).id)
    expect(job.status).toBe('succeeded')
    expect(job.attempts.map(({ number, outcome }) => [number, outcome])).toEqual([
      [1, 'provider_unavailable'],
      [2, 'done'],
    ])
    expect(job.attempts[0]?.error).toMatchObject({ code: 'provider_unavailable', source: 'provider' })
    expect(provider.accepted).toHaveLength(1)
    const types = (await rowsOf('prod', 'SELECT type FROM events ORDER BY seq')).map((row) => row['type'])
    expect(types).toEqual(['job.queued', 'job.started', 'job.retrying', 'job.started', 'job.succeeded'])
  })

  test('max_attempts ends the tries', async () => {
    provider.next.generate.push(failing(503), failing(503), failing(503))
    const job = await site.ended((await site.begin({ max_attempts: 2 })).id)
    expect(job).toMatchObject({ status: 'failed', error: { code: 'provider_unavailable' }, cost_usd: 0 })
    expect(job.attempts).toHaveLength(2)
  })

  test('too many requests slow the provider and cost no attempt', async () => {
    provider.next.generate.push(failing(429, { reject_reason: 'inflight_limit' }, { 'retry-after': '1' }))
    const job = await site.ended((await site.begin({ max_attempts: 1 })).id)
    expect(job.status).toBe('succeeded')
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_rate_limited', 'done'])
    expect(job.timing.total_ms).toBeGreaterThanOrEqual(1000)
  })

  test('a rate limit met again and again for hours leaves a short record that tells how many attempts there were', async () => {
    const clock = movableClock()
    clock.freeze()
    const busy = failing(429, { reject_reason: 'inflight_limit' }, { 'retry-after': '3600' })
    const made = 3 * LIMITS.rateLimitedAttemptsKept
    provider.next.generate.push(...Array.from({ length: made }, () => busy))
    const waits = await site.begin({ deadline_s: 7 * 24 * 60 * 60 })
    for (let attempt = 1; attempt <= made; attempt += 1) {
      await eventually(`attempt ${attempt} is turned away`, async () => {
        const { status, attempts } = await site.job(waits.id)
        return status === 'queued' && attempts.at(-1)?.number === attempt
      })
      clock.advance(60 * 60 * 1000)
      await runDurableObjectAlarm(instanceStub('prod'))
    }
    const done = await site.ended(waits.id)
    expect(done).toMatchObject({ status: 'succeeded', cost_usd: 0.06, attempts_left_out: made - 10 })
    const numbers = done.attempts.map(({ number }) => number)
    expect(numbers).toEqual([1, ...Array.from({ length: 9 }, (_, i) => made - 8 + i), made + 1])
    expect(done.attempts.map(({ outcome }) => outcome)).toEqual([
      ...Array.from({ length: 10 }, () => 'provider_rate_limited'),
      'done',
    ])
  })

  test('a rejection for safety is final and repeats no word of the prompt', async () => {
    provider.next.generate.push(failing(422, { error: 'the prompt "a lighthouse at dawn" is unsafe' }))
    const job = await site.ended((await site.begin()).id)
    expect(job).toMatchObject({
      status: 'failed',
      output: null,
      error: { code: 'content_rejected', type: 'job_error', source: 'provider' },
    })
    expect(job.attempts).toHaveLength(1)
    expect(JSON.stringify([job.error, await rowsOf('prod', 'SELECT data FROM events')])).not.toContain('lighthouse')
  })

  test('a deadline ends a running job and its call', async () => {
    provider.hold('generate')
    const job = await site.ended((await site.begin({ deadline_s: 1 })).id)
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'deadline_exceeded' },
      attempts: [{ outcome: 'deadline_exceeded' }],
    })
    await eventually('the call is ended', () => provider.aborted === 1)
  })
})

describe('an end that is told', () => {
  test('moves the job to a model whose rate frees at a fraction of a millisecond', async () => {
    // A seventh of a minute is no whole number of milliseconds.
    const models = { 'ideogram-4': { limits: { requests_per_minute: 7 } } }
    expect((await site.send('PUT', '/providers/ideogram', { json: { models } })).status).toBe(200)
    await site.ended((await site.begin({ models: ['ideogram/ideogram-4'] })).id)
    provider.next.generate.push(failing(400))
    const job = await site.begin({ models: ['ideogram/ideogram-3', 'ideogram/ideogram-4'] })
    await eventually('the fallback', async () => (await site.job(job.id)).model === 'ideogram/ideogram-4')
    expect(await site.job(job.id)).toMatchObject({ status: 'queued', attempts: [{ outcome: 'provider_rejected' }] })
    const [event] = await rowsOf('prod', "SELECT data FROM events WHERE type = 'job.fallback'")
    expect(JSON.parse(String(event?.['data'])).retry_in_ms).toSatisfy(Number.isInteger)
  })

  test('keeps to itself where it cannot be written: the other ends of the same report are, and it is told again', async () => {
    const exec = (query: string) =>
      runInDurableObject(instanceStub('prod'), (_instance, { storage }) => void storage.sql.exec(query))
    provider.hold('generate')
    const [stuck, free] = [await site.begin(), await site.begin()]
    await eventually('both calls hang', () => provider.open.generate === 2)
    await exec(`CREATE TRIGGER broken BEFORE INSERT ON attempts WHEN NEW.job = '${stuck.id}'
      BEGIN SELECT RAISE(ABORT, 'no room'); END`)
    provider.release('generate')
    expect((await site.ended(free.id)).status).toBe('succeeded')
    expect((await site.job(stuck.id)).status).toBe('running')
    await exec('DROP TRIGGER broken')
    expect((await site.ended(stuck.id)).attempts).toMatchObject([{ outcome: 'done' }])
    expect(provider.accepted).toHaveLength(2)
  })
})

describe('a turn by alarm that fails', () => {
  test('is tried again soon, then ever more seldom, and what was due runs once it succeeds', async () => {
    const exec = (query: string) =>
      runInDurableObject(instanceStub('prod'), (_instance, { storage }) => void storage.sql.exec(query))
    const wait = () => runInDurableObject(instanceStub('prod'), (_instance, { storage }) => storage.getAlarm())
    const job = await site.begin({ not_before: inFuture(DAY_MS) })
    await exec("CREATE TRIGGER broken BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'no room'); END")
    // So far ahead that no alarm of the test rings by itself.
    const clock = movableClock()
    clock.advance(2 * DAY_MS)
    const now = clock.freeze()
    for (const ms of [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      await runDurableObjectAlarm(instanceStub('prod'))
      const at = ((await wait()) ?? 0) - now
      expect(at).toBeGreaterThanOrEqual(ms * 0.8)
      expect(at).toBeLessThanOrEqual(ms * 1.2)
    }
    expect((await site.job(job.id)).status).toBe('scheduled')
    await exec('DROP TRIGGER broken')
    await runDurableObjectAlarm(instanceStub('prod'))
    expect((await site.job(job.id)).status).not.toBe('scheduled')
  })
})

describe('the story of the instance', () => {
  test('has an event for every change, numbered without gaps', async () => {
    provider.next.generate.push(failing(422), failing(503))
    const jobs = await Promise.all(Array.from({ length: 12 }, (_, i) => site.begin({ project: `p${i % 3}` })))
    await Promise.all(jobs.map(({ id }) => site.ended(id)))
    const events = await rowsOf('prod', 'SELECT seq, job, type FROM events ORDER BY seq')
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_event, i) => i + 1))
    for (const { id } of jobs) {
      const types = events.filter((event) => event['job'] === id).map(({ type }) => String(type))
      expect([types[0], types.at(-1)]).toEqual(['job.queued', expect.stringMatching(/^job\.(succeeded|failed)$/)])
    }
  })

  test('is written with the change or neither is: what fails leaves no job and no hole in the numbers', async () => {
    const exec = (query: string) =>
      runInDurableObject(instanceStub('prod'), (_instance, { storage }) => void storage.sql.exec(query))
    await site.begin({ not_before: inFuture(DAY_MS) })
    await exec("CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
    const answer = await site.send('POST', '/jobs', { json: jobRequest(), headers: { 'idempotency-key': 'k' } })
    expect([answer.status, answer.body.error.code]).toEqual([500, 'internal'])
    expect(answer.text).not.toContain('no room')
    expect(await rowsOf('prod', 'SELECT id FROM jobs')).toHaveLength(1)
    expect(await rowsOf('prod', 'SELECT * FROM idempotency')).toEqual([])
    await exec('DROP TRIGGER broken')
    const job = (await site.submit({ input: { prompt: 'again', ...SYNC } }, { 'idempotency-key': 'k' })).body
    await site.ended(job.id)
    expect((await rowsOf('prod', 'SELECT seq FROM events ORDER BY seq')).map(({ seq }) => seq)).toEqual([1, 2, 3, 4])
    expect((await site.send<{ live: object }>('GET', '/providers/ideogram')).body.live).toMatchObject({
      running: 0,
      queued: 1,
    })
  })
})
