import { createHash } from 'node:crypto'
import { PNG } from 'pngjs'
import { expect, test } from 'vitest'
import type { Job } from '../../src/contract/job.ts'
import { startEmulator, startProduct } from './harness.ts'
import { imageJob, provision } from './support.ts'

test('a job goes from request to picture, live, and the picture is the one that was reported', async () => {
  const emulator = await startEmulator({ latencyMs: 600 })
  const product = await startProduct()
  const { base, user } = await provision(product.url, { baseUrl: emulator.url })
  const events = await user.subscribe(`${base}/events?after=0`)

  const input = { aspect_ratio: '16:9', count: 2, seed: 7, quality: 'draft' }
  const posted = await user.call<Job>(
    'POST',
    `${base}/jobs`,
    imageJob('a lighthouse at dawn', { metadata: { page: '12' } }, input),
    { 'x-request-id': 'journey-1' },
  )
  expect(posted.status).toBe(202)
  expect(posted.headers.get('location')).toBe(posted.body.urls.get)
  await events.until((event) => event.type === 'job.succeeded')

  const durable = events.events.filter((event) => event.type !== 'job.progress')
  expect(durable.map(({ seq, type, job }) => [seq, type, job])).toEqual([
    [1, 'job.queued', posted.body.id],
    [2, 'job.started', posted.body.id],
    [3, 'job.succeeded', posted.body.id],
  ])
  const progress = events.events.filter((event) => event.type === 'job.progress')
  expect(progress.length).toBeGreaterThan(0)
  expect(progress.map((event) => event.seq)).toEqual(progress.map(() => 2))
  await events.close()

  const job = await user.ask<Job>('GET', posted.body.urls.get)
  expect(job).toMatchObject({
    status: 'succeeded',
    model: 'ideogram/ideogram-3',
    progress: 1,
    cost_usd: 0.06,
    usage: { images: 2 },
    request_id: 'journey-1',
    metadata: { page: '12' },
    error: null,
    queue: null,
  })
  expect(job.attempts).toMatchObject([
    { number: 1, outcome: 'done', provider_request_id: emulator.stats().generations[0]?.id },
  ])
  expect(job.timing.provider_ms).toBeGreaterThanOrEqual(600)
  expect(job.timing.total_ms).toBeGreaterThanOrEqual((job.timing.provider_ms ?? 0) + (job.timing.store_ms ?? 0))
  const images = job.output?.images ?? []
  expect(images).toHaveLength(2)
  for (const image of images) {
    const answer = await fetch(image.url ?? '')
    const bytes = Buffer.from(await answer.arrayBuffer())
    expect(answer.headers.get('content-type')).toBe(image.content_type)
    expect(bytes.length).toBe(image.bytes)
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(image.sha256)
    expect(PNG.sync.read(bytes)).toMatchObject({ width: image.width, height: image.height })
    expect(image.width / image.height).toBeCloseTo(16 / 9, 0)
  }
})

test('a client that prefers to wait is answered with the ended job', async () => {
  const emulator = await startEmulator({ latencyMs: 100, draw: false })
  const product = await startProduct()
  const { base, user } = await provision(product.url, { baseUrl: emulator.url })
  const answer = await user.call<Job>('POST', `${base}/jobs`, imageJob('quick'), { prefer: 'wait=30' })
  expect(answer.status).toBe(201)
  expect(answer.headers.get('preference-applied')).toBe('wait=30')
  expect(answer.body.status).toBe('succeeded')
})

test('the same Idempotency-Key from 20 requests at once makes one job, and a changed payload is refused', async () => {
  const emulator = await startEmulator({ draw: false })
  const product = await startProduct()
  const { base, user } = await provision(product.url, { baseUrl: emulator.url })
  const headers = { 'idempotency-key': 'order-4711' }
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => user.call<Job>('POST', `${base}/jobs`, imageJob('once'), headers)),
  )
  expect(answers.map((answer) => answer.status)).toEqual(Array(20).fill(202))
  expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1)
  expect(answers.filter((answer) => answer.headers.get('idempotency-replayed') === 'true')).toHaveLength(19)

  const changed = await user.call('POST', `${base}/jobs`, imageJob('twice'), headers)
  expect([changed.status, changed.body]).toMatchObject([
    422,
    { error: { code: 'idempotency_mismatch', param: 'Idempotency-Key' } },
  ])
  await user.ask('GET', `${base}/jobs/${answers[0]?.body.id}`, undefined, { prefer: 'wait=30' })
  expect(emulator.stats().accepted).toBe(1)
})

test('content that the provider rejects is an outcome of its own, with an unknown price left unknown', async () => {
  const emulator = await startEmulator({ draw: false })
  const product = await startProduct()
  const { base, user } = await provision(product.url, { baseUrl: emulator.url })
  const run = (prompt: string) => user.ask<Job>('POST', `${base}/jobs`, imageJob(prompt), { prefer: 'wait=30' })
  const [rejected, unsafe, limited] = await Promise.all([
    run('no [[reject]]'),
    run('no [[unsafe]]'),
    run('later [[fail_once:429:inflight_limit]]'),
  ])
  // Behind the others: its credential rests, and whoever has to try again would wait for that.
  const broke = await run('no [[fail:402:insufficient_funds]]')
  expect(rejected).toMatchObject({ status: 'failed', error: { code: 'content_rejected', source: 'provider' } })
  expect(unsafe).toMatchObject({ status: 'failed', error: { code: 'content_rejected', source: 'provider' } })
  expect(limited).toMatchObject({
    status: 'succeeded',
    attempts: [{ outcome: 'provider_rate_limited' }, { outcome: 'done' }],
  })
  expect(broke).toMatchObject({ status: 'failed', error: { code: 'provider_quota_exhausted' }, cost_usd: 0 })
})
