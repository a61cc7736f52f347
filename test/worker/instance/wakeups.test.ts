import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { letPass } from '../support/actor.ts'
import { must, openSite } from '../support/client.ts'
import { movableClock } from '../support/clock.ts'
import { fakeIdeogram } from '../support/fake-ideogram.ts'
import { setBudget } from '../support/money.ts'

/** Who can run is woken for it: nobody rings the alarm here but the platform. */

const DAY_MS = 24 * 60 * 60 * 1000
const LATER = { deadline_s: 7 * 86_400 }
/** Six a minute, and a tenth for the way there. */
const SLOW = { requests_per_minute: 6 }
const SLOW_MS = 10_100

/**
 * A clock that stands three hours before the end of a day, and when that is. Always ahead of the platform's own: alarms set by
 * a clock that is behind it are overdue there, and it would ring them.
 */
const inTheEvening = () => {
  const clock = movableClock()
  const now = clock.freeze()
  const midnightMs = (Math.floor(now / DAY_MS) + 2) * DAY_MS
  clock.advance(midnightMs - 3 * 60 * 60 * 1000 - now)
  return { clock, midnightMs }
}

describe('a job that can run', () => {
  test('does not sleep behind many that their budget turns away', async () => {
    const clock = movableClock()
    clock.freeze()
    fakeIdeogram()
    const site = await openSite('prod', { limits: SLOW, config: { project_weights: { crowd: 1000 } } })
    const few = { project: 'few', ...LATER }
    const [first, second, third] = [await site.begin(few), await site.begin(few), await site.begin(few)]
    // More than one turn looks at. They stand between the second and the third.
    const many = { length: LIMITS.claimsPerTurn + 50 }
    await Promise.all(Array.from(many, () => site.begin({ project: 'crowd', ...LATER })))
    await site.ended(first.id)
    await must(200, site.send('POST', `/jobs/${second.id}/cancel`))
    await setBudget(site, 'project:crowd', 0.01)
    await letPass(clock, SLOW_MS + 100)
    expect((await site.ended(third.id)).status).toBe('succeeded')
  })
})

describe('a job that waits for its budget', () => {
  test('is woken at the end of the window also where it was turned away when it was to begin', async () => {
    const { clock, midnightMs } = inTheEvening()
    fakeIdeogram()
    const site = await openSite('prod', { limits: SLOW, config: { budget: { over: 'wait' } } })
    const [first, second] = [await site.begin(LATER), await site.begin(LATER)]
    await site.ended(first.id)
    await setBudget(site, 'instance', 0.07, { window: 'day' })
    await letPass(clock, SLOW_MS)
    expect((await site.job(second.id)).queue).toMatchObject({ waiting_for: 'budget' })
    await letPass(clock, midnightMs - Date.now() + 1_000)
    expect((await site.ended(second.id)).status).toBe('succeeded')
  })

  test('is woken at the end of the window of the budget for which it waits next', async () => {
    const { clock, midnightMs } = inTheEvening()
    fakeIdeogram()
    const site = await openSite('prod', { config: { budget: { over: 'wait' } } })
    await setBudget(site, 'project:p', 0.06)
    await setBudget(site, 'instance', 0.06, { window: 'day' })
    await site.ended((await site.begin({ project: 'p', ...LATER })).id)
    const { id, queue } = await site.begin({ project: 'p', ...LATER })
    expect(queue).toMatchObject({ limit: 'instance:prod:budget:project:p' })
    // Nothing else is left to wake for.
    await letPass(clock, 60_000)
    await setBudget(site, 'project:p', 1)
    expect((await site.job(id)).queue).toMatchObject({ limit: 'instance:prod:budget:instance' })
    await letPass(clock, midnightMs - Date.now() + 1_000)
    expect((await site.ended(id)).status).toBe('succeeded')
  })
})
