import { runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import { instanceStub, jobRequest, openSite, rowsOf, type Site, SYNC } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
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
