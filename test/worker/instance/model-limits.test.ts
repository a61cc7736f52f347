import { beforeEach, describe, expect, test } from 'vitest'
import { must, openSite, type Site } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'

const JOB = { models: ['ideogram/ideogram-4'] }

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const allow = (concurrency: number) => configure({ 'ideogram-4': { limits: { concurrency } } })
const configure = (models: object) => must(200, site.send('PUT', '/providers/ideogram', { json: { models } }))

describe('the concurrency of a model', () => {
  test('that is taken away and given back while a job runs keeps no later job from starting', async () => {
    await allow(1)
    provider.hold('generate')
    const { id } = await site.begin(JOB)
    await configure({})
    provider.release('generate')
    await site.ended(id)
    await allow(1)
    expect((await site.begin(JOB)).status).toBe('running')
  })

  test('that is set while jobs run counts those', async () => {
    provider.hold('generate')
    const running = [await site.begin(JOB), await site.begin(JOB), await site.begin(JOB)]
    await eventually('three calls hang', () => provider.open.generate === 3)
    await allow(2)
    const waiting = [await site.begin(JOB), await site.begin(JOB)]
    for (const job of waiting) expect(job).toMatchObject({ status: 'queued', queue: { waiting_for: 'concurrency' } })
    provider.release('generate')
    for (const { id } of [...running, ...waiting]) expect((await site.ended(id)).status).toBe('succeeded')
    expect(provider.mostOpen).toBe(3)
  })
})

describe('jobs that wait for a model whose limits let nothing begin', () => {
  const BOTH = { models: ['ideogram/ideogram-4', 'ideogram/ideogram-3'] }

  /** One runs and so many more wait for the same model, which looked free when they came. */
  const crowd = async (limits: object, count: number, more: object = {}, others: object = {}) => {
    await configure({ 'ideogram-4': { limits: { concurrency: 1, ...limits } }, ...others })
    provider.hold('generate')
    const running = await site.begin(BOTH)
    await eventually('a call hangs', () => provider.open.generate === 1)
    const jobs = await Promise.all(Array.from({ length: count }, () => site.begin({ ...BOTH, ...more })))
    for (const job of jobs) expect(job).toMatchObject({ status: 'queued', model: 'ideogram/ideogram-4' })
    provider.release('generate')
    await site.ended(running.id)
    return jobs.map(({ id }) => id)
  }
  const now = (ids: string[]) => Promise.all(ids.map((id) => site.job(id)))

  test('for long go on with another that they allow', async () => {
    const ids = await crowd({ requests_per_day: 50 }, 10)
    const jobs = await Promise.all(ids.map((id) => site.ended(id)))
    const moved = jobs.filter(({ model }) => model === 'ideogram/ideogram-3')
    expect(new Set(jobs.map(({ status }) => status))).toEqual(new Set(['succeeded']))
    expect(moved.length).toBeGreaterThan(0)
    expect(moved.length).toBeLessThan(10)
    for (const { attempts } of moved)
      expect(attempts).toMatchObject([{ model: 'ideogram/ideogram-3', reason: 'fallback after provider_rate_limited' }])
  })

  test('for long go only as the other has room, and not back and forth', async () => {
    const limits = { requests_per_day: 50 }
    const ids = await crowd(limits, 20, {}, { 'ideogram-3': { limits } })
    const jobs = await eventually('both are used up', async () => {
      const seen = await now(ids)
      return seen.every(({ status, queue }) => status === 'succeeded' || queue?.waiting_for === 'provider_rate') && seen
    })
    const of = (wanted: string) => jobs.filter(({ status }) => status === wanted).map(({ model }) => model)
    expect(of('succeeded').filter((model) => model === 'ideogram/ideogram-3')).toHaveLength(5)
    expect(new Set(of('queued'))).toEqual(new Set(['ideogram/ideogram-4']))
  })

  test.each([
    ['for long wait for it where they allow no fallback', { requests_per_day: 50 }, { fallback: false }],
    ['for long wait for it where they allow no other', { requests_per_day: 50 }, { models: ['ideogram/ideogram-4'] }],
    ['for seconds only keep their place', { requests_per_minute: 50 }, {}],
  ])('%s', async (_what, limits, more) => {
    const ids = await crowd(limits, 10, more)
    const jobs = await eventually('the limit is used up', async () => {
      const seen = await now(ids)
      return seen.every(({ status, queue }) => status === 'succeeded' || queue?.waiting_for === 'provider_rate') && seen
    })
    expect(new Set(jobs.map(({ status }) => status))).toEqual(new Set(['succeeded', 'queued']))
    expect(new Set(jobs.map(({ model }) => model))).toEqual(new Set(['ideogram/ideogram-4']))
  })
})
