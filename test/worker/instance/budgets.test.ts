import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Job } from '../../../src/contract/job.ts'
import { instanceStub, jobRequest, openSite, rowsOf, type Site, SYNC, withKey } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { budgetOf, expectRest, ledgerOf, setBudget } from '../support/money.ts'
import { openSocket, openStream, type Subscriber } from '../support/streams.ts'

const DAY_MS = 24 * 60 * 60 * 1000
/** 0.09 by the list, where a job with defaults is 0.06. */
const DEAR = {
  input: { prompt: 'a lighthouse', provider_options: { ideogram: { mode: 'sync', rendering_speed: 'QUALITY' } } },
}

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const refusal = async (more: Record<string, unknown> = {}, at = site) => {
  const { status, body } = await at.send('POST', '/jobs', { json: jobRequest(more) })
  return { status, ...body.error }
}

const configure = (config: Record<string, unknown>) => site.send('PATCH', '', { json: { config } })

describe('a budget', () => {
  test('holds the estimated cost at admission and refuses what has no room, naming the budget', async () => {
    provider.hold('generate')
    await setBudget(site, 'instance', 0.1)
    const job = await site.begin()
    expect(job).toMatchObject({ held_usd: 0.06, estimate_usd: 0.06 })
    const refused = await refusal()
    expect(refused).toMatchObject({
      status: 402,
      code: 'budget_exceeded',
      type: 'insufficient_quota',
      source: 'switchyard',
    })
    expect(refused.details).toEqual({
      scope: 'instance',
      reason: 'limit',
      window: 'total',
      limit_usd: 0.1,
      spent_usd: 0,
      held_usd: 0.06,
      estimate_usd: 0.06,
      resets_at: null,
    })
    expect(await budgetOf(site, 'instance')).toMatchObject({ held_usd: 0.06, spent_usd: 0, left_usd: 0.04 })
    provider.release('generate')
    expect(await site.ended(job.id)).toMatchObject({ cost_usd: 0.06, held_usd: null })
    await expectRest(site, { settled_usd: 0.06, presumed_usd: 0, attempts: 1 })
    expect(await refusal()).toMatchObject({ status: 402 })
  })

  test('leaves no trace of a job that it refused', async () => {
    await setBudget(site, 'instance', 0.05)
    expect(await refusal()).toMatchObject({ status: 402 })
    expect(await rowsOf('prod', 'SELECT id FROM jobs')).toEqual([])
    expect(await rowsOf('prod', 'SELECT seq FROM events')).toEqual([])
    await expectRest(site, { attempts: 0, counters_usd: 0 })
  })

  test('and its books are as before where a transaction fails', async () => {
    await setBudget(site, 'instance', 0.12)
    await site.ended((await site.begin()).id)
    const exec = (query: string) =>
      runInDurableObject(instanceStub('prod'), (_instance, { storage }) => void storage.sql.exec(query))
    await exec("CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no room'); END")
    expect((await site.submit()).status).toBe(500)
    await exec('DROP TRIGGER broken')
    await expectRest(site, { settled_usd: 0.06, counters_usd: 0.06 })
    expect((await site.ended((await site.begin()).id)).status).toBe('succeeded')
    await expectRest(site, { settled_usd: 0.12 })
  })

  test('of a project binds that project alone, and its jobs count in the instance too', async () => {
    await setBudget(site, 'project:forge', 0.06)
    await site.ended((await site.begin({ project: 'forge' })).id)
    expect(await refusal({ project: 'forge' })).toMatchObject({ status: 402, details: { scope: 'project:forge' } })
    await site.ended((await site.begin({ project: 'other' })).id)
    await site.ended((await site.begin()).id)
    const ledger = await expectRest(site, { settled_usd: 0.18, attempts: 3 })
    expect(ledger.scopes.map(({ scope, settled_usd }) => [scope, settled_usd])).toEqual([
      ['instance', 0.18],
      ['project:forge', 0.06],
      ['project:other', 0.06],
    ])
  })

  test('of the instance tells a client of one project nothing of what others spend', async () => {
    await setBudget(site, 'instance', 0.05)
    const tenant = withKey(site, (await site.makeKey({ name: 'app', role: 'user', project: 'forge' })).key)
    const { details, message } = await refusal({}, tenant)
    expect(details).toEqual({
      scope: 'instance',
      reason: 'limit',
      window: 'total',
      estimate_usd: 0.06,
      resets_at: null,
    })
    expect(message).not.toContain('0.05')
  })

  test('of the instance tells a client of one project nothing by a replay that it refuses', async () => {
    const tenant = withKey(site, (await site.makeKey({ name: 'app', role: 'user', project: 'forge' })).key)
    provider.next.generate.push(failing(400))
    const { id } = await tenant.ended((await tenant.begin({ fallback: false })).id)
    await setBudget(site, 'instance', 0.05)
    const { status, body } = await tenant.send('POST', `/jobs/${id}/replay`)
    expect([status, body.error.details?.['scope']]).toEqual([402, 'instance'])
    for (const amount of ['limit_usd', 'spent_usd', 'held_usd']) expect(body.error.details).not.toHaveProperty(amount)
  })

  test('is not exceeded by submits of one moment', async () => {
    provider.hold('generate')
    await setBudget(site, 'instance', 0.3)
    const answers = await Promise.all(Array.from({ length: 40 }, () => site.submit()))
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(5)
    expect(answers.filter(({ status }) => status === 402)).toHaveLength(35)
    provider.release('generate')
    for (const { status, body } of answers) if (status === 202) await site.ended(body.id)
    await expectRest(site, { settled_usd: 0.3 })
  })

  test('may change its window at any time: what was spent is known by the day', async () => {
    const clock = movableClock()
    await site.ended((await site.begin()).id)
    clock.advance(DAY_MS)
    await site.ended((await site.begin({ deadline_s: 3 * 86_400 })).id)
    expect((await setBudget(site, 'instance', 1, { window: 'day' })).spent_usd).toBe(0.06)
    expect((await setBudget(site, 'instance', 1, { window: 'total' })).spent_usd).toBe(0.12)
    expect(await setBudget(site, 'instance', 1, { window: 'day' })).toMatchObject({ spent_usd: 0.06, left_usd: 0.94 })
  })

  test('begins and ends its day by the clocks of the instance', async () => {
    await configure({ time_zone: 'Asia/Kathmandu' })
    const { window_start, resets_at } = await setBudget(site, 'instance', 1, { window: 'day' })
    expect([window_start?.slice(11, 19), resets_at?.slice(11, 19)]).toEqual(['18:15:00', '18:15:00'])
    expect(Date.parse(resets_at ?? '') - Date.parse(window_start ?? '')).toBe(DAY_MS)
    const wrong = await configure({ time_zone: 'Mars/Olympus' })
    expect(wrong).toMatchObject({ status: 400, body: { error: { param: 'config.time_zone' } } })
  })

  test('and everything spent and held is the same after a restart', async () => {
    await setBudget(site, 'instance', 1)
    await setBudget(site, 'project:p', 1)
    await site.ended((await site.begin({ project: 'p' })).id)
    await site.begin({ project: 'p', not_before: new Date(Date.now() + DAY_MS).toISOString() })
    const before = await ledgerOf(site)
    expect(before).toMatchObject({ settled_usd: 0.06, held_usd: 0.06, counters_usd: 0.12, difference_usd: 0 })
    await evictDurableObject(instanceStub('prod'))
    expect({ ...(await ledgerOf(site)), at: '' }).toEqual({ ...before, at: '' })
  })
})

describe('what an attempt cost', () => {
  test('above what was held is booked and shown', async () => {
    await setBudget(site, 'instance', 1)
    const { id } = await site.begin({ input: { prompt: 'two for the price of three' } })
    provider.next.poll.push((url) => {
      const images = [{ url: 'https://images.ideogram.example/x/0.png', is_image_safe: true, seed: 7 }]
      const generation_id = url.pathname.split('/').at(-1)
      return Response.json({ generation_id, status: 'completed', usage_cost_usd_micros: 100_000, data: images })
    })
    expect(await site.ended(id)).toMatchObject({ status: 'succeeded', cost_usd: 0.1 })
    await expectRest(site, { settled_usd: 0.1, over_hold_usd: 0.04 })
    expect(await budgetOf(site, 'instance')).toMatchObject({ spent_usd: 0.1, left_usd: 0.9 })
  })

  test('is released where it bought nothing, and held anew for the next attempt', async () => {
    await setBudget(site, 'instance', 0.06)
    provider.next.generate.push(failing(503))
    expect(await site.ended((await site.begin()).id)).toMatchObject({ status: 'succeeded', attempts: [{}, {}] })
    await expectRest(site, { settled_usd: 0.06, presumed_usd: 0, attempts: 1 })
  })

  test('is presumed where nobody knows, never zero: a job canceled while it runs', async () => {
    await setBudget(site, 'instance', 0.1)
    provider.hold('generate')
    const { id } = await site.begin()
    await eventually('it is called', () => provider.calls.generate === 1)
    await site.send('POST', `/jobs/${id}/cancel`)
    await expectRest(site, { settled_usd: 0, presumed_usd: 0.06, attempts: 1 })
    expect(await refusal()).toMatchObject({ status: 402, details: { spent_usd: 0.06 } })
    expect(await rowsOf('prod', 'SELECT kind, presumed_micros, held_micros FROM ledger')).toEqual([
      { kind: 'presumed', presumed_micros: 60_000, held_micros: 60_000 },
    ])
  })

  test('is nothing for a job canceled while it waits', async () => {
    await setBudget(site, 'instance', 0.1)
    const { id } = await site.begin({ not_before: new Date(Date.now() + DAY_MS).toISOString() })
    await site.send('POST', `/jobs/${id}/cancel`)
    await expectRest(site, { attempts: 0, counters_usd: 0 })
  })

  test('is presumed once and bought again where the job asks for it, within max_cost_usd', async () => {
    const unknown = () => new Response('{"broken', { headers: { 'content-type': 'application/json' } })
    provider.next.generate.push(unknown, unknown)
    const job = await site.ended(
      (await site.begin({ on_outcome_unknown: 'retry', max_cost_usd: 0.1, fallback: false })).id,
    )
    expect(job).toMatchObject({ status: 'failed', error: { code: 'budget_exceeded', source: 'switchyard' } })
    expect(job.attempts).toHaveLength(1)
    await expectRest(site, { presumed_usd: 0.06, attempts: 1 })
  })

  test('does not count twice where a retry only goes on with the same generation', async () => {
    await setBudget(site, 'instance', 0.06)
    provider.next.poll.push(failing(503))
    const job = await site.ended((await site.begin({ input: { prompt: 'polled' } })).id)
    expect(job.status).toBe('succeeded')
    expect(provider.accepted).toHaveLength(1)
    await expectRest(site, { settled_usd: 0.06, presumed_usd: 0, attempts: 1 })
  })

  test('of storing again is nothing: what is paid is settled once', async () => {
    await setBudget(site, 'instance', 0.06)
    provider.next.image.push(failing(503))
    const job = await site.ended((await site.begin()).id)
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['artifact_failed', 'done'])
    await expectRest(site, { settled_usd: 0.06, attempts: 1 })
  })
})

describe('max_cost_usd', () => {
  test('refuses at once a job that must cost more', async () => {
    expect(await refusal({ max_cost_usd: 0.05 })).toMatchObject({
      status: 402,
      code: 'budget_exceeded',
      param: 'max_cost_usd',
      details: { scope: 'job', limit_usd: 0.05, estimate_usd: 0.06 },
    })
    expect((await site.ended((await site.begin({ max_cost_usd: 0.06 })).id)).status).toBe('succeeded')
  })
})

describe('an unknown price', () => {
  const unlisted = {
    input: { prompt: 'x', provider_options: { ideogram: { api: 'v1', rendering_speed: 'flash' } } },
  }

  test('is taken as it comes where nothing bounds it, and its real cost is booked', async () => {
    const job = await site.ended((await site.begin(unlisted)).id)
    expect(job).toMatchObject({ status: 'succeeded', estimate_usd: null, cost_usd: null })
    await expectRest(site, { settled_usd: 0, presumed_usd: 0, unpriced_attempts: 1, attempts: 1 })
  })

  test('is refused where a budget bounds it', async () => {
    await setBudget(site, 'instance', 10)
    expect(await refusal(unlisted)).toMatchObject({
      status: 402,
      details: { scope: 'instance', reason: 'price_unknown' },
    })
    expect(await refusal({ ...unlisted, max_cost_usd: 5 })).toMatchObject({ status: 402, param: 'max_cost_usd' })
  })

  test('is allowed by configuration: held as nothing, and counted as unpriced where it stays unknown', async () => {
    await configure({ budget: { unknown_price: 'allow' } })
    await setBudget(site, 'instance', 10)
    provider.hold('generate')
    const { id, held_usd } = (await site.begin(unlisted)) as Job
    expect(held_usd).toBe(0)
    await eventually('it is called', () => provider.calls.generate === 1)
    await site.send('POST', `/jobs/${id}/cancel`)
    await expectRest(site, { settled_usd: 0, presumed_usd: 0, unpriced_attempts: 1, attempts: 1 })
  })
})

describe('a fallback to a dearer model', () => {
  const dearer = { models: ['ideogram/ideogram-3', 'ideogram/ideogram-4-5'] }

  test('is held for at its own price', async () => {
    await setBudget(site, 'instance', 0.1)
    provider.next.generate.push(failing(400))
    const job = await site.ended((await site.begin(dearer)).id)
    expect(job).toMatchObject({ status: 'succeeded', model: 'ideogram/ideogram-4-5', estimate_usd: 0.1 })
    await expectRest(site, { attempts: 1, over_hold_usd: 0 })
  })

  test('ends the job where the budget has no room for it', async () => {
    await setBudget(site, 'instance', 0.09)
    provider.next.generate.push(failing(400))
    const job = await site.ended((await site.begin(dearer)).id)
    expect(job).toMatchObject({ status: 'failed', error: { code: 'budget_exceeded' }, cost_usd: 0, held_usd: null })
    expect(job.attempts).toHaveLength(1)
    await expectRest(site, { attempts: 0, counters_usd: 0 })
  })

  test('waits for room where jobs over budget wait', async () => {
    await configure({ budget: { over: 'wait' } })
    await setBudget(site, 'instance', 0.09)
    provider.next.generate.push(failing(400))
    const { id } = await site.begin(dearer)
    const job = await eventually('it waits', async () => {
      const now = await site.job(id)
      return now.queue?.waiting_for === 'budget' ? now : null
    })
    expect(job).toMatchObject({ model: 'ideogram/ideogram-4-5', attempts: [{ outcome: 'provider_rejected' }] })
    await setBudget(site, 'instance', 0.1)
    expect(await site.ended(id)).toMatchObject({
      status: 'succeeded',
      attempts: [{}, { model: 'ideogram/ideogram-4-5' }],
    })
    await expectRest(site, { attempts: 1 })
  })
})

describe('where jobs over budget wait', () => {
  beforeEach(() => configure({ budget: { over: 'wait' } }))

  const waiting = (limit: string) => ({ position: null, waiting_for: 'budget', limit, estimated_start_at: null })

  test('a job says which budget it waits for, and starts by itself when the budget is raised', async () => {
    await setBudget(site, 'project:forge', 0.06)
    await site.ended((await site.begin({ project: 'forge' })).id)
    const job = await site.begin({ project: 'forge' })
    expect(job).toMatchObject({
      status: 'queued',
      held_usd: null,
      queue: waiting('instance:prod:budget:project:forge'),
    })
    expect(await budgetOf(site, 'project:forge')).toMatchObject({ waiting_jobs: 1, held_usd: 0 })
    expect((await site.ended((await site.begin({ project: 'other' })).id)).status).toBe('succeeded')
    await setBudget(site, 'project:forge', 0.12)
    expect((await site.ended(job.id)).status).toBe('succeeded')
    await expectRest(site, { settled_usd: 0.18 })
    expect((await budgetOf(site, 'project:forge')).waiting_jobs).toBe(0)
  })

  test('it starts when a hold is released, the oldest first', async () => {
    provider.hold('generate')
    await setBudget(site, 'instance', 0.06)
    const first = await site.begin({ not_before: new Date(Date.now() + DAY_MS).toISOString() })
    const second = await site.begin()
    const third = await site.begin()
    await site.send('POST', `/jobs/${first.id}/cancel`)
    await eventually('the second is called', () => provider.calls.generate === 1)
    expect([(await site.job(second.id)).status, (await site.job(third.id)).status]).toEqual(['running', 'queued'])
    provider.release('generate')
    await site.ended(second.id)
    expect(await site.job(third.id)).toMatchObject({
      status: 'queued',
      queue: waiting('instance:prod:budget:instance'),
    })
    await site.send('POST', `/jobs/${third.id}/cancel`)
    await expectRest(site, { settled_usd: 0.06 })
  })

  test('it starts when its window turns, with the whole of its deadline before it', async () => {
    const clock = movableClock()
    const { resets_at } = await setBudget(site, 'instance', 0.06, { window: 'day' })
    await site.ended((await site.begin()).id)
    const job = await site.begin({ deadline_s: 30 })
    expect(job.queue).toEqual({ ...waiting('instance:prod:budget:instance'), estimated_start_at: resets_at })
    clock.advance(Date.parse(resets_at ?? '') - Date.now() + 1)
    await runDurableObjectAlarm(instanceStub('prod'))
    expect(await site.ended(job.id)).toMatchObject({ status: 'succeeded', cost_usd: 0.06 })
    expect(await budgetOf(site, 'instance')).toMatchObject({ spent_usd: 0.06, held_usd: 0 })
    await expectRest(site, { settled_usd: 0.12 })
  })

  test('its place is kept over a restart', async () => {
    await setBudget(site, 'instance', 0.06)
    await site.ended((await site.begin()).id)
    const job = await site.begin()
    await evictDurableObject(instanceStub('prod'))
    expect((await site.job(job.id)).queue).toEqual(waiting('instance:prod:budget:instance'))
    await setBudget(site, 'instance', 0.12)
    expect((await site.ended(job.id)).status).toBe('succeeded')
  })

  test('one that costs more than the whole budget is refused, for it would wait in vain', async () => {
    await setBudget(site, 'instance', 0.05)
    expect(await refusal()).toMatchObject({ status: 402 })
  })

  test('a dear one does not hold up a cheaper one behind it', async () => {
    await setBudget(site, 'instance', 0.15)
    const held = await site.begin({ not_before: new Date(Date.now() + DAY_MS).toISOString() })
    const dear = await site.begin({ ...DEAR, not_before: new Date(Date.now() + DAY_MS).toISOString() })
    const waits = await site.begin(DEAR)
    const small = await site.begin()
    await site.send('POST', `/jobs/${held.id}/cancel`)
    expect((await site.ended(small.id)).status).toBe('succeeded')
    expect((await site.job(waits.id)).queue?.waiting_for).toBe('budget')
    await site.send('POST', `/jobs/${dear.id}/cancel`)
    expect((await site.ended(waits.id)).status).toBe('succeeded')
    await expectRest(site, { settled_usd: 0.15 })
  })

  test('a budget lowered below what is held lets on only what fits', async () => {
    const limits = { concurrency: 1 }
    await site.send('PUT', '/providers/ideogram', { json: { limits } })
    provider.hold('generate')
    const jobs: Job[] = []
    for (let i = 0; i < 4; i += 1) jobs.push(await site.begin())
    await setBudget(site, 'instance', 0.12)
    provider.release('generate')
    await Promise.all(jobs.slice(0, 2).map(({ id }) => site.ended(id)))
    const last = await Promise.all(jobs.slice(2).map(({ id }) => site.job(id)))
    expect(last.map(({ queue }) => queue?.waiting_for)).toEqual(['budget', 'budget'])
    expect(await ledgerOf(site)).toMatchObject({ settled_usd: 0.12, held_usd: 0, difference_usd: 0 })
  })
})

describe('alerts', () => {
  const told = () => rowsOf('prod', "SELECT job, project, data FROM events WHERE type = 'budget.alert' ORDER BY seq")

  test('are told once per threshold and window, when spending has reached it, also over restarts', async () => {
    await setBudget(site, 'project:forge', 0.12, { alert_at: [0.5, 1] })
    await site.ended((await site.begin({ project: 'forge' })).id)
    expect((await told()).map(({ project, data }) => [project, JSON.parse(String(data))])).toEqual([
      [
        'forge',
        {
          scope: 'project:forge',
          window: 'total',
          threshold: 0.5,
          spent_usd: 0.06,
          limit_usd: 0.12,
          window_start: null,
        },
      ],
    ])
    await evictDurableObject(instanceStub('prod'))
    await site.ended((await site.begin({ project: 'forge' })).id)
    await setBudget(site, 'project:forge', 0.12, { alert_at: [0.5, 1] })
    expect((await told()).map(({ data }) => JSON.parse(String(data)).threshold)).toEqual([0.5, 1])
  })

  test('begin anew with the window', async () => {
    const clock = movableClock()
    await setBudget(site, 'instance', 0.1, { window: 'day', alert_at: [0.5] })
    await site.ended((await site.begin()).id)
    clock.advance(DAY_MS)
    await site.ended((await site.begin()).id)
    expect(await told()).toHaveLength(2)
  })

  test('are events of no job: of the instance for those who see all of it, of a project for its own clients', async () => {
    await setBudget(site, 'instance', 0.12, { alert_at: [0.5] })
    await setBudget(site, 'project:forge', 0.12, { alert_at: [0.1] })
    const { key } = await site.makeKey({ name: 'app', role: 'user', project: 'forge' })
    const all = await openStream(`${site.base}/events?after=0`, { key: site.key })
    const own = await openSocket(`${site.base}/events?after=0`, { key })
    await site.ended((await site.begin({ project: 'forge' })).id)
    const alertsIn = ({ events }: Subscriber) => events.filter(({ type }) => type === 'budget.alert')
    const durableIn = ({ events }: Subscriber) => events.filter(({ type }) => type !== 'job.progress')
    await eventually('both alerts are told', () => alertsIn(all).length === 2)
    const alerts = alertsIn(all)
    expect(alerts.map(({ job, data }) => [job, data['scope']])).toEqual([
      [null, 'project:forge'],
      [null, 'instance'],
    ])
    await site.ended((await site.begin({ project: 'forge' })).id)
    // Three of each job and one alert: that of the instance is not for this key.
    await eventually('its own events have come', () => durableIn(own).length === 7)
    expect(alertsIn(own).map(({ data }) => data['scope'])).toEqual(['project:forge'])
    const late = await openStream(`${site.base}/events?after=0`, { key })
    expect(await late.until(7)).toEqual(durableIn(own))
    await Promise.all([all.close(), own.close(), late.close()])
  })
})

describe('the ledger', () => {
  test('shows a line that is missing, and a counter that is wrong, as a difference', async () => {
    await site.ended((await site.begin({ project: 'p' })).id)
    await expectRest(site, { settled_usd: 0.06 })
    await rowsOf('prod', 'UPDATE ledger SET settled_micros = settled_micros - 1 RETURNING job')
    expect((await ledgerOf(site)).difference_usd).toBeGreaterThan(0)
    await rowsOf('prod', 'UPDATE ledger SET settled_micros = settled_micros + 1 RETURNING job')
    await rowsOf('prod', "UPDATE spending SET presumed_micros = 1 WHERE scope = 'project:p' RETURNING scope")
    const ledger = await ledgerOf(site)
    expect(ledger.difference_usd).toBeGreaterThan(0)
    expect(ledger.scopes.find(({ scope }) => scope === 'instance')?.difference_usd).toBe(0)
  })

  test('may have old lines folded into one per day and project: the books stay proven', async () => {
    for (let i = 0; i < 3; i += 1) await site.ended((await site.begin({ project: 'p' })).id)
    await rowsOf(
      'prod',
      `INSERT INTO ledger SELECT day, project, '', 0, 'carried', sum(settled_micros), sum(presumed_micros),
         sum(over_hold_micros), sum(unpriced), sum(attempts), sum(held_micros), max(at_ms)
       FROM ledger GROUP BY day, project`,
    )
    await rowsOf('prod', "DELETE FROM ledger WHERE kind <> 'carried'")
    await expectRest(site, { settled_usd: 0.18, attempts: 3 })
    await evictDurableObject(instanceStub('prod'))
    await site.ended((await site.begin({ project: 'p', input: { prompt: 'x', ...SYNC } })).id)
    await expectRest(site, { settled_usd: 0.24, attempts: 4 })
  })
})

describe('a batch under a budget', () => {
  const batch = (jobs: Record<string, unknown>[]) =>
    site.send<{ id: string; error?: { code: string; param: string | null } }>('POST', '/batches', { json: { jobs } })
  const jobs = (count: number) => Array.from({ length: count }, () => jobRequest({ project: 'shop' }))

  test('is held whole, or refused whole with nothing held and the job named that has no room', async () => {
    provider.hold('generate')
    await setBudget(site, 'project:shop', 0.2)
    const refused = await batch(jobs(4))
    expect(refused.status).toBe(402)
    expect(refused.body.error).toMatchObject({ code: 'budget_exceeded', param: 'jobs.3' })
    await expectRest(site, { settled_usd: 0, attempts: 0 })
    expect((await batch(jobs(3))).status).toBe(202)
    expect(await budgetOf(site, 'project:shop')).toMatchObject({ held_usd: 0.18 })
    provider.release('generate')
    await eventually('all are booked', async () => (await budgetOf(site, 'project:shop')).spent_usd === 0.18)
    await expectRest(site, { settled_usd: 0.18, attempts: 3 })
  })
})

describe('a replay under a budget', () => {
  const failOnce = async () => {
    provider.next.generate.push(failing(400))
    const job = await site.begin()
    expect((await site.ended(job.id)).status).toBe('failed')
    return job
  }
  const replay = (id: string) => site.send<Job & { error: { code: string } }>('POST', `/jobs/${id}/replay`)

  test('holds its cost anew, and books it once', async () => {
    const job = await failOnce()
    await setBudget(site, 'instance', 0.1)
    provider.hold('generate')
    expect((await replay(job.id)).body).toMatchObject({ held_usd: 0.06 })
    provider.release('generate')
    expect(await site.ended(job.id)).toMatchObject({ status: 'succeeded', cost_usd: 0.06, held_usd: null })
    await expectRest(site, { settled_usd: 0.06 })
  })

  test('without room is refused, and the job stays a dead letter', async () => {
    const job = await failOnce()
    await setBudget(site, 'instance', 0.05)
    const refused = await replay(job.id)
    expect([refused.status, refused.body.error.code]).toEqual([402, 'budget_exceeded'])
    expect(await site.job(job.id)).toMatchObject({ status: 'failed', replays: 0 })
    await expectRest(site, { settled_usd: 0 })
  })

  test('waits for its budget where the instance says so', async () => {
    const job = await failOnce()
    await configure({ budget: { over: 'wait' } })
    await setBudget(site, 'instance', 0.1)
    provider.hold('generate')
    const running = await site.begin()
    expect((await replay(job.id)).body).toMatchObject({ status: 'queued', queue: { waiting_for: 'budget' } })
    await setBudget(site, 'instance', 1)
    provider.release('generate')
    expect((await site.ended(job.id)).status).toBe('succeeded')
    await site.ended(running.id)
    await expectRest(site, { settled_usd: 0.12 })
  })
})
