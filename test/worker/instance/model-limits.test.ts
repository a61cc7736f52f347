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
