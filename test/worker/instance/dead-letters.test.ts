import { beforeEach, describe, expect, test } from 'vitest'
import type { Discarded } from '../../../src/contract/dead-letter.ts'
import type { Job } from '../../../src/contract/job.ts'
import { openSite, rowsOf, type Site, stateOf, withKey } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { failJobs, idsOf, letters } from '../support/letters.ts'
import { openSocket } from '../support/streams.ts'

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const replay = (id: string, through = site) => through.send<Job>('POST', `/jobs/${id}/replay`)
const projectKey = async (project: string) =>
  withKey(site, (await site.makeKey({ name: project, role: 'user', project })).key)

describe('a replay', () => {
  test('runs a failed job again, with its history kept and numbered on', async () => {
    const [failed] = await failJobs(site, provider, 1)
    const answer = await replay(failed?.id ?? '')
    expect([answer.status, answer.headers.get('location')]).toEqual([202, answer.body.urls.get])
    expect(answer.body).toMatchObject({ ended_at: null, error: null, replays: 1 })
    const job = await site.ended(failed?.id ?? '')
    expect(job).toMatchObject({ status: 'succeeded', error: null, replays: 1, started_at: failed?.started_at })
    expect(job.attempts.map(({ number, reason, outcome }) => [number, reason, outcome])).toEqual([
      [1, failed?.attempts[0]?.reason, 'provider_rejected'],
      [2, 'replayed', 'done'],
    ])
    const events = await rowsOf('prod', `SELECT type, data FROM events WHERE job = '${job.id}' ORDER BY seq`)
    expect(events.map(({ type }) => type)).toEqual([
      'job.queued',
      'job.started',
      'job.failed',
      'job.replayed',
      'job.started',
      'job.succeeded',
    ])
    expect(JSON.parse(String(events[3]?.['data']))).toEqual({ model: 'ideogram/ideogram-3', attempts: 1, replay: 1 })
    expect(await idsOf(site)).toEqual([])
  })

  test('costs what all attempts cost together, and is unknown as soon as one is', async () => {
    const [free] = await failJobs(site, provider, 1)
    const [unknown] = await failJobs(site, provider, 1, {}, 422)
    expect([free?.cost_usd, unknown?.cost_usd]).toEqual([0, null])
    for (const job of [free, unknown]) await replay(job?.id ?? '')
    expect((await site.ended(free?.id ?? '')).cost_usd).toBe(0.06)
    expect((await site.ended(unknown?.id ?? '')).cost_usd).toBeNull()
  })

  test('has all attempts, every model and the whole deadline again', async () => {
    const clock = movableClock()
    const models = ['ideogram/ideogram-3', 'ideogram/ideogram-4']
    provider.next.generate.push(failing(400), failing(400))
    const failed = await site.ended((await site.begin({ models, max_attempts: 2, deadline_s: 100 })).id)
    expect([failed.status, failed.model]).toEqual(['failed', 'ideogram/ideogram-4'])
    clock.advance(1_000_000)
    provider.next.generate.push(failing(400))
    const before = Date.now()
    await replay(failed.id)
    const job = await site.ended(failed.id)
    expect(job.attempts.map(({ model, outcome }) => [model.slice(-1), outcome])).toEqual([
      ['3', 'provider_rejected'],
      ['4', 'provider_rejected'],
      ['3', 'provider_rejected'],
      ['4', 'done'],
    ])
    const [row] = await rowsOf('prod', 'SELECT deadline_at_ms FROM jobs')
    expect(Number(row?.['deadline_at_ms']) - before).toBeGreaterThanOrEqual(100_000)
    expect(Number(row?.['deadline_at_ms']) - before).toBeLessThan(110_000)
  })

  test('may fail again, and be replayed again', async () => {
    const [failed] = await failJobs(site, provider, 1)
    const id = failed?.id ?? ''
    provider.next.generate.push(failing(400))
    await replay(id)
    expect((await site.ended(id)).status).toBe('failed')
    expect(await idsOf(site)).toEqual([id])
    await replay(id)
    expect(await site.ended(id)).toMatchObject({ status: 'succeeded', replays: 2, attempts: [{}, {}, { number: 3 }] })
  })

  test('of a job that is not a failed one is a conflict and changes nothing', async () => {
    const done = await site.ended((await site.begin()).id)
    const waits = await site.begin({ not_before: new Date(Date.now() + 3_600_000).toISOString() })
    const canceled = await site.begin({ not_before: new Date(Date.now() + 3_600_000).toISOString() })
    await site.send('POST', `/jobs/${canceled.id}/cancel`)
    const before = await stateOf('prod')
    for (const { id } of [done, waits, canceled]) {
      const answer = await site.send('POST', `/jobs/${id}/replay`)
      expect([answer.status, answer.body.error.code]).toEqual([409, 'conflict'])
    }
    expect((await replay('job_01JAAAAAAAAAAAAAAAAAAAAAAA')).status).toBe(404)
    expect(await stateOf('prod')).toBe(before)
  })

  test('asked for twenty times at once happens once', async () => {
    const [failed] = await failJobs(site, provider, 1)
    const answers = await Promise.all(Array.from({ length: 20 }, () => replay(failed?.id ?? '')))
    expect(answers.map(({ status }) => status).sort()).toEqual([202, ...Array.from({ length: 19 }, () => 409)])
    expect(await site.ended(failed?.id ?? '')).toMatchObject({ replays: 1, attempts: [{}, {}] })
    expect(provider.accepted).toHaveLength(1)
  })

  test('and a cancel at once leave one truth: replayed and then canceled, or a conflict', async () => {
    const failed = await failJobs(site, provider, 10)
    provider.hold('generate')
    const pairs = await Promise.all(
      failed.map(async ({ id }, i) => {
        const cancel = () => site.send('POST', `/jobs/${id}/cancel`)
        const [a, b] =
          i % 2 === 0 ? await Promise.all([replay(id), cancel()]) : await Promise.all([cancel(), replay(id)])
        const [replayed, canceled] = i % 2 === 0 ? [a, b] : [b, a]
        return { replayed: replayed.status, canceled: canceled.status, job: await site.job(id) }
      }),
    )
    for (const { replayed, canceled, job } of pairs) {
      expect(replayed).toBe(202)
      expect([200, 409]).toContain(canceled)
      expect(job.status === 'canceled').toBe(canceled === 200)
    }
    provider.release('generate')
  })

  test('needs room in the queue, and a provider, as a submit does', async () => {
    const [failed] = await failJobs(site, provider, 1)
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    await site.send('PATCH', '', { json: { config: { queue_bound: 1 } } })
    provider.hold('generate')
    await site.begin()
    const waits = await site.begin()
    const full = await site.send('POST', `/jobs/${failed?.id}/replay`)
    expect([full.status, full.body.error.code, full.headers.has('retry-after')]).toEqual([429, 'queue_full', true])
    await site.send('POST', `/jobs/${waits.id}/cancel`)
    await site.send('PUT', '/providers/ideogram', { json: { enabled: false } })
    const off = await site.send('POST', `/jobs/${failed?.id}/replay`)
    expect([off.status, off.body.error.code]).toEqual([400, 'no_provider'])
    expect(await idsOf(site)).toEqual([failed?.id])
    provider.release('generate')
  })

  test('of a picture that was made and not stored stores it, without buying another', async () => {
    provider.next.image.push(failing(503))
    const failed = await site.ended((await site.begin({ max_attempts: 1 })).id)
    expect(failed).toMatchObject({ status: 'failed', error: { code: 'artifact_failed' }, cost_usd: 0.06 })
    await replay(failed.id)
    const job = await site.ended(failed.id)
    expect(job).toMatchObject({ status: 'succeeded', cost_usd: 0.06 })
    expect(job.attempts[1]?.reason).toBe('replayed: stores what was made')
    expect(provider.accepted).toHaveLength(1)
  })

  test('of such a picture needs its provider too', async () => {
    provider.next.image.push(failing(503))
    const failed = await site.ended((await site.begin({ max_attempts: 1 })).id)
    await site.send('PUT', '/providers/ideogram', { json: { enabled: false } })
    const answer = await site.send('POST', `/jobs/${failed.id}/replay`)
    expect([answer.status, answer.body.error.code]).toEqual([400, 'no_provider'])
  })

  test('begins anew where what was made is too old to be there still', async () => {
    const clock = movableClock()
    provider.next.image.push(failing(503))
    const failed = await site.ended((await site.begin({ max_attempts: 1 })).id)
    clock.advance(60 * 60 * 1000)
    await replay(failed.id)
    expect(await site.ended(failed.id)).toMatchObject({ status: 'succeeded', cost_usd: 0.12 })
    expect(provider.accepted).toHaveLength(2)
  })

  test('is told to who follows the job from its beginning, which ends with the last event only', async () => {
    const [failed] = await failJobs(site, provider, 1)
    provider.hold('generate')
    await replay(failed?.id ?? '')
    const socket = await openSocket(`${site.base}/jobs/${failed?.id}/events`, { key: site.key })
    await eventually('the second start', () => socket.events.filter(({ type }) => type === 'job.started').length === 2)
    expect(socket.closed).toBeNull()
    provider.release('generate')
    expect((await socket.untilClosed()).code).toBe(1000)
    expect(socket.events.at(-1)?.type).toBe('job.succeeded')
  })
})

describe('the dead letters', () => {
  test('are the jobs that failed for good, the newest failure first, in pages that join', async () => {
    const failed = await failJobs(site, provider, 5)
    await site.ended((await site.begin()).id)
    const expected = failed.map(({ id }) => id).reverse()
    expect(await idsOf(site)).toEqual(expected)
    const found: string[] = []
    let next: string | null = ''
    for (let pages = 0; next !== null && pages < 10; pages += 1) {
      const page: Awaited<ReturnType<typeof letters>> = await letters(site, `?limit=2${next && `&after=${next}`}`)
      found.push(...page.data.map(({ id }) => id))
      next = page.next
    }
    expect(found).toEqual(expected)
  })

  test('are filtered by code, type, model, provider, project and time, alone and together', async () => {
    const [rejected] = await failJobs(site, provider, 1, { project: 'a' })
    const [unsafe] = await failJobs(site, provider, 1, { project: 'b', models: ['ideogram/ideogram-4'] }, 422)
    const both = [unsafe?.id, rejected?.id]
    const cases: Record<string, unknown[]> = {
      'code=provider_rejected': [rejected?.id],
      'code=content_rejected': [unsafe?.id],
      'code=canceled': [],
      'type=image.generate': both,
      'type=image.generate@1': both,
      'model=ideogram/ideogram-4': [unsafe?.id],
      'provider=ideogram': both,
      'provider=replicate': [],
      'project=a': [rejected?.id],
      'project=a&code=content_rejected': [],
      'project=b&code=content_rejected&model=ideogram/ideogram-4': [unsafe?.id],
      [`from=${unsafe?.ended_at}`]: [unsafe?.id],
      [`to=${unsafe?.ended_at}`]: [rejected?.id],
      [`from=${rejected?.ended_at}&to=${unsafe?.ended_at}`]: [rejected?.id],
      'to=2020-01-01T00:00:00Z': [],
    }
    for (const [query, ids] of Object.entries(cases))
      expect([query, await idsOf(site, `?${query}`)]).toEqual([query, ids])
  })

  test('are summed up by code where that is asked for', async () => {
    await failJobs(site, provider, 3)
    await failJobs(site, provider, 1, { project: 'a' }, 422)
    expect((await letters(site)).summary).toBeUndefined()
    expect((await letters(site, '?summary=true&limit=1')).summary).toEqual({
      total: 4,
      codes: { provider_rejected: 3, content_rejected: 1 },
      complete: true,
    })
    expect((await letters(site, '?summary=true&project=a')).summary).toMatchObject({ total: 1 })
  })

  test('of one project are all that its key sees, lists, replays and discards', async () => {
    const [own] = await failJobs(site, provider, 1, { project: 'own' })
    const [other] = await failJobs(site, provider, 1, { project: 'other' })
    const [none] = await failJobs(site, provider, 1)
    const key = await projectKey('own')
    const before = await stateOf('prod')
    expect(await idsOf(key)).toEqual([own?.id])
    expect(await idsOf(key, '?project=other')).toEqual([])
    expect((await letters(key, '?summary=true')).summary).toMatchObject({ total: 1 })
    const page = await letters(key, '?limit=1')
    expect(page.next).toBeNull()
    for (const job of [other, none]) {
      expect((await replay(job?.id ?? '', key)).status).toBe(404)
      expect((await key.send('DELETE', `/dead-letters/${job?.id}`)).status).toBe(404)
    }
    for (const path of ['/dead-letters/replay', '/dead-letters/discard']) {
      const answer = await key.send('POST', path, { json: { project: 'other' } })
      expect([answer.status, answer.body.error.param]).toEqual([403, 'project'])
    }
    expect(await stateOf('prod')).toBe(before)
    expect((await key.send<Discarded>('POST', '/dead-letters/discard', { json: { all: true } })).body.discarded).toBe(1)
    expect(await idsOf(site)).toEqual([none?.id, other?.id])
  })

  test('need the scope jobs to be changed, and read to be seen', async () => {
    const [failed] = await failJobs(site, provider, 1)
    const reader = withKey(site, (await site.makeKey({ name: 'r', role: 'user', scopes: ['read'] })).key)
    const writer = withKey(site, (await site.makeKey({ name: 'w', role: 'user', scopes: ['jobs'] })).key)
    expect(await idsOf(reader)).toEqual([failed?.id])
    expect((await writer.send('GET', '/dead-letters')).status).toBe(403)
    expect((await replay(failed?.id ?? '', reader)).status).toBe(403)
    expect((await reader.send('DELETE', `/dead-letters/${failed?.id}`)).status).toBe(403)
    for (const path of ['/dead-letters/replay', '/dead-letters/discard'])
      expect((await reader.send('POST', path, { json: { code: 'canceled' } })).status).toBe(403)
    expect((await writer.send('DELETE', `/dead-letters/${failed?.id}`)).status).toBe(204)
  })
})

describe('a discarded job', () => {
  test('is no dead letter any more, stays readable, and is discarded once', async () => {
    const [failed, other] = await failJobs(site, provider, 2)
    const discard = () => site.send('DELETE', `/dead-letters/${failed?.id}`)
    expect((await discard()).status).toBe(204)
    expect((await discard()).status).toBe(404)
    expect(await idsOf(site)).toEqual([other?.id])
    expect(await site.job(failed?.id ?? '')).toEqual({ ...failed, discarded_at: expect.any(String) })
  })

  test('may still be replayed by its id, and is then no longer discarded', async () => {
    const [failed] = await failJobs(site, provider, 1)
    await site.send('DELETE', `/dead-letters/${failed?.id}`)
    expect((await replay(failed?.id ?? '')).status).toBe(202)
    expect(await site.ended(failed?.id ?? '')).toMatchObject({ status: 'succeeded', discarded_at: null })
  })

  test('is one that failed: others are no dead letters', async () => {
    const done = await site.ended((await site.begin()).id)
    expect((await site.send('DELETE', `/dead-letters/${done.id}`)).status).toBe(404)
    expect((await site.job(done.id)).discarded_at).toBeNull()
  })

  test('is one of those that match, where it is asked for by filter', async () => {
    const [unsafe] = await failJobs(site, provider, 1, {}, 422)
    await failJobs(site, provider, 3)
    const json = { code: 'provider_rejected' }
    const answer = await site.send<Discarded>('POST', '/dead-letters/discard', { json })
    expect([answer.status, answer.body]).toEqual([200, { discarded: 3, more: false }])
    expect(await idsOf(site)).toEqual([unsafe?.id])
  })

  test('is never everything by mistake: no filter needs the word', async () => {
    await failJobs(site, provider, 2)
    for (const json of [{}, { all: false }]) {
      const answer = await site.send('POST', '/dead-letters/discard', { json })
      expect([answer.status, answer.body.error.param]).toEqual([400, 'all'])
    }
    expect(await idsOf(site)).toHaveLength(2)
    expect((await site.send<Discarded>('POST', '/dead-letters/discard', { json: { all: true } })).body.discarded).toBe(
      2,
    )
  })
})
