import { PNG } from 'pngjs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { rejectReasons } from '../../emulators/ideogram/faults.ts'
import { type IdeogramEmulator, startIdeogram } from '../../emulators/ideogram.ts'
import { type Answer, clientOf, firstUrl, noErrors, onlyRecord, schemaValidator, v2 } from './ideogram-client.ts'

const check = schemaValidator('v2')
const path = v2('ideogram-3')
const nothingBilled = { accepted: 0, billed_usd_micros: 0 }

let ideogram: IdeogramEmulator
let client: ReturnType<typeof clientOf>

beforeEach(async () => {
  ideogram = await startIdeogram({ draw: false })
  client = clientOf(ideogram)
})
afterEach(() => ideogram.close())

const ask = (prompt: string, init: RequestInit = {}) => client.post(path, { prompt }, init)

describe('before acceptance', () => {
  it.each([400, 401, 402, 403, 422, 429, 500, 503])('fail:%d answers that status and bills nothing', async (status) => {
    const response = await ask(`a cat [[fail:${status}]]`)
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ error: expect.any(String) })
    expect(ideogram.stats()).toMatchObject({ ...nothingBilled, rejected: { [status]: 1 } })
  })

  it.each(rejectReasons)('fail:402 and fail:429 carry the reason %s', async (reason) => {
    for (const status of [402, 429]) {
      const response = await ask(`a cat [[fail:${status}:${reason}]]`)
      const body = (await response.json()) as Record<string, unknown>
      expect(response.status).toBe(status)
      expect(check('GenerationErrorResponse', body)).toBe(noErrors)
      expect(body.reject_reason).toBe(reason)
      expect('max_inflight_requests' in body).toBe(reason === 'inflight_limit')
    }
  })

  it('retry_after adds the header, which is absent otherwise', async () => {
    expect((await ask('a [[fail:429]] [[retry_after:7]]')).headers.get('retry-after')).toBe('7')
    expect((await ask('a [[fail:429]]')).headers.get('retry-after')).toBeNull()
  })

  it('fail_once fails the first time a prompt is seen and no more', async () => {
    const statuses: number[] = []
    for (const prompt of ['a [[fail_once:503]]', 'a [[fail_once:503]]', 'b [[fail_once:503]]']) {
      statuses.push((await ask(prompt)).status)
    }
    expect(statuses).toEqual([503, 200, 503])
  })

  it('reject answers 422 in the shape of a safety error', async () => {
    const response = await ask('a [[reject]]')
    expect(response.status).toBe(422)
    expect(check('SafetyError', await response.json())).toBe(noErrors)
    expect(ideogram.stats()).toMatchObject(nothingBilled)
  })

  it('cut_before breaks the connection and bills nothing', async () => {
    await expect(ask('a [[cut_before]]')).rejects.toThrow()
    expect(ideogram.stats()).toMatchObject({ ...nothingBilled, rejected: { cut: 1 } })
  })

  it('quote_fail breaks the quote and leaves the generation alone', async () => {
    expect((await client.post(`${path}?dry_run=true`, { prompt: 'a [[quote_fail:503]]' })).status).toBe(503)
    expect((await ask('a [[quote_fail:503]]')).status).toBe(200)
  })
})

describe('after acceptance', () => {
  it('slow takes that long in place of the latency', async () => {
    ideogram.control({ latencyMs: 60_000 })
    const started = performance.now()
    expect((await ask('a [[slow:60]]')).status).toBe(200)
    expect(performance.now() - started).toBeGreaterThan(50)
  })

  it('stall bills the generation and never answers', async () => {
    const abort = new AbortController()
    const stalled = ask('a [[stall]]', { signal: abort.signal })
    await vi.waitFor(() => expect(ideogram.stats().completed).toBe(1))
    abort.abort()
    await expect(stalled).rejects.toThrow()
    expect(onlyRecord(ideogram)).toMatchObject({ responded: false, costUsdMicros: 60_000 })
  })

  it('stall with a time answers after it', async () => {
    const started = performance.now()
    expect((await ask('a [[stall:60]]')).status).toBe(200)
    expect(performance.now() - started).toBeGreaterThan(50)
    expect(onlyRecord(ideogram).responded).toBe(true)
  })

  it('garbage is 200 with something that is not JSON', async () => {
    const response = await ask('a [[garbage]]')
    expect(response.status).toBe(200)
    await expect(response.json()).rejects.toThrow()
    expect(onlyRecord(ideogram)).toMatchObject({ responded: false, status: 'completed' })
  })

  it('malformed is 200 with JSON of another shape', async () => {
    const response = await ask('a [[malformed]]')
    expect(response.status).toBe(200)
    expect(check('GenerateResponse', await response.json())).not.toBe(noErrors)
  })

  it('truncated is a complete HTTP body with half the JSON', async () => {
    const response = await ask('a [[truncated]]')
    const text = await response.text()
    expect(Number(response.headers.get('content-length'))).toBe(text.length)
    expect(() => JSON.parse(text)).toThrow()
  })

  it.each([false, true])('cut_after bills and breaks the connection (async %s)', async (asynchronous) => {
    await expect(client.post(path, { prompt: 'a [[cut_after]]', async: asynchronous })).rejects.toThrow()
    expect(ideogram.stats()).toMatchObject({ accepted: 1, billed_usd_micros: 60_000 })
    expect(onlyRecord(ideogram).responded).toBe(false)
  })

  it('a client that leaves before the answer is billed and not marked as answered', async () => {
    const abort = new AbortController()
    const left = ask('a [[slow:600000]]', { signal: abort.signal })
    await vi.waitFor(() => expect(ideogram.stats().accepted).toBe(1))
    abort.abort()
    await expect(left).rejects.toThrow()
    await vi.waitFor(() => expect(onlyRecord(ideogram).closedUnanswered).toBe(true))
    ideogram.control({ finishNow: true })
    await vi.waitFor(() => expect(ideogram.stats().completed).toBe(1))
    expect(onlyRecord(ideogram)).toMatchObject({ responded: false, costUsdMicros: 60_000 })
    expect(ideogram.stats().inflight).toBe(0)
  })

  it('unsafe is 200 with no URL', async () => {
    const answer = await client.generate('a [[unsafe]]')
    expect(check('GenerateResponse', answer)).toBe(noErrors)
    expect(answer.data[0]).toMatchObject({ url: null, is_image_safe: false })
  })

  it('async_fail ends as failed with its reason and no charge', async () => {
    const { generation_id } = await client.generate('a [[async_fail:out of paint]]', { async: true })
    const polled = (await (await client.poll(generation_id)).json()) as Answer
    expect(check('GenerationResponse', polled)).toBe(noErrors)
    expect(polled).toMatchObject({ status: 'failed', failure_reason: 'out of paint', usage_cost_usd_micros: 0 })
    expect(ideogram.stats()).toMatchObject({ accepted: 1, failed: 1, billed_usd_micros: 0 })
  })

  it('poll_fail and poll_cut break the first polls and then let them through', async () => {
    const failing = await client.generate('a [[poll_fail:503:2]]', { async: true })
    const statuses: number[] = []
    for (let turn = 0; turn < 3; turn += 1) statuses.push((await client.poll(failing.generation_id)).status)
    expect(statuses).toEqual([503, 503, 200])
    const cut = await client.generate('a [[poll_cut:1]]', { async: true })
    await expect(client.poll(cut.generation_id)).rejects.toThrow()
    expect((await client.poll(cut.generation_id)).status).toBe(200)
  })
})

describe('on download', () => {
  const download = async (directive: string) =>
    fetch(firstUrl(await client.generate(`a cat ${directive}`)), { redirect: 'manual' })
  const pngEnd = Buffer.from('IEND')

  it('bad_image is not an image', async () => {
    const response = await download('[[bad_image]]')
    expect(response.headers.get('content-type')).toBe('image/png')
    expect(await response.text()).toBe('this is not an image')
  })

  it('blank_image is a picture of one colour, for all or for one of them', async () => {
    const whole = Buffer.from(await (await download('[[blank_image]]')).arrayBuffer())
    expect(new Set(PNG.sync.read(whole).data).size).toBeLessThanOrEqual(4)
  })

  it('wrong_size is a good picture of that size', async () => {
    const { width, height } = PNG.sync.read(Buffer.from(await (await download('[[wrong_size:640x352]]')).arrayBuffer()))
    expect([width, height]).toEqual([640, 352])
  })

  it('corrupt_image:1 damages the first download only', async () => {
    const url = firstUrl(await client.generate('a cat [[corrupt_image:1]]'))
    const [bad, good] = [await fetch(url), await fetch(url)]
    const damaged = Buffer.from(await bad.arrayBuffer())
    expect(damaged.includes(pngEnd)).toBe(true)
    expect(() => PNG.sync.read(damaged)).toThrow()
    expect(PNG.sync.read(Buffer.from(await good.arrayBuffer())).width).toBeGreaterThan(0)
  })

  it.each([
    ['jpeg', [0xff, 0xd8, 0xff]],
    ['webp', [...Buffer.from('RIFF')]],
  ])('image_format:%s gives the picture so', async (format, start) => {
    const response = await download(`[[image_format:${format}]]`)
    expect(response.headers.get('content-type')).toBe(`image/${format}`)
    expect([...new Uint8Array(await response.arrayBuffer())].slice(0, start.length)).toEqual(start)
  })

  it('truncated_image breaks off before the declared length', async () => {
    const response = await download('[[truncated_image]]')
    expect(response.status).toBe(200)
    await expect(response.arrayBuffer()).rejects.toThrow()
  })

  it('short_image is a whole body that holds half a PNG', async () => {
    const response = await download('[[short_image]]')
    const bytes = Buffer.from(await response.arrayBuffer())
    expect(Number(response.headers.get('content-length'))).toBe(bytes.length)
    expect(bytes.includes(pngEnd)).toBe(false)
  })

  it('wrong_type says text/html', async () => {
    expect((await download('[[wrong_type]]')).headers.get('content-type')).toBe('text/html')
  })

  it('image_fail breaks the first downloads and then lets them through', async () => {
    const url = firstUrl(await client.generate('a cat [[image_fail:503:2]]'))
    const statuses: number[] = []
    for (let turn = 0; turn < 3; turn += 1) statuses.push((await fetch(url)).status)
    expect(statuses).toEqual([503, 503, 200])
  })

  it('expired is expired from the start', async () => {
    expect((await download('[[expired]]')).status).toBe(403)
  })

  it('slow_image waits before it answers', async () => {
    const started = performance.now()
    await download('[[slow_image:60]]')
    expect(performance.now() - started).toBeGreaterThan(50)
  })

  it('no_length leaves the length out and still sends the whole picture', async () => {
    const response = await download('[[no_length]]')
    expect(response.headers.get('content-length')).toBeNull()
    expect(Buffer.from(await response.arrayBuffer()).includes(pngEnd)).toBe(true)
  })

  it('redirect points elsewhere', async () => {
    const response = await download('[[redirect:http://169.254.169.254/latest]]')
    expect(response.status).toBe(302)
    expect(response.headers.get('location')).toBe('http://169.254.169.254/latest')
  })
})

describe('chaos', () => {
  const run = async () => {
    ideogram.control({ faultRate: 0.5, faults: ['fail:503', 'fail:429 retry_after:1'], seed: 42 })
    const statuses: number[] = []
    for (let turn = 0; turn < 30; turn += 1) statuses.push((await ask(`picture ${turn}`)).status)
    return statuses
  }

  it('draws faults at the rate it is told, and the same ones for the same seed', async () => {
    const first = await run()
    expect(new Set(first)).toEqual(new Set([200, 429, 503]))
    expect(await run()).toEqual(first)
    expect(ideogram.stats().accepted).toBe(first.filter((status) => status === 200).length * 2)
  })

  it('refuses settings and directives that do not exist', () => {
    expect(() => ideogram.control({ latency: 3 } as never)).toThrow('unknown setting latency')
    expect(() => ideogram.control({ maxInflight: '3' } as never)).toThrow('maxInflight must be a number')
    expect(() => ideogram.control({ faults: ['fail:418'] })).toThrow('fail needs one of')
  })
})
