import { describe, expect, test } from 'vitest'
import { ring } from '../support/actor.ts'
import { must, openSite } from '../support/client.ts'
import { movableClock } from '../support/clock.ts'
import { fakeIdeogram } from '../support/fake-ideogram.ts'
import { failJobs } from '../support/letters.ts'
import { setBudget } from '../support/money.ts'

describe('a replayed job that waits for its budget', () => {
  /** Replayed when the deadline that it first had is long past. */
  const waiting = async () => {
    const clock = movableClock()
    const provider = fakeIdeogram()
    const site = await openSite('prod', { config: { budget: { over: 'wait' } } })
    const [failed] = await failJobs(site, provider, 1)
    const id = failed?.id ?? ''
    await setBudget(site, 'instance', 0.06)
    await site.ended((await site.begin()).id)
    clock.advance(3_600_000)
    await must(202, site.send('POST', `/jobs/${id}/replay`))
    expect((await site.job(id)).queue).toMatchObject({ waiting_for: 'budget' })
    return { site, id, clock }
  }

  test('runs when there is room', async () => {
    const { site, id } = await waiting()
    await setBudget(site, 'instance', 1)
    expect(await site.ended(id)).toMatchObject({ status: 'succeeded', error: null })
  })

  test('does not fail by its deadline while it waits', async () => {
    const { site, id, clock } = await waiting()
    clock.advance(700_000)
    await ring()
    expect((await site.job(id)).status).toBe('queued')
    await setBudget(site, 'instance', 1)
    expect((await site.ended(id)).status).toBe('succeeded')
  })
})
