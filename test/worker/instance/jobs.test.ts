import { beforeEach, describe, expect, test } from 'vitest'
import type { Job } from '../../../src/contract/job.ts'
import { jobRequest, openSite, rowsOf, type Site, send, withKey } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const inFuture = (ms: number): string => new Date(Date.now() + ms).toISOString()

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

describe('submitting a job', () => {
  test('is answered at once with 202, the job and where to find it', async () => {
    provider.hold('generate')
    const answer = await site.submit({ metadata: { team: 'press' }, project: 'forge', priority: 7 })
    expect(answer.status).toBe(202)
    expect(answer.headers.get('location')).toBe(answer.body.urls.get)
    expect(answer.body).toMatchObject({
      object: 'job',
      type: 'image.generate@1',
      status: 'running',
      project: 'forge',
      priority: 7,
      metadata: { team: 'press' },
    })
    expect((await send<Job>('GET', answer.body.urls.get, { key: site.key })).body.id).toBe(answer.body.id)
    provider.release('generate')
    const job = await site.ended(answer.body.id)
    expect(job).toMatchObject({
      status: 'succeeded',
      model: 'ideogram/ideogram-3',
      progress: 1,
      usage: { images: 1 },
      error: null,
      queue: null,
    })
    expect(job.attempts).toMatchObject([{ number: 1, outcome: 'done', provider_request_id: 'gen-1', error: null }])
    expect(job.output?.images).toMatchObject([
      { content_type: 'image/png', width: 1280, height: 720, bytes: 2000, seed: 7 },
    ])
    expect(job.cost_usd).toBeGreaterThan(0)
  })

  test('the picture of a job is where its output says, for whoever holds the link', async () => {
    const { output } = await site.ended((await site.begin()).id)
    const image = output?.images[0]
    const picture = await send('GET', image?.url ?? '', { key: null })
    expect([picture.status, picture.headers.get('content-type')]).toEqual([200, 'image/png'])
    expect((await send('GET', `${site.base}/artifacts/${image?.artifact}`, { key: null })).status).toBe(401)
    expect((await site.send('HEAD', `/artifacts/${image?.artifact}`)).status).toBe(200)
  })

  test('with Prefer: wait is answered 201 once the job has ended', async () => {
    const answer = await site.submit({}, { prefer: 'respond-async, wait=20' })
    expect([answer.status, answer.body.status]).toEqual([201, 'succeeded'])
    expect(answer.headers.get('preference-applied')).toBe('wait=20')
    expect(answer.headers.get('location')).toBe(answer.body.urls.get)
  })

  test('with Prefer: wait is answered 202 when the time is over first', async () => {
    provider.hold('generate')
    const answer = await site.submit({}, { prefer: 'wait=1' })
    expect([answer.status, answer.body.status, answer.headers.get('preference-applied')]).toEqual([
      202,
      'running',
      'wait=1',
    ])
  })

  test('a wait of more than a minute is cut to a minute, and one that is not understood is ignored', async () => {
    const long = await site.submit({}, { prefer: 'wait=600' })
    expect([long.status, long.headers.get('preference-applied')]).toEqual([201, 'wait=60'])
    const odd = await site.submit({}, { prefer: 'wait=soon' })
    expect([odd.status, odd.headers.has('preference-applied')]).toEqual([202, false])
  })

  test('without a credential there is no provider', async () => {
    const bare = await openSite('bare', { credential: false })
    const answer = await bare.send('POST', '/jobs', { json: jobRequest() })
    expect([answer.status, answer.body.error.code]).toEqual([400, 'no_provider'])
    expect(await rowsOf('bare', 'SELECT * FROM jobs')).toEqual([])
  })

  test('a disabled provider takes no jobs, and what waits for it goes on when it is enabled', async () => {
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    provider.hold('generate')
    const [first, second] = [await site.begin(), await site.begin()]
    await site.send('PUT', '/providers/ideogram', { json: { enabled: false } })
    provider.release('generate')
    await site.ended(first.id)
    const refused = await site.send('POST', '/jobs', { json: jobRequest() })
    expect([refused.status, refused.body.error.code]).toEqual([400, 'no_provider'])
    expect((await site.job(second.id)).status).toBe('queued')
    await site.send('PUT', '/providers/ideogram', { json: { enabled: true } })
    expect((await site.ended(second.id)).status).toBe('succeeded')
  })
})

describe('an idempotency key', () => {
  const key = { 'idempotency-key': 'order 66' }

  test('makes the same job of the same request, however its JSON is written', async () => {
    const first = await site.submit({}, key)
    await site.ended(first.body.id)
    const again = await site.submit({}, key)
    expect([again.status, again.body.id, again.body.status]).toEqual([202, first.body.id, 'succeeded'])
    expect([first.headers.get('idempotency-replayed'), again.headers.get('idempotency-replayed')]).toEqual([
      null,
      'true',
    ])
    const turned = Object.fromEntries(Object.entries(jobRequest()).reverse())
    expect((await site.send<Job>('POST', '/jobs', { json: turned, headers: key })).body.id).toBe(first.body.id)
    expect(provider.accepted).toHaveLength(1)
  })

  test('refuses another request with 422', async () => {
    await site.submit({}, key)
    const other = await site.send('POST', '/jobs', { json: jobRequest({ priority: 1 }), headers: key })
    expect([other.status, other.body.error.code, other.body.error.param]).toEqual([
      422,
      'idempotency_mismatch',
      'Idempotency-Key',
    ])
    expect(await rowsOf('prod', 'SELECT id FROM jobs')).toHaveLength(1)
  })

  test('makes one job of twenty requests at once', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => site.submit({}, key)))
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
    expect(answers.filter(({ headers }) => headers.get('idempotency-replayed') === null)).toHaveLength(1)
    await site.ended(answers[0]?.body.id ?? '')
    expect(provider.accepted).toHaveLength(1)
  })

  test('of a request that was refused is not used up', async () => {
    expect((await site.submit({ models: ['ideogram/none'] }, key)).status).toBe(400)
    expect((await site.submit({}, key)).status).toBe(202)
  })

  test('belongs to the project of the API key', async () => {
    const project = withKey(site, (await site.makeKey({ name: 'p', role: 'user', project: 'p' })).key)
    const [whole, own] = [await site.submit({}, key), await project.submit({}, key)]
    expect(whole.body.id).not.toBe(own.body.id)
    expect((await project.submit({}, key)).body.id).toBe(own.body.id)
  })

  test('is remembered for a day', async () => {
    const clock = movableClock()
    const first = await site.submit({}, key)
    await site.ended(first.body.id)
    clock.advance(DAY_MS - 60_000)
    expect((await site.submit({}, key)).body.id).toBe(first.body.id)
    clock.advance(120_000)
    const later = await site.submit({ priority: 1 }, key)
    expect([later.status, later.headers.has('idempotency-replayed')]).toEqual([202, false])
    expect(later.body.id).not.toBe(first.body.id)
  })
})

describe('the list of jobs', () => {
  const list = async (query: string) => {
    const { body } = await site.send<{ data: Job[]; next: string | null }>('GET', `/jobs${query}`)
    return { ids: body.data.map((job) => job.id), next: body.next }
  }

  test('is newest first, in pages that join without gap or repetition', async () => {
    const made: string[] = []
    for (let i = 0; i < 5; i += 1) made.unshift((await site.begin({ not_before: inFuture(DAY_MS) })).id)
    const sorted = [...made].sort().reverse()
    expect(await list('')).toEqual({ ids: sorted, next: null })
    const first = await list('?limit=2')
    const second = await list(`?limit=2&after=${first.next}`)
    const third = await list(`?limit=2&after=${second.next}`)
    expect([...first.ids, ...second.ids, ...third.ids]).toEqual(sorted)
    expect([first.ids.length, second.ids.length, third.ids.length, third.next]).toEqual([2, 2, 1, null])
    expect((await list('?limit=5')).next).toBeNull()
  })

  test('is filtered by status, type and project, alone and together', async () => {
    const done = await site.begin({ project: 'a' })
    await site.ended(done.id)
    const waits = await site.begin({ project: 'a', not_before: inFuture(DAY_MS) })
    const other = await site.begin({ project: 'b', not_before: inFuture(DAY_MS) })
    const found = async (query: string) => new Set((await list(query)).ids)
    expect(await found('?status=succeeded')).toEqual(new Set([done.id]))
    expect(await found('?status=scheduled')).toEqual(new Set([waits.id, other.id]))
    expect(await found('?project=a')).toEqual(new Set([done.id, waits.id]))
    expect(await found('?project=a&status=scheduled&type=image.generate')).toEqual(new Set([waits.id]))
    expect(await found('?project=none')).toEqual(new Set())
  })
})

describe('canceling', () => {
  const cancel = (id: string) => site.send<Job>('POST', `/jobs/${id}/cancel`)
  const expectCanceled = async (id: string) => {
    for (let times = 0; times < 2; times += 1) {
      const answer = await cancel(id)
      expect([answer.status, answer.body.status, answer.body.error?.code]).toEqual([200, 'canceled', 'canceled'])
      expect(answer.body.ended_at).not.toBeNull()
    }
    expect(await rowsOf('prod', `SELECT type FROM events WHERE job = '${id}' AND type = 'job.canceled'`)).toHaveLength(
      1,
    )
  }

  test('a scheduled job, which cost nothing', async () => {
    const { id } = await site.begin({ not_before: inFuture(DAY_MS) })
    await expectCanceled(id)
    expect(await site.job(id)).toMatchObject({ attempts: [], cost_usd: 0 })
  })

  test('a queued job, which is never sent', async () => {
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    provider.hold('generate')
    const first = await site.begin()
    const second = await site.begin()
    await expectCanceled(second.id)
    provider.release('generate')
    await site.ended(first.id)
    expect(provider.calls.generate).toBe(1)
  })

  test('a running job, whose call is ended and whose place is free at once', async () => {
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    provider.hold('generate')
    const { id } = await site.begin()
    await eventually('the call hangs', () => provider.open.generate === 1)
    await expectCanceled(id)
    await eventually('the call is ended', () => provider.aborted === 1)
    provider.release('generate')
    expect((await site.ended((await site.begin()).id)).status).toBe('succeeded')
    const job = await site.job(id)
    expect(job).toMatchObject({ status: 'canceled', output: null, cost_usd: null, attempts: [{ outcome: 'canceled' }] })
  })

  test('a job that has ended otherwise is a conflict and changes nothing', async () => {
    const { id } = await site.begin()
    const done = await site.ended(id)
    const answer = await site.send('POST', `/jobs/${id}/cancel`)
    expect([answer.status, answer.body.error.code]).toEqual([409, 'conflict'])
    expect(await site.job(id)).toEqual(done)
  })

  test('ends the wait of those who wait for the job', async () => {
    provider.hold('generate')
    const waits = site.submit({}, { prefer: 'wait=30' })
    const [row] = await eventually('the job is there', async () => {
      const rows = await rowsOf('prod', 'SELECT id FROM jobs')
      return rows.length > 0 && rows
    })
    await cancel(String(row?.['id']))
    const answer = await waits
    expect([answer.status, answer.body.status]).toEqual([201, 'canceled'])
  })
})
