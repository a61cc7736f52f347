import { runDurableObjectAlarm } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { ring } from '../support/actor.ts'
import { laneRows, laneStub, must, openSite } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { EITHER, ONLY_FIRST, ONLY_OTHER, OTHER, openTwo, switchOffFirst } from '../support/two-providers.ts'

/** What is not so yet. Each goes to the file of its theme once it is. */

let provider: FakeIdeogram
beforeEach(() => {
  provider = fakeIdeogram()
})

// For provider-off.test.ts.
describe('while a provider is off', () => {
  test('a job that waits for it moves to the other model that it allows as soon as that has room', async () => {
    const clock = movableClock()
    clock.freeze()
    const site = await openTwo({ requests_per_minute: 6 })
    provider.hold('generate')
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
})

// For clock-set-back.test.ts.
describe('where the clock is set back', () => {
  test('a generation under way is asked after soon', async () => {
    const clock = movableClock()
    const site = await openSite('prod')
    const { id } = await site.begin({ deadline_s: 7200, input: { prompt: 'a lighthouse' } })
    await eventually(
      'the provider works',
      async () => (await laneRows('prod', 'SELECT job FROM attempts')).length === 1,
    )
    clock.advance(-1_800_000)
    for (let checks = 0; checks < 4; checks += 1) {
      clock.advance(LIMITS.laneCheckMs)
      await ring()
      await runDurableObjectAlarm(laneStub('prod'))
    }
    expect((await site.ended(id)).status).toBe('succeeded')
  })

  test('a retry is made soon', async () => {
    const clock = movableClock()
    const site = await openSite('prod')
    provider.next.generate.push(failing(503))
    const { id } = await site.begin({ deadline_s: 7200, fallback: false })
    await eventually('it waits', async () => (await site.job(id)).status === 'queued')
    clock.advance(-1_800_000)
    for (let waits = 0; waits < 4; waits += 1) {
      clock.advance(LIMITS.backoffMaxMs)
      await ring()
    }
    expect((await site.ended(id)).status).toBe('succeeded')
  })
})
