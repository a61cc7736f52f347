import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ReplicateEmulator, startReplicate } from '../../emulators/replicate.ts'
import { check, clientOf, firstFile, noErrors, onlyRecord, pro, schnell } from './replicate-client.ts'

let replicate: ReplicateEmulator
let client: ReturnType<typeof clientOf>
let now: number

beforeEach(async () => {
  now = Date.parse('2026-11-20T12:00:00Z')
  replicate = await startReplicate({ draw: false, now: () => now })
  client = clientOf(replicate)
})
afterEach(() => replicate.close())

describe('A prediction', () => {
  it('begins as starting and ends with its files, in the shape of the reference', async () => {
    const created = await client.create('a cat', {}, { input: { prompt: 'a cat', num_outputs: 2 } })
    expect(created.status).toBe(201)
    expect(created.body).toMatchObject({ status: 'starting', output: null, version: 'hidden', error: null })
    expect(check('prediction_response', created.body)).toBe(noErrors)
    const ended = await client.end(created.body.id)
    expect(check('prediction_response', ended)).toBe(noErrors)
    expect(ended).toMatchObject({ status: 'succeeded', metrics: { predict_time: expect.any(Number) } })
    expect(ended.output).toHaveLength(2)
    expect(replicate.stats()).toMatchObject({ created: 1, accepted: 1, completed: 1, billed_usd_micros: 6_000 })
    const file = await fetch(firstFile(ended))
    expect(file.headers.get('content-type')).toBe('image/png')
    expect((await file.bytes()).subarray(1, 4)).toEqual(new TextEncoder().encode('PNG'))
  })

  it('has one file or a list, by model', async () => {
    const one = await client.create('a cat', {}, {}, pro)
    expect(typeof (await client.end(one.body.id)).output).toBe('string')
  })

  it('tells how long it ran', async () => {
    const { body } = await client.create('a cat [[slow:60000]]')
    now += 2_500
    replicate.control({ finishNow: true })
    expect((await client.end(body.id)).metrics).toMatchObject({ predict_time: 2.5, total_time: 2.5 })
  })

  it('is made by version too: of its own, or with the name', async () => {
    const { body } = await client.call('GET', `/models/${schnell}`)
    const { latest_version: version } = body as unknown as { latest_version: { id: string } }
    expect(check('model_response', body)).toBe(noErrors)
    for (const [named, shown] of [
      [schnell, 'hidden'],
      [version.id, version.id],
      [`${schnell}:${version.id}`, version.id],
    ]) {
      const made = await client.call('POST', '/predictions', { version: named, input: { prompt: 'a cat' } })
      expect(made).toMatchObject({ status: 201, body: { model: schnell, version: shown } })
    }
    const unknown = await client.call('POST', '/predictions', { version: '0'.repeat(64), input: { prompt: 'a cat' } })
    expect(unknown).toMatchObject({ status: 422, body: { title: 'Invalid version or not permitted' } })
  })

  it('loses its input, output and files an hour after its end', async () => {
    const { body } = await client.create('a cat')
    const ended = await client.end(body.id)
    now += 3_599_999
    expect((await fetch(firstFile(ended))).status).toBe(200)
    now += 1
    expect((await client.get(body.id)).body).toMatchObject({ data_removed: true, input: {}, output: null, logs: '' })
    expect((await fetch(firstFile(ended))).status).toBe(404)
  })

  it('is canceled while it runs, and stays what it is once it has ended', async () => {
    const running = (await client.create('a cat [[slow:60000]]')).body
    expect(await client.cancel(running.id)).toMatchObject({ status: 200, body: { status: 'canceled', output: null } })
    const done = (await client.create('a dog')).body
    await client.end(done.id)
    expect((await client.cancel(done.id)).body).toMatchObject({ status: 'succeeded' })
    expect(replicate.stats()).toMatchObject({ canceled: 1, completed: 1, billed_usd_micros: 3_000, inflight: 0 })
  })

  it('has a deadline with Cancel-After, of five seconds at least', async () => {
    const { body } = await client.create('a cat [[slow:60000]]', { 'cancel-after': '1h2m3s' })
    expect(body.deadline).toBe('2026-11-20T13:02:03.000000Z')
    expect((await client.create('a cat', { 'cancel-after': '4s' })).status).toBe(422)
    expect((await client.create('a cat', { 'cancel-after': 'soon' })).status).toBe(422)
  })

  it('belongs to its token', async () => {
    const { body } = await client.create('a cat')
    const other = clientOf(replicate, 'other')
    expect((await other.get(body.id)).status).toBe(404)
    expect((await other.cancel(body.id)).status).toBe(404)
    expect((await other.list()).results).toEqual([])
  })
})

describe('A held request', () => {
  it('answers as recorded: processing, with data URIs and no end', async () => {
    const { status, headers, body } = await client.create('a cat', { prefer: 'wait' })
    expect(status).toBe(201)
    expect(headers.get('preference-applied')).toBe('wait')
    expect(body).toMatchObject({ status: 'processing', output: [expect.stringMatching(/^data:image\/png;base64,/)] })
    expect(body).not.toHaveProperty('metrics')
    expect((await client.get(body.id)).body).toMatchObject({
      status: 'succeeded',
      output: [expect.stringMatching(/^http/)],
    })
  })

  it('answers with the final prediction where it is set to', async () => {
    replicate.control({ waitAnswer: 'final' })
    expect((await client.create('a cat', { prefer: 'wait=5' })).body).toMatchObject({ status: 'succeeded' })
  })

  it('answers 202 and starting when the time is up', async () => {
    const answered = client.create('a cat [[slow:60000]]', { prefer: 'wait=1' })
    expect(await answered).toMatchObject({ status: 202, body: { status: 'starting', output: null } })
  })

  it('shows a failure as it is', async () => {
    const { status, body } = await client.create('a cat [[unsafe]]', { prefer: 'wait' })
    expect({ status, body }).toMatchObject({
      status: 201,
      body: { status: 'failed', error: expect.stringMatching(/NSFW/) },
    })
  })

  it.each(['wait=0', 'wait=x', 'respond-async'])('refuses %s', async (prefer) => {
    expect((await client.create('a cat', { prefer })).status).toBe(422)
  })
})

describe('The list', () => {
  it('is newest first, in pages, within times', async () => {
    const ids: string[] = []
    for (let at = 0; at < 5; at += 1) {
      ids.unshift((await client.create(`cat ${at}`)).body.id)
      now += 1_000
    }
    replicate.control({ pageSize: 2 })
    const first = await client.list()
    expect(first.results.map(({ id }) => id)).toEqual(ids.slice(0, 2))
    const second = await client.list(new URL(first.next ?? '').search)
    expect(second.results.map(({ id }) => id)).toEqual(ids.slice(2, 4))
    const third = await client.list(new URL(second.next ?? '').search)
    expect(third).toMatchObject({ next: null, results: [{ id: ids[4] }] })
    const between = '?created_after=2026-11-20T12:00:01Z&created_before=2026-11-20T12:00:03Z'
    expect((await client.list(between)).results.map(({ id }) => id)).toEqual(ids.slice(2, 4))
  })
})

describe('Refusals', () => {
  it.each<[string, object, string]>([
    ['a missing prompt', { input: {} }, 'input.prompt'],
    ['a missing input', {}, 'input'],
    ['a wrong type', { input: { prompt: 1 } }, 'input.prompt'],
    ['an unlisted value', { input: { prompt: 'a', aspect_ratio: '7:5' } }, 'input.aspect_ratio'],
    ['too many images', { input: { prompt: 'a', num_outputs: 5 } }, 'input.num_outputs'],
    ['an unknown input', { input: { prompt: 'a', size: '1x1' } }, 'input.size'],
    ['an unknown field', { input: { prompt: 'a' }, async: true }, 'async'],
    ['an unknown event', { input: { prompt: 'a' }, webhook_events_filter: ['end'] }, 'webhook_events_filter.0'],
    ['a private webhook', { input: { prompt: 'a' }, webhook: 'https://10.0.0.1/' }, 'webhook'],
    ['a misspelt directive', { input: { prompt: 'a [[fial]]' } }, 'input.prompt'],
  ])('name the field of %s', async (_what, body, field) => {
    const answer = await client.call('POST', `/models/${schnell}/predictions`, body)
    expect(answer).toMatchObject({ status: 422, body: { title: 'Input validation failed', status: 422 } })
    expect(answer.body.invalid_fields?.[0]?.field).toBe(field)
    expect(replicate.stats()).toMatchObject({ created: 0, rejected: { 422: 1 } })
  })

  it('tell a missing token from a wrong one', async () => {
    replicate.control({ apiKeys: ['key'] })
    expect(await clientOf(replicate, null).create('a cat')).toMatchObject({
      status: 401,
      body: { title: 'Unauthenticated', detail: 'You did not pass an authentication token' },
    })
    expect(await clientOf(replicate, 'wrong').create('a cat')).toMatchObject({
      status: 401,
      body: { detail: 'You did not pass a valid authentication token' },
    })
    expect((await client.create('a cat')).status).toBe(201)
  })

  it('throttle creates and other calls apart, in headers and words', async () => {
    const first = await client.create('a cat')
    expect(first.headers.get('ratelimit-remaining')).toBe('599')
    expect(first.headers.get('ratelimit-reset')).toBe('1')
    expect((await client.get(first.body.id)).headers.get('ratelimit-remaining')).toBe('2999')
    replicate.control({ createsPerMinute: 6, createsBurst: 1 })
    expect((await client.create('a cat')).status).toBe(201)
    expect(await client.create('a cat')).toMatchObject({
      status: 429,
      body: { detail: 'Request was throttled. Your rate limit resets in ~10s.', status: 429, retry_after: 10 },
    })
    expect((await client.get(first.body.id)).status).toBe(200)
    now += 10_000
    expect((await client.create('a cat')).status).toBe(201)
    expect(replicate.stats().rejected).toEqual({ 429: 1 })
  })

  it('say 404 for what does not exist', async () => {
    const detail = 'The requested resource could not be found.'
    for (const path of ['/models/nobody/nothing', '/predictions/x', '/nothing']) {
      expect(await client.call('GET', path)).toMatchObject({ status: 404, body: { detail } })
    }
    expect((await client.create('a cat', {}, {}, 'nobody/nothing')).status).toBe(404)
  })
})

it('counts nothing and knows nothing after a reset', async () => {
  const { body } = await client.create('a cat [[slow:60000]]')
  replicate.reset()
  replicate.control({ finishNow: true })
  expect(replicate.stats()).toMatchObject({ created: 0, inflight: 0, predictions: [] })
  expect((await client.get(body.id)).status).toBe(404)
})

it('refuses settings and directives that do not exist', () => {
  expect(() => replicate.control({ latency: 1 } as object)).toThrow(RangeError)
  expect(() => replicate.control({ faults: ['fial'] })).toThrow(RangeError)
  expect(() => replicate.control({ latencyMs: -1 })).toThrow(RangeError)
})

it('draws faults at the asked rate, the same for the same seed', async () => {
  const outcomes = async () => {
    replicate.reset()
    replicate.control({ faultRate: 0.5, faults: ['fail:503', 'async_fail'], seed: 7 })
    const statuses: number[] = []
    for (let at = 0; at < 30; at += 1) statuses.push((await client.create(`cat ${at}`)).status)
    return { statuses, failed: replicate.stats().faults }
  }
  const first = await outcomes()
  expect(first).toEqual(await outcomes())
  expect(new Set(first.statuses)).toEqual(new Set([201, 503]))
})

it('keeps one record a prediction, with what became of its answer', async () => {
  await client.create('a cat [[cut_after]]').catch(() => {})
  expect(onlyRecord(replicate)).toMatchObject({
    prompt: 'a cat [[cut_after]]',
    responded: false,
    closedUnanswered: true,
  })
})
