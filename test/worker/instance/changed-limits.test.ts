import { evictDurableObject, runDurableObjectAlarm } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { ProviderLimits } from '../../../src/contract/instance.ts'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, must, openSite, rowsOf, type Site } from '../support/client.ts'
import { movableClock } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'

const PATIENT = { models: ['ideogram/ideogram-4'], deadline_s: LIMITS.deadlineMaxSeconds }

let provider: FakeIdeogram
beforeEach(() => {
  provider = fakeIdeogram()
})

const ring = () => runDurableObjectAlarm(instanceStub('prod'))
const limitTo: Record<string, (site: Site, limits: ProviderLimits) => Promise<unknown>> = {
  provider: (site, limits) => must(200, site.send('PUT', '/providers/ideogram', { json: { limits } })),
  model: (site, limits) =>
    must(200, site.send('PUT', '/providers/ideogram', { json: { models: { 'ideogram-4': { limits } } } })),
  credential: (site, limits) =>
    must(200, site.send('PATCH', '/providers/ideogram/credentials/main', { json: { limits } })),
}

describe('a rate that is changed while jobs wait for it', () => {
  test.each(['provider', 'model', 'credential'])(
    'of a %s: one call of one a day, and raised to a thousand the next goes out at once, not tomorrow',
    async (scope) => {
      movableClock().freeze()
      const site = await openSite('prod')
      await limitTo[scope]?.(site, { requests_per_day: 1 })
      await site.ended((await site.begin(PATIENT)).id)
      const next = await site.begin(PATIENT)
      expect((await site.job(next.id)).queue).toMatchObject({ waiting_for: 'provider_rate' })
      await limitTo[scope]?.(site, { requests_per_day: 1_000 })
      expect((await site.ended(next.id)).status).toBe('succeeded')
    },
  )

  test('and taken away with its model leaves nothing behind', async () => {
    movableClock().freeze()
    const site = await openSite('prod')
    await limitTo['model']?.(site, { requests_per_day: 1 })
    await site.ended((await site.begin(PATIENT)).id)
    const kept = () => rowsOf('prod', "SELECT name FROM limiters WHERE name LIKE '%:model:%'")
    expect(await kept()).toHaveLength(1)
    await must(200, site.send('PUT', '/providers/ideogram', { json: { models: {} } }))
    expect(await kept()).toEqual([])
    await site.ended((await site.begin(PATIENT)).id)
    expect(await kept()).toEqual([])
  })

  test('lowered, counts what was sent by the new measure, also after a restart', async () => {
    const clock = movableClock()
    clock.freeze()
    const site = await openSite('prod', { limits: { requests_per_day: 1_000 } })
    for (let i = 0; i < 5; i += 1) await site.ended((await site.begin(PATIENT)).id)
    // Five a day: they are used up, and the first of them comes back with the fifth part of a day.
    await limitTo['provider']?.(site, { requests_per_day: 5 })
    const next = await site.begin(PATIENT)
    await evictDurableObject(instanceStub('prod'))
    clock.advance(3_600_000)
    await ring()
    expect(await site.job(next.id)).toMatchObject({ status: 'queued', queue: { waiting_for: 'provider_rate' } })
    expect(provider.calls.generate).toBe(5)
    clock.advance(24 * 3_600_000)
    await ring()
    expect((await site.ended(next.id)).status).toBe('succeeded')
  })
})
