import { beforeEach, describe, expect, test } from 'vitest'
import { exec, ring } from '../support/actor.ts'
import { must } from '../support/client.ts'
import { movableClock } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'
import { EITHER, FIRST, ONLY_FIRST, ONLY_OTHER, OTHER, openTwo, switchOffFirst } from '../support/two-providers.ts'

let provider: FakeIdeogram
beforeEach(() => {
  provider = fakeIdeogram()
  provider.hold('generate')
})

describe('while a provider is off', () => {
  test('a job that waits for it moves to the other model that it allows', async () => {
    const site = await openTwo()
    await site.begin(ONLY_FIRST)
    const { id, model } = await site.begin(EITHER)
    expect(model).toBe(FIRST)
    await must(200, switchOffFirst(site))
    expect((await site.job(id)).model).toBe(OTHER)
  })

  test('it moves also where the other model has a rate of its own and was called just before', async () => {
    movableClock().freeze()
    const site = await openTwo({ requests_per_minute: 600 })
    await site.begin(ONLY_OTHER)
    await site.begin(ONLY_FIRST)
    const { id } = await site.begin(EITHER)
    await must(200, switchOffFirst(site))
    expect((await site.job(id)).model).toBe(OTHER)
  })

  test('it moves also where the provider could not be switched off at first, for nothing could be written', async () => {
    const site = await openTwo()
    await site.begin(ONLY_FIRST)
    const { id } = await site.begin(EITHER)
    await exec("CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
    await must(500, switchOffFirst(site))
    expect((await site.job(id)).model).toBe(FIRST)
    await exec('DROP TRIGGER broken')
    await must(200, switchOffFirst(site))
    expect((await site.job(id)).model).toBe(OTHER)
  })

  test.each([0, 4])('a job whose time comes moves too, behind %i that can only wait', async (waiting) => {
    const clock = movableClock()
    const now = clock.freeze()
    const site = await openTwo()
    for (let i = 0; i < waiting; i += 1) await site.begin({ ...ONLY_FIRST, project: 'x' })
    const not_before = new Date(now + 60_000).toISOString()
    const { id, model } = await site.begin({ ...EITHER, project: 'y', not_before })
    expect(model).toBe(FIRST)
    await must(200, switchOffFirst(site))
    clock.advance(60_000)
    await ring()
    expect((await site.job(id)).model).toBe(OTHER)
  })

  test('a job that waits for it moves to the other model that it allows as soon as that has room', async () => {
    const clock = movableClock()
    clock.freeze()
    const site = await openTwo({ requests_per_minute: 6 })
    await site.begin(ONLY_OTHER)
    await site.begin(ONLY_FIRST)
    const { id } = await site.begin(EITHER)
    await must(200, switchOffFirst(site))
    for (let i = 0; i < 12; i += 1) {
      clock.advance(10_100)
      await ring()
    }
    expect((await site.job(id)).model).toBe(OTHER)
  })

  test('it moves to the one that can start now, where one that it names before has room in a moment only', async () => {
    const clock = movableClock()
    clock.freeze()
    const site = await openTwo({ requests_per_minute: 9 })
    await must(201, site.send('POST', '/providers/openai/credentials', { json: { name: 'main', secret: 'sk-1' } }))
    await site.begin(ONLY_FIRST)
    const { id } = await site.begin({ ...EITHER, models: [FIRST, OTHER, 'openai/gpt-image-2'] })
    await site.begin(ONLY_OTHER)
    clock.advance(6_000)
    await must(200, switchOffFirst(site))
    expect((await site.job(id)).model).toBe('openai/gpt-image-2')
  })
})
