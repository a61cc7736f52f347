import { beforeEach, describe, expect, test } from 'vitest'
import type { Batch } from '../../../src/contract/batch.ts'
import type { Job } from '../../../src/contract/job.ts'
import { LIMITS } from '../../../src/limits.ts'
import { jobRequest, must, openSite, rowsOf, type Site, stateOf, withKey } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { durable, openSocket, openStream } from '../support/streams.ts'

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const LATER = { not_before: new Date(Date.now() + 3_600_000).toISOString() }
const jobs = (count: number, more: Record<string, unknown> = {}) =>
  Array.from({ length: count }, () => jobRequest(more))
const post = (json: Record<string, unknown>, through = site, headers: Record<string, string> = {}) =>
  through.send<Batch>('POST', '/batches', { json, headers })
const begin = async (json: Record<string, unknown>, through = site): Promise<Batch> =>
  (await must(202, post(json, through))).body
const read = async (id: string): Promise<Batch> => (await must(200, site.send<Batch>('GET', `/batches/${id}`))).body
const ended = (id: string): Promise<Batch> =>
  eventually('the batch ends', async () => {
    const batch = await read(id)
    return batch.ended_at !== null && batch
  })
const counts = (more: Partial<Batch['counts']>) => ({
  scheduled: 0,
  queued: 0,
  running: 0,
  succeeded: 0,
  failed: 0,
  canceled: 0,
  ...more,
})
const completions = () => rowsOf('prod', "SELECT job, batch, project, data FROM events WHERE type = 'batch.completed'")

describe('a batch', () => {
  test('is answered with 202, its jobs in the order of the request, and where to find all of it', async () => {
    provider.hold('generate')
    const requests = [0, 1, 2].map((priority) => jobRequest({ priority }))
    const answer = await post({ jobs: requests, metadata: { run: 'a' }, project: 'forge' })
    expect([answer.status, answer.headers.get('location')]).toEqual([202, answer.body.urls.get])
    expect(answer.headers.has('ratelimit')).toBe(true)
    const batch = answer.body
    expect(batch).toMatchObject({
      object: 'batch',
      instance: 'prod',
      project: 'forge',
      metadata: { run: 'a' },
      status: 'running',
      counts: counts({ running: 3 }),
      cost_usd: null,
      cost_known_usd: 0,
      ended_at: null,
    })
    expect(batch.progress).toBeLessThan(1)
    const made = await Promise.all(batch.jobs.map((id) => site.job(id)))
    expect(made.map((job) => [job.priority, job.batch, job.project])).toEqual(
      [0, 1, 2].map((priority) => [priority, batch.id, 'forge']),
    )
    const listed = await site.send<{ data: Job[]; next: string | null }>('GET', `/jobs?batch=${batch.id}&limit=2`)
    const rest = await site.send<{ data: Job[] }>('GET', `/jobs?batch=${batch.id}&after=${listed.body.next}`)
    const ids = [...listed.body.data, ...rest.body.data].map(({ id }) => id)
    expect(ids).toEqual([...batch.jobs].sort().reverse())
    provider.release('generate')
    expect(await ended(batch.id)).toMatchObject({
      status: 'succeeded',
      counts: counts({ succeeded: 3 }),
      progress: 1,
      cost_usd: 0.18,
      cost_known_usd: 0.18,
    })
  })

  test('of a hundred jobs runs them all and tells of its end once', async () => {
    const batch = await begin({ jobs: jobs(100) })
    const done = await ended(batch.id)
    expect(done).toMatchObject({ status: 'succeeded', counts: counts({ succeeded: 100 }), cost_usd: 6 })
    expect(await completions()).toHaveLength(1)
    expect(provider.accepted).toHaveLength(100)
    const events = await rowsOf('prod', 'SELECT seq, type FROM events ORDER BY seq')
    expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: 301 }, (_, i) => i + 1))
    expect(events.slice(-2).map(({ type }) => type)).toEqual(['job.succeeded', 'batch.completed'])
  }, 30_000)

  test('of a hundred of which one is invalid changes nothing and names the one', async () => {
    const before = await stateOf('prod')
    const bad = (more: Record<string, unknown>, input: Record<string, unknown> = {}) => {
      const all = jobs(100)
      all[37] = { ...jobRequest(more), input: { prompt: 'x', ...input } }
      return all
    }
    const cases: [string, number, Record<string, unknown>[]][] = [
      ['jobs.37.input.prompt', 400, bad({}, { prompt: '' })],
      ['jobs.37.priority', 400, bad({ priority: 10 })],
      ['jobs.37.nonsense', 400, bad({ nonsense: 1 })],
      ['jobs.37.models.0', 400, bad({ models: ['ideogram/none'] })],
      ['jobs.37.input.size', 400, bad({}, { size: '11x11' })],
      ['jobs.37.not_before', 400, bad({ not_before: '2099-01-01T00:00:00Z' })],
      ['jobs.37', 400, bad({ models: ['replicate/black-forest-labs/flux-schnell'] })],
    ]
    for (const [param, status, all] of cases) {
      const answer = await site.send('POST', '/batches', { json: { jobs: all } })
      expect([param, answer.status]).toEqual([param, status])
      expect(answer.body.error.param).toBe(param)
    }
    expect(await stateOf('prod')).toBe(before)
  })

  test('has one to a hundred jobs, and a body of at most its own bound', async () => {
    const before = await stateOf('prod')
    for (const json of [{}, { jobs: [] }, { jobs: {} }, { jobs: jobs(101) }, { jobs: jobs(1), webhook: {} }]) {
      const answer = await site.send('POST', '/batches', { json })
      expect([answer.status, answer.body.error.code]).toEqual([400, 'invalid_request'])
    }
    const large = await site.send('POST', '/batches', { raw: ' '.repeat(LIMITS.batchBodyBytes + 1) })
    expect([large.status, large.body.error.code]).toEqual([413, 'payload_too_large'])
    expect(await stateOf('prod')).toBe(before)
    const wordy = jobs(40, { input: { prompt: 'ü'.repeat(10_000) }, ...LATER })
    expect(JSON.stringify(wordy).length).toBeGreaterThan(LIMITS.bodyBytes)
    expect((await begin({ jobs: wordy })).counts).toEqual(counts({ scheduled: 40 }))
  })

  test('is admitted whole or not at all where the queue has room for a part only', async () => {
    await site.send('PATCH', '', { json: { config: { queue_bound: 10 } } })
    const before = await stateOf('prod')
    const answer = await site.send('POST', '/batches', { json: { jobs: jobs(11, LATER) } })
    expect([answer.status, answer.body.error.code, answer.headers.has('retry-after')]).toEqual([
      429,
      'queue_full',
      true,
    ])
    expect(answer.headers.get('ratelimit')).toMatch(/^"queue";r=10, /)
    expect(await stateOf('prod')).toBe(before)
    expect((await post({ jobs: jobs(10, LATER) })).status).toBe(202)
    expect((await post({ jobs: jobs(1, LATER) })).status).toBe(429)
  })

  test('under one Idempotency-Key is made once, and another under it is refused', async () => {
    const key = { 'idempotency-key': 'batch 66' }
    const answers = await Promise.all(Array.from({ length: 10 }, () => post({ jobs: jobs(3, LATER) }, site, key)))
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
    expect(answers.filter(({ headers }) => headers.get('idempotency-replayed') === null)).toHaveLength(1)
    expect(await rowsOf('prod', 'SELECT id FROM jobs')).toHaveLength(3)
    const other = await site.send('POST', '/batches', { json: { jobs: jobs(2, LATER) }, headers: key })
    expect([other.status, other.body.error.code]).toEqual([422, 'idempotency_mismatch'])
    const single = await site.send('POST', '/jobs', { json: jobRequest(LATER), headers: key })
    expect(single.status).toBe(422)
    expect(await rowsOf('prod', 'SELECT id FROM batches')).toHaveLength(1)
  })

  test('whose jobs end differently is partial, and its cost is known in part', async () => {
    provider.next.generate.push(failing(400), failing(422))
    const batch = await begin({ jobs: jobs(4) })
    expect(await ended(batch.id)).toMatchObject({
      status: 'partial',
      counts: counts({ succeeded: 2, failed: 2 }),
      cost_usd: null,
      cost_known_usd: 0.12,
    })
    const [event, ...more] = await completions()
    expect(more).toEqual([])
    expect([event?.['job'], event?.['batch']]).toEqual([null, batch.id])
    expect(JSON.parse(String(event?.['data']))).toEqual({
      status: 'partial',
      counts: { succeeded: 2, failed: 2, canceled: 0 },
      cost_usd: null,
      cost_known_usd: 0.12,
    })
  })
})

describe('canceling a batch', () => {
  const cancel = (id: string) => site.send<Batch>('POST', `/batches/${id}/cancel`)

  test('ends what has not ended, and may be repeated', async () => {
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    const [first] = (await begin({ jobs: jobs(1) })).jobs
    await site.ended(first ?? '')
    const mixed = await begin({ jobs: [jobRequest(), ...jobs(2, LATER)] })
    await site.ended(mixed.jobs[0] ?? '')
    for (let times = 0; times < 2; times += 1) {
      const answer = await cancel(mixed.id)
      expect([answer.status, answer.body.status, answer.body.counts]).toEqual([
        200,
        'partial',
        counts({ succeeded: 1, canceled: 2 }),
      ])
    }
    expect((await completions()).filter(({ batch }) => batch === mixed.id)).toHaveLength(1)
  })

  test('before anything has ended leaves a canceled batch, whose running calls are ended', async () => {
    provider.hold('generate')
    const batch = await begin({ jobs: [...jobs(3), ...jobs(2, LATER)] })
    await eventually('the calls hang', () => provider.open.generate === 3)
    const answer = await cancel(batch.id)
    expect(answer.body).toMatchObject({ status: 'canceled', counts: counts({ canceled: 5 }), cost_usd: null })
    await eventually('the calls are ended', () => provider.aborted === 3)
    provider.release('generate')
  })
})

describe('a job of a batch that is replayed', () => {
  const replay = (id: string) => must(202, site.send('POST', `/jobs/${id}/replay`))

  test('before the batch has ended keeps it from ending', async () => {
    provider.next.generate.push(failing(400))
    const batch = await begin({ jobs: [jobRequest(), jobRequest(LATER)] })
    const [first = '', second = ''] = batch.jobs
    expect((await site.ended(first)).status).toBe('failed')
    provider.hold('generate')
    await replay(first)
    await site.send('POST', `/jobs/${second}/cancel`)
    expect(await read(batch.id)).toMatchObject({ ended_at: null, counts: counts({ running: 1, canceled: 1 }) })
    expect(await completions()).toEqual([])
    provider.release('generate')
    expect(await ended(batch.id)).toMatchObject({ status: 'partial', counts: counts({ succeeded: 1, canceled: 1 }) })
    expect(await completions()).toHaveLength(1)
  })

  test('after the end changes its counts and cost, not its end, and is not told as a second one', async () => {
    provider.next.generate.push(failing(422), failing(400))
    const batch = await begin({ jobs: jobs(3) })
    const over = await ended(batch.id)
    expect(over).toMatchObject({ status: 'partial', cost_usd: null })
    const failed = await site.send<{ data: Job[] }>('GET', `/jobs?batch=${batch.id}&status=failed`)
    provider.hold('generate')
    for (const { id } of failed.body.data) await replay(id)
    expect(await read(batch.id)).toMatchObject({
      status: 'partial',
      ended_at: over.ended_at,
      counts: counts({ running: 2, succeeded: 1 }),
    })
    provider.release('generate')
    for (const { id } of failed.body.data) await site.ended(id)
    expect(await read(batch.id)).toMatchObject({
      status: 'succeeded',
      ended_at: over.ended_at,
      counts: counts({ succeeded: 3 }),
      cost_usd: null,
      cost_known_usd: 0.18,
    })
    expect(await completions()).toHaveLength(1)
  })
})

describe('the events of a batch', () => {
  test.each([
    ['a WebSocket', openSocket],
    ['server-sent events', openStream],
  ])('over %s are those of its jobs and end with its own', async (_name, open) => {
    provider.hold('generate')
    const batch = await begin({ jobs: jobs(2) })
    const subscriber = await open(`${site.base}/batches/${batch.id}/events`, { key: site.key })
    await site.begin()
    provider.release('generate')
    const { code } = await subscriber.untilClosed()
    expect(code).toBe('blocks' in subscriber ? 0 : 1000)
    const told = durable(subscriber.events)
    expect(told.every((event) => event.batch === batch.id)).toBe(true)
    expect(told.map(({ type }) => type).sort()).toEqual(
      ['batch.completed', ...['job.queued', 'job.started', 'job.succeeded'].flatMap((type) => [type, type])].sort(),
    )
    expect(told.at(-1)).toMatchObject({ type: 'batch.completed', job: null, data: { status: 'succeeded' } })
    expect(new Set(told.flatMap(({ job }) => job ?? []))).toEqual(new Set(batch.jobs))
    const again = await open(`${site.base}/batches/${batch.id}/events?after=${told[2]?.seq}`, { key: site.key })
    await again.untilClosed()
    expect(again.events).toEqual(told.slice(3))
    const late = await open(`${site.base}/batches/${batch.id}/events?after=${told.at(-1)?.seq}`, { key: site.key })
    await late.untilClosed()
    expect(late.events).toEqual([])
  })

  test('tell the progress of its jobs, and are told to the whole instance too', async () => {
    const all = await openSocket(`${site.base}/events`, { key: site.key })
    provider.hold('image')
    const batch = await begin({ jobs: jobs(1) })
    const subscriber = await openSocket(`${site.base}/batches/${batch.id}/events`, { key: site.key })
    const told = () => all.events.filter(({ type }) => type === 'job.progress')
    await eventually('progress', () => told().length > 0)
    provider.release('image')
    await subscriber.untilClosed()
    await eventually('the end of the batch', () => all.events.some(({ type }) => type === 'batch.completed'))
    const progress = told()
    expect(progress.every((event) => event.batch === batch.id)).toBe(true)
    await all.close()
  })
})

describe('the list of batches', () => {
  test('is newest first, in pages that join, of all or of one project', async () => {
    const clock = movableClock()
    const made: string[] = []
    for (const project of ['a', 'b', 'a']) {
      made.unshift((await begin({ jobs: jobs(1, LATER), project })).id)
      clock.advance(5)
    }
    const list = async (query: string, through = site) =>
      (await must(200, through.send<{ data: Batch[]; next: string | null }>('GET', `/batches${query}`))).body
    const first = await list('?limit=2')
    expect(first.data.map(({ id }) => id)).toEqual(made.slice(0, 2))
    const second = await list(`?limit=2&after=${first.next}`)
    expect([second.data.map(({ id }) => id), second.next]).toEqual([made.slice(2), null])
    expect((await list('?project=a')).data.map(({ id }) => id)).toEqual([made[0], made[2]])
    const key = withKey(site, (await site.makeKey({ name: 'a', role: 'user', project: 'a' })).key)
    expect((await list('', key)).data.map(({ id }) => id)).toEqual([made[0], made[2]])
    expect((await list('?project=b', key)).data).toEqual([])
  })
})

describe('a key of one project', () => {
  test('submits batches of it only, and sees no other', async () => {
    const key = withKey(site, (await site.makeKey({ name: 'own', role: 'user', project: 'own' })).key)
    const own = await begin({ jobs: jobs(2, LATER) }, key)
    expect(own.project).toBe('own')
    expect((await site.job(own.jobs[0] ?? '')).project).toBe('own')
    const whole = await begin({ jobs: [jobRequest(LATER), jobRequest({ ...LATER, project: 'own' })] })
    const before = await stateOf('prod')
    const refused = async (json: Record<string, unknown>) => {
      const answer = await key.send('POST', '/batches', { json })
      return [answer.status, answer.body.error.param]
    }
    expect(await refused({ jobs: jobs(1), project: 'other' })).toEqual([403, 'project'])
    expect(await refused({ jobs: [jobRequest(), jobRequest({ project: 'other' })] })).toEqual([400, 'jobs.1.project'])
    for (const path of ['', '/events']) expect((await key.send('GET', `/batches/${whole.id}${path}`)).status).toBe(404)
    expect((await key.send('POST', `/batches/${whole.id}/cancel`)).status).toBe(404)
    const listed = await key.send<{ data: Job[] }>('GET', `/jobs?batch=${whole.id}`)
    expect(listed.body.data.map(({ id }) => id)).toEqual([whole.jobs[1]])
    expect(await stateOf('prod')).toBe(before)
  })

  test('without the scope jobs submits and cancels none', async () => {
    const reader = withKey(site, (await site.makeKey({ name: 'r', role: 'user', scopes: ['read'] })).key)
    const batch = await begin({ jobs: jobs(1, LATER) })
    expect((await post({ jobs: jobs(1) }, reader)).status).toBe(403)
    expect((await reader.send('POST', `/batches/${batch.id}/cancel`)).status).toBe(403)
    expect((await reader.send('GET', `/batches/${batch.id}`)).status).toBe(200)
  })
})
