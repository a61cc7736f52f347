import { evictDurableObject, runDurableObjectAlarm } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { ProviderLimits } from '../../../src/contract/instance.ts'
import { intervalOf } from '../../../src/core/token-bucket.ts'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, must, openSite, rowsOf, type Site } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'
import { close, dial, END, open, openLine } from '../support/line.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** Eight a day have no burst: one each three hours, and an eighth of a second for the way there. */
const LIMIT = 8
const WAIT_MS = 10_800_125
const PATIENT = { deadline_s: LIMITS.deadlineMaxSeconds }

let provider: FakeIdeogram
beforeEach(() => {
  provider = fakeIdeogram()
})

const ring = () => runDurableObjectAlarm(instanceStub('prod'))
const idle = () =>
  eventually(
    'nothing runs',
    async () => (await rowsOf('prod', "SELECT 1 FROM jobs WHERE status = 'running'")).length === 0,
  )

test('in no 24 hours are more sent than a day allows, over a restart too, and nothing of a day is lost', async () => {
  const clock = movableClock()
  clock.freeze()
  const limit = 20
  // The rate of a minute beside it would let all of them out in the first.
  const limits: ProviderLimits = { requests_per_day: limit, requests_per_minute: 600, concurrency: 50 }
  const site = await openSite('prod', { limits })
  const jobs = await Promise.all(Array.from({ length: 45 }, () => site.begin(PATIENT)))
  for (let quarter = 0; quarter < 2 * 24 * 4; quarter += 1) {
    await idle()
    if (quarter === 50) await evictDurableObject(instanceStub('prod'))
    clock.advance(HOUR_MS / 4)
    await ring()
  }
  await idle()
  expect(provider.accepted.length).toBeGreaterThanOrEqual(2 * limit - 2)
  expect(provider.accepted.length).toBeLessThanOrEqual(2 * limit)
  // What the days had no room for goes out on the next.
  clock.advance(DAY_MS)
  await ring()
  for (let quarter = 0; quarter < 24 * 4 && provider.accepted.length < jobs.length; quarter += 1) {
    await idle()
    clock.advance(HOUR_MS / 4)
    await ring()
  }
  for (const { id } of jobs) expect((await site.ended(id)).status).toBe('succeeded')
  const times = provider.accepted.map(({ atMs }) => atMs)
  for (const from of times)
    expect(times.filter((at) => at >= from && at < from + DAY_MS).length).toBeLessThanOrEqual(limit)
})

describe('a limit per day', () => {
  const limitTo: Record<string, (site: Site, limits: ProviderLimits) => Promise<unknown>> = {
    provider: (site, limits) => must(200, site.send('PUT', '/providers/ideogram', { json: { limits } })),
    model: (site, limits) =>
      must(200, site.send('PUT', '/providers/ideogram', { json: { models: { 'ideogram-4': { limits } } } })),
    credential: (site, limits) =>
      must(200, site.send('PATCH', '/providers/ideogram/credentials/main', { json: { limits } })),
  }
  test.each([
    ['provider', 'instance:prod:provider:ideogram'],
    ['model', 'instance:prod:provider:ideogram:model:ideogram-4'],
    ['credential', 'instance:prod:provider:ideogram:credential:main'],
  ])(
    'of a %s is what the waiting job says it waits for, until the very millisecond in which it starts',
    async (scope, name) => {
      const clock = movableClock()
      const now = clock.freeze()
      expect(intervalOf({ limit: LIMIT, windowMs: DAY_MS })).toBe(WAIT_MS)
      const site = await openSite('prod')
      await limitTo[scope]?.(site, { requests_per_day: LIMIT })
      const job = { models: ['ideogram/ideogram-4'], ...PATIENT }
      const [first, second] = [await site.begin(job), await site.begin(job)]
      await site.ended(first.id)
      const at = new Date(now + WAIT_MS).toISOString()
      expect((await site.job(second.id)).queue).toEqual({
        position: 1,
        waiting_for: 'provider_rate',
        limit: name,
        estimated_start_at: at,
      })
      clock.advance(WAIT_MS - 1)
      await ring()
      expect(provider.calls.generate).toBe(1)
      clock.advance(1)
      await ring()
      expect((await site.ended(second.id)).started_at).toBe(at)
    },
  )

  test('is told in the RateLimit headers where it is the tightest, with its window of a day', async () => {
    const clock = movableClock()
    clock.freeze()
    const site = await openSite('prod', { limits: { requests_per_day: LIMIT, requests_per_minute: 600 } })
    const room = async () => {
      const { headers } = await must(202, site.submit(PATIENT))
      return [headers.get('ratelimit-policy'), headers.get('ratelimit')].map((text) => text?.split(', ')[1])
    }
    expect(await room()).toEqual([`"ideogram";q=${LIMIT};w=86400`, `"ideogram";r=0;t=${Math.ceil(WAIT_MS / 1000)}`])
    await idle()
    clock.advance(HOUR_MS)
    expect((await room())[1]).toBe(`"ideogram";r=0;t=${Math.ceil((WAIT_MS - HOUR_MS) / 1000)}`)
  })

  test('refuses a call on the line that would wait for hours, and lets it in when they are over', async () => {
    const clock = movableClock()
    clock.freeze()
    const site = await openLine()
    await must(200, site.send('PUT', '/providers/openai', { json: { limits: { requests_per_day: LIMIT } } }))
    await close(await open(), END)
    expect(await dial({ waitMs: 20 })).toMatchObject({
      ok: false,
      fault: { code: 'rate_limited', retryAfterMs: LIMITS.retryAfterMaxMs },
    })
    clock.advance(WAIT_MS)
    await close(await open(), END)
  })
})
