import { PNG } from 'pngjs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type IdeogramEmulator, startIdeogram } from '../../emulators/ideogram.ts'
import { flatPicture } from '../../emulators/picture.ts'
import {
  type Answer,
  type Body,
  clientOf,
  firstUrl,
  noErrors,
  onlyRecord,
  schemaValidator,
  v1Path,
  v2,
} from './ideogram-client.ts'

const checkV2 = schemaValidator('v2')
const checkV1 = schemaValidator('v1')

let clock = Date.UTC(2026, 10, 20)
let ideogram: IdeogramEmulator
let client: ReturnType<typeof clientOf>

beforeEach(async () => {
  clock = Date.UTC(2026, 10, 20)
  ideogram = await startIdeogram({ draw: false, now: () => clock })
  client = clientOf(ideogram)
})
afterEach(() => ideogram.close())

const png = flatPicture({ prompt: 'source', seed: 1, width: 640, height: 320 })
const file = () => new Blob([new Uint8Array(png)], { type: 'image/png' })

describe('generate', () => {
  const requests: [model: string, schema: string, body: Body, resolution: string][] = [
    ['ideogram-4-5', 'GenerateIdeogram45', { quality: 'medium', size: '1440x2880' }, '1440x2880'],
    ['ideogram-4', 'GenerateIdeogram4', { rendering_speed: 'turbo', resolution: '2048x2048' }, '2048x2048'],
    ['ideogram-4-transparent', 'GenerateIdeogram4Transparent', { output_resolution: '2k' }, '2048x2048'],
    ['ideogram-3', 'GenerateIdeogram3', { aspect_ratio: '16x9', color_palette: { name: 'EMBER' } }, '1312x736'],
    ['ideogram-3-transparent', 'GenerateIdeogram3Transparent', { upscale_factor: 'x2' }, '2048x2048'],
    ['ideogram-2', 'GenerateIdeogram2', { style_type: 'anime', negative_prompt: 'rain' }, '1024x1024'],
    ['ideogram-2a', 'GenerateIdeogram2A', { aspect_ratio: '1x3' }, '512x1536'],
    ['auto', 'GenerateAuto', { aspect_ratio: '3x1' }, '1536x512'],
  ]
  it.each(requests)(
    'answers %s in the shape and size that the specification gives',
    async (model, schema, more, size) => {
      const body = { prompt: 'a cat', seed: 7, num_images: 2, ...more }
      expect(checkV2(schema, body)).toBe(noErrors)
      const answer = await client.generate('a cat', body, model)
      expect(checkV2('GenerateResponse', answer)).toBe(noErrors)
      expect(answer.data.map((image) => image.resolution)).toEqual([size, size])
      expect(answer.data.map((image) => image.seed)).toEqual([7, 8])
      const picture = PNG.sync.read(Buffer.from(await (await fetch(firstUrl(answer))).arrayBuffer()))
      expect(`${picture.width}x${picture.height}`).toBe(size)
    },
  )

  it('answers v1 in the shape of v1', async () => {
    const body = { prompt: 'a cat', rendering_speed: 'TURBO', resolution: '1280x800' }
    expect(checkV1('GenerateImageRequestV3', body)).toBe(noErrors)
    const answer = (await (await client.post(v1Path, body)).json()) as Answer
    expect(checkV1('ImageGenerationResponseV3', answer)).toBe(noErrors)
    expect(answer.generation_id).toBeUndefined()
    expect(onlyRecord(ideogram)).toMatchObject({ api: 'v1', costUsdMicros: 30_000, responded: true })
  })

  const wrong: [why: string, path: string, body: Body | string][] = [
    ['an unknown field', v2('ideogram-3'), { prompt: 'a', model: 'ideogram-3' }],
    ['a missing prompt', v2('ideogram-3'), { seed: 1 }],
    ['an empty prompt', v2('ideogram-3'), { prompt: ' ' }],
    ['a prompt over 10 000 characters', v2('ideogram-4-5'), { prompt: 'a'.repeat(10_001) }],
    ['an upper-case enum on v2', v2('ideogram-3'), { prompt: 'a', rendering_speed: 'TURBO' }],
    ['a lower-case enum on v1', v1Path, { prompt: 'a', rendering_speed: 'turbo' }],
    ['nine images', v2('ideogram-3'), { prompt: 'a', num_images: 9 }],
    ['a seed beyond 31 bits', v2('ideogram-3'), { prompt: 'a', seed: 2_147_483_648 }],
    ['a number as text', v2('ideogram-3'), { prompt: 'a', seed: '1' }],
    [
      'both aspect ratio and resolution',
      v2('ideogram-3'),
      { prompt: 'a', aspect_ratio: '1x1', resolution: '1280x800' },
    ],
    ['the same on v1', v1Path, { prompt: 'a', aspect_ratio: '1x1', resolution: '1280x800' }],
    ['style preset with codes', v2('ideogram-3'), { prompt: 'a', style_preset: 'weird', style_codes: ['AAFF5733'] }],
    [
      'a palette with name and members',
      v2('ideogram-3'),
      { prompt: 'a', color_palette: { name: 'EMBER', members: [{ color_hex: '#fff' }] } },
    ],
    ['a negative prompt on 2a', v2('ideogram-2a'), { prompt: 'a', negative_prompt: 'b' }],
    ['text where a file belongs', v2('ideogram-4-5'), { prompt: 'a', images: ['abc'] }],
    ['very_low quality without sources', v2('ideogram-4-5'), { prompt: 'a', quality: 'very_low' }],
    ['a size outside the presets', v2('ideogram-4-5'), { prompt: 'a', size: '1000x1000' }],
    ['a directive that does not exist', v2('ideogram-3'), { prompt: 'a [[explode]]' }],
    ['a body that is not JSON', v2('ideogram-3'), '{'],
  ]
  it.each(wrong)('refuses %s with 400 and bills nothing', async (_why, path, body) => {
    const response = await client.post(path, body)
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({ error: expect.any(String) })
    expect(ideogram.stats()).toMatchObject({ accepted: 0, billed_usd_micros: 0, rejected: { 400: 1 } })
  })

  it('refuses a missing or unknown key with 401', async () => {
    ideogram.control({ apiKeys: ['right'] })
    expect((await client.post(v2('ideogram-3'), { prompt: 'a' })).status).toBe(401)
    expect((await fetch(`${ideogram.url}/v2/generations/x`)).status).toBe(401)
    expect((await clientOf(ideogram, 'right').post(v2('ideogram-3'), { prompt: 'a' })).status).toBe(200)
  })
})

describe('multipart', () => {
  it('reads scalars, repeated parts, JSON parts and files', async () => {
    const form = new FormData()
    form.set('prompt', 'a cat')
    form.set('seed', '12')
    form.set('num_images', '2')
    form.append('style_reference_images', file(), 'one.png')
    form.append('style_reference_images', file(), 'two.png')
    form.set('color_palette', new Blob(['{"name":"EMBER"}'], { type: 'application/json' }))
    const answer = (await (await client.post(v2('ideogram-3'), form)).json()) as Answer
    expect(checkV2('GenerateResponse', answer)).toBe(noErrors)
    expect(answer.data.map((image) => image.seed)).toEqual([12, 13])
  })

  it('takes source images for 4.5 and answers in their size', async () => {
    const form = new FormData()
    form.set('prompt', 'a cat')
    form.set('size', 'source')
    form.append('images', file(), 'one.png')
    const answer = (await (await client.post(v2('ideogram-4-5'), form)).json()) as Answer
    expect(answer.data[0]?.resolution).toBe('640x320')
    expect(onlyRecord(ideogram).costUsdMicros).toBe(60_000)
  })

  it('charges v1 character references at their own price', async () => {
    const form = new FormData()
    form.set('prompt', 'a cat')
    form.append('character_reference_images', file(), 'one.png')
    expect((await client.post(v1Path, form)).status).toBe(200)
    expect(onlyRecord(ideogram).costUsdMicros).toBe(150_000)
  })

  it('refuses a file that is not an image, a number that is not one, and a model that takes JSON only', async () => {
    const notImage = new FormData()
    notImage.set('prompt', 'a')
    notImage.append('images', new Blob(['hello there, not a picture']), 'one.png')
    expect((await client.post(v2('ideogram-4-5'), notImage)).status).toBe(400)
    const notNumber = new FormData()
    notNumber.set('prompt', 'a')
    notNumber.set('seed', 'seven')
    expect((await client.post(v2('ideogram-3'), notNumber)).status).toBe(400)
    const jsonOnly = new FormData()
    jsonOnly.set('prompt', 'a')
    expect((await client.post(v2('ideogram-4'), jsonOnly)).status).toBe(400)
  })
})

describe('price', () => {
  const prices: [model: string, more: Body, usdMicros: number][] = [
    ['ideogram-4-5', {}, 100_000],
    ['ideogram-4', { rendering_speed: 'turbo' }, 30_000],
    ['ideogram-4', {}, 60_000],
    ['ideogram-4', { rendering_speed: 'quality' }, 100_000],
    ['ideogram-3', { num_images: 3 }, 180_000],
    ['ideogram-3', { rendering_speed: 'quality' }, 90_000],
    ['ideogram-3-transparent', {}, 70_000],
    ['ideogram-4-transparent', {}, 60_000],
    ['ideogram-2', {}, 80_000],
    ['ideogram-2a', {}, 40_000],
  ]
  it.each(prices)('of %s %j is quoted exactly and then charged', async (model, more, usdMicros) => {
    const body = { prompt: 'a cat', ...more }
    const quote = (await (await client.post(`${v2(model)}?dry_run=true`, body)).json()) as Body
    expect(checkV2('PriceQuote', quote)).toBe(noErrors)
    expect(quote).toMatchObject({ usd_micros: usdMicros, credit_millis: usdMicros / 10, qualifier: 'exact' })
    expect(ideogram.stats()).toMatchObject({ quotes: 1, accepted: 0, billed_usd_micros: 0 })
    await client.generate('a cat', more, model)
    expect(ideogram.stats().billed_usd_micros).toBe(usdMicros)
  })

  it('of auto is an estimate with an upper bound that no charge exceeds', async () => {
    const response = await client.post(`${v2('auto')}?dry_run=true`, { prompt: 'a cat', num_images: 2 })
    const quote = (await response.json()) as { qualifier: string; upper_bound_usd_micros: number }
    expect(checkV2('PriceQuote', quote)).toBe(noErrors)
    expect(quote).toMatchObject({ qualifier: 'estimate', upper_bound_usd_micros: 60_000 })
    for (const seed of [0, 1, 2]) await client.generate('a cat', { num_images: 2, seed }, 'auto')
    for (const record of ideogram.stats().generations) {
      expect(record.costUsdMicros).toBeLessThanOrEqual(quote.upper_bound_usd_micros)
    }
  })

  it('quotes are checked like requests and ignore what the prompt would do to the generation', async () => {
    expect((await client.post(`${v2('ideogram-3')}?dry_run=true`, { prompt: 'a', seed: -1 })).status).toBe(400)
    expect((await client.post(`${v2('ideogram-3')}?dry_run=true`, { prompt: 'a [[reject]]' })).status).toBe(200)
  })
})

describe('in flight', () => {
  it('turns away the eleventh request at once and takes it when a place is free', async () => {
    ideogram.control({ latencyMs: 600_000 })
    for (let index = 0; index < 9; index += 1) await client.generate('long', { async: true })
    const sync = client.post(v2('ideogram-3'), { prompt: 'last' })
    await vi.waitFor(() => expect(ideogram.stats().inflight).toBe(10))
    const eleventh = await client.post(v2('ideogram-3'), { prompt: 'one too many' })
    expect(eleventh.status).toBe(429)
    const body = (await eleventh.json()) as Body
    expect(checkV2('GenerationErrorResponse', body)).toBe(noErrors)
    expect(body).toMatchObject({ reject_reason: 'inflight_limit', max_inflight_requests: 10 })
    ideogram.control({ finishNow: true, latencyMs: 0 })
    expect((await sync).status).toBe(200)
    expect((await client.post(v2('ideogram-3'), { prompt: 'now' })).status).toBe(200)
    expect(ideogram.stats()).toMatchObject({
      accepted: 11,
      inflight: 0,
      peakInflight: 10,
      maxInflight: 11,
      rejectedInflight: 1,
    })
  })

  it('counts each key by itself', async () => {
    ideogram.control({ maxInflight: 1 })
    const body = { prompt: 'long [[slow:60000]]', async: true }
    expect((await client.post(v2('ideogram-3'), body)).status).toBe(200)
    expect((await client.post(v2('ideogram-3'), body)).status).toBe(429)
    expect((await clientOf(ideogram, 'other').post(v2('ideogram-3'), body)).status).toBe(200)
  })
})

describe('asynchronous generation', () => {
  it('is acknowledged without data, then pending, then completed with its cost', async () => {
    const accepted = await client.generate('a cat [[slow:600000]]', { async: true })
    expect(checkV2('GenerateResponse', accepted)).toBe(noErrors)
    expect(accepted.data).toBeUndefined()
    const pending = (await (await client.poll(accepted.generation_id)).json()) as Answer
    expect(checkV2('GenerationResponse', pending)).toBe(noErrors)
    expect(pending).toMatchObject({ status: 'pending', failure_reason: null })
    ideogram.control({ finishNow: true })
    const done = (await (await client.poll(accepted.generation_id)).json()) as Answer
    expect(checkV2('GenerationResponse', done)).toBe(noErrors)
    expect(done).toMatchObject({ status: 'completed', usage_cost_usd_micros: 60_000 })
    expect((await fetch(firstUrl(done))).status).toBe(200)
    expect(onlyRecord(ideogram)).toMatchObject({ async: true, polls: 2, downloads: 1, responded: true })
  })

  it('is not found under another key or an unknown id', async () => {
    const { generation_id } = await client.generate('a cat', { async: true })
    expect((await clientOf(ideogram, 'other').poll(generation_id)).status).toBe(404)
    expect((await client.poll('nothing')).status).toBe(404)
  })
})

describe('image URL', () => {
  it('serves a PNG with its length until it expires, then 403', async () => {
    const url = firstUrl(await client.generate('a cat'))
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/api\/images\/ephemeral\/[\w-]+\.png\?exp=\d+&sig=[0-9a-f]{64}$/)
    const response = await fetch(url)
    expect(response.headers.get('content-type')).toBe('image/png')
    expect(Number(response.headers.get('content-length'))).toBe((await response.arrayBuffer()).byteLength)
    clock += 3_599_000
    expect((await fetch(url)).status).toBe(200)
    clock += 1_000
    expect((await fetch(url)).status).toBe(403)
  })

  it('refuses a changed signature and a changed expiry', async () => {
    const url = firstUrl(await client.generate('a cat'))
    expect((await fetch(url.replace(/sig=./, 'sig=x'))).status).toBe(403)
    expect((await fetch(url.replace(/exp=\d/, 'exp=9'))).status).toBe(403)
    expect((await fetch(url.replace(/\?.*/, ''))).status).toBe(403)
  })
})
