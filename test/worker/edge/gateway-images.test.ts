import { runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import type { ImageList } from '../../../src/contract/image-request.ts'
import { instanceStub, openSite, type Site, SYNC, send } from '../support/client.ts'
import { eventually, pause } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram, PICTURE } from '../support/fake-ideogram.ts'

/** `images/generations` over the real Instance and lane. */

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const generate = (more: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
  site.send<ImageList & ErrorBody>('POST', '/images/generations', {
    json: { model: 'ideogram/ideogram-3', prompt: 'a lighthouse', ...SYNC, ...more },
    headers,
  })

const bytesOf = (base64: string | undefined) => Uint8Array.from(atob(base64 ?? ''), (one) => one.charCodeAt(0))

describe('an image', () => {
  test('comes in base64, with the job behind it', async () => {
    const { status, headers, body } = await generate()
    expect(status).toBe(200)
    expect(bytesOf(body.data[0]?.b64_json)).toEqual(PICTURE)
    expect(body).toMatchObject({ created: expect.any(Number), output_format: 'png', size: '1280x720' })
    expect(body.data[0]).not.toHaveProperty('url')
    const job = await site.job(body.job)
    expect(job).toMatchObject({ status: 'succeeded', model: 'ideogram/ideogram-3', cost_usd: body.cost_usd })
    expect(headers.get('x-switchyard-model')).toBe('ideogram/ideogram-3')
    expect(headers.get('x-switchyard-job')).toBe(job.id)
  })

  test('tells our overhead without the time that the job took', async () => {
    provider.hold('generate')
    const answer = generate()
    await eventually('the provider is asked', () => provider.open.generate === 1)
    await pause(700)
    provider.release('generate')
    const overheadMs = (await answer).headers.get('x-switchyard-overhead-ms')
    expect(overheadMs).toMatch(/^\d+$/)
    expect(Number(overheadMs)).toBeLessThan(700)
  })

  test('comes as an address that needs no key', async () => {
    const { body } = await generate({ response_format: 'url', n: 2 })
    expect(body.data).toHaveLength(2)
    for (const { url, b64_json } of body.data) {
      expect(b64_json).toBeUndefined()
      const picture = await send('GET', url ?? '')
      expect([picture.status, picture.headers.get('content-type')]).toEqual([200, 'image/png'])
    }
  })

  test('is answered to a key that may submit and nothing else, since it is paid for', async () => {
    const { key } = await site.makeKey({ name: 'submitter', role: 'user', scopes: ['jobs'] })
    const json = { model: 'ideogram/ideogram-3', prompt: 'a lighthouse', ...SYNC }
    const answer = await send<ImageList>('POST', `${site.base}/images/generations`, { key, json })
    expect([answer.status, answer.body.data?.length]).toEqual([200, 1])
  })

  test('is answered also where the Instance restarts meanwhile, for the job goes on', async () => {
    provider.hold('generate')
    const answer = generate()
    await eventually('the provider is asked', () => provider.open.generate === 1)
    const abort = (_instance: unknown, state: DurableObjectState) => state.abort('a restart')
    await runInDurableObject(instanceStub('prod'), abort).catch(() => {})
    provider.release('generate')
    const { status, body } = await answer
    expect([status, body.data?.length]).toEqual([200, 1])
    expect(provider.accepted).toHaveLength(1)
  })

  test('cannot be asked for with sides that no job may have', async () => {
    const { status, body } = await generate({ model: 'openai/gpt-image-2', size: '16400x1024' })
    expect([status, body.error]).toMatchObject([400, { code: 'invalid_request', param: 'size' }])
    expect(body.error.message).toContain('sides must be at most')
  })

  test('of a model named alone is made by the one provider that has it', async () => {
    expect((await generate({ model: 'ideogram-3' })).status).toBe(200)
  })

  test('is asked for in the words of a job', async () => {
    const { body } = await generate({ n: 2, quality: 'hd', size: 'auto', project: 'forge', metadata: { a: 'b' } })
    expect(await site.job(body.job)).toMatchObject({
      input: { prompt: 'a lighthouse', count: 2, quality: 'high' },
      project: 'forge',
      metadata: { a: 'b' },
    })
  })

  test('of a provider that lacks what was asked for in OpenAI’s own fields names them', async () => {
    const { status, headers } = await generate({ background: 'transparent', moderation: 'auto', user: 'u' })
    expect([status, headers.get('x-switchyard-dropped')]).toEqual([200, 'background, user'])
    expect((await generate({ background: 'auto' })).headers.get('x-switchyard-dropped')).toBeNull()
  })

  test('with a ninth model is refused, and none is left out without a word', async () => {
    const models = Array.from({ length: 8 }, (_, i) => `ideogram/ideogram-${i + 10}`)
    const { status, body } = await generate({ model: 'openai/gpt-image-2', models })
    expect([status, (body as unknown as { error: { param: string } }).error.param]).toEqual([400, 'models'])
  })

  test('that no model can make names the field of this request', async () => {
    const { status, body } = await generate({ output_format: 'webp' })
    expect([status, body.error.code, body.error.param]).toEqual([400, 'invalid_request', 'output_format'])
  })

  test('of a model that is not there is not found', async () => {
    const { status, body } = await generate({ model: 'none' })
    expect([status, body.error.code, body.error.param]).toEqual([404, 'not_found', 'model'])
  })

  test('that fails tells why, and by which job', async () => {
    provider.next.generate.push(failing(400, { error: 'no' }))
    const { status, body } = await generate({ fallback: false })
    expect(status).toBe(502)
    expect(body.error).toMatchObject({ code: 'provider_rejected', details: { job: expect.stringMatching(/^job_/) } })
  })

  test('that may have been paid for is not to be repeated by the client', async () => {
    provider.next.generate.push(() => new Response('no json'))
    const { status, headers, body } = await generate()
    expect([status, body.error.code]).toEqual([502, 'outcome_unknown'])
    expect(headers.get('x-should-retry')).toBe('false')
    expect(headers.get('x-switchyard-attempts')).toBe('1')
    expect(headers.get('x-switchyard-job')).toBe(body.error.details?.['job'])
  })

  test('that its provider could not take may be', async () => {
    for (let tries = 0; tries < 3; tries += 1) provider.next.generate.push(failing(503))
    const { status, headers, body } = await generate()
    expect([status, body.error.code]).toEqual([502, 'provider_unavailable'])
    expect(headers.get('x-should-retry')).toBeNull()
  })
})

describe('an image under an Idempotency-Key', () => {
  const key = { 'idempotency-key': 'picture 66' }

  test('is bought once, however often and at whatever moment it is asked for', async () => {
    provider.hold('generate')
    const answers = [generate({}, key), generate({}, key)]
    await eventually('the provider is asked', () => provider.open.generate === 1)
    answers.push(generate({}, key))
    provider.release('generate')
    answers.push(Promise.all(answers).then(() => generate({}, key)))
    const all = await Promise.all(answers)
    expect(all.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    expect(new Set(all.map(({ body }) => body.job)).size).toBe(1)
    for (const { body } of all) expect(bytesOf(body.data[0]?.b64_json)).toEqual(PICTURE)
    expect(all.filter(({ headers }) => headers.get('idempotency-replayed') === 'true')).toHaveLength(3)
    expect(provider.accepted).toHaveLength(1)
  })

  test('is another one under another key, and without', async () => {
    const jobs = [await generate({}, key), await generate({}, { 'idempotency-key': 'other' }), await generate()]
    expect(new Set(jobs.map(({ body }) => body.job)).size).toBe(3)
  })

  test('is refused where the request is another, and where a job was made under the key', async () => {
    await generate({}, key)
    const other = await generate({ prompt: 'a tower' }, key)
    expect([other.status, other.body.error]).toMatchObject([
      422,
      { code: 'idempotency_mismatch', param: 'Idempotency-Key' },
    ])
    await site.submit({}, { 'idempotency-key': 'of a job' })
    expect((await generate({}, { 'idempotency-key': 'of a job' })).status).toBe(422)
    expect((await generate({}, { 'idempotency-key': 'x'.repeat(256) })).body.error.param).toBe('Idempotency-Key')
  })

  test('that failed is not asked for again in vain: the key stands for what became of it', async () => {
    provider.next.generate.push(failing(503), failing(503), failing(503))
    const failed = await generate({}, key)
    expect([failed.status, failed.headers.get('x-should-retry')]).toEqual([502, 'false'])
    const again = await generate({}, key)
    expect(again.body.error).toEqual({ ...failed.body.error, request_id: expect.any(String) })
    expect(provider.accepted).toHaveLength(0)
  })
})
