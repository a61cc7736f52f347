import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ImageInput } from '../../../src/contract/image.ts'
import { costMicros, estimateMicros } from '../../../src/core/cost.ts'
import { namesOf, priceAt } from '../../../src/core/price.ts'
import { LIMITS } from '../../../src/limits.ts'
import { listedPrices } from '../../../src/prices/list.ts'
import { geminiImageRequest } from '../../../src/providers/gemini-image-request.ts'
import { gemini } from '../../../src/providers/gemini-images.ts'
import { geminiText } from '../../../src/providers/gemini-text.ts'
import { createHttp, type Http } from '../../../src/providers/http.ts'
import type { Call, Outcome } from '../../../src/providers/provider.ts'
import { problemWith, requests } from '../../emulators/gemini/spec.ts'
import { type GeminiEmulator, startGemini } from '../../emulators/gemini.ts'
import { describeProvider } from './contract-suite.ts'

const SECRET = 'AIza-images-secret'
const start = () => startGemini({ apiKeys: [SECRET], draw: false })

describeProvider({
  provider: gemini,
  models: ['gemini-2.5-flash-image', 'gemini-3.1-flash-image-preview', 'gemini-3-pro-image-preview'],
  countMax: 1,
  start: async () => {
    const emulator = await start()
    return { baseUrl: emulator.url, secret: SECRET, stats: () => emulator.stats(), close: () => emulator.close() }
  },
  prompts: {
    ok: 'a lighthouse at dawn',
    // It looks at the prompt first, but says so in a 200.
    rejected: 'a lighthouse at dawn [[block:IMAGE_SAFETY]]',
    badInput: 'a lighthouse at dawn [[fail:400]]',
    rateLimited: 'a lighthouse at dawn [[fail:429]]',
    quotaExhausted: 'a lighthouse at dawn [[fail:429]] [[quota:GenerateRequestsPerDayPerProjectPerModel]]',
    unavailable: 'a lighthouse at dawn [[fail:503]]',
    cutBefore: 'a lighthouse at dawn [[cut_before]]',
    cutAfter: 'a lighthouse at dawn [[cut_after]]',
    garbage: 'a lighthouse at dawn [[garbage]]',
    malformed: 'a lighthouse at dawn [[malformed]]',
    truncated: 'a lighthouse at dawn [[truncated]]',
    stall: 'a lighthouse at dawn [[stall]]',
    unsafe: 'a lighthouse at dawn [[finish:IMAGE_SAFETY]]',
  },
})

describe('a picture of Gemini', () => {
  let emulator: GeminiEmulator
  beforeAll(async () => {
    emulator = await start()
  })
  afterEach(() => emulator.reset())
  afterAll(() => emulator.close())

  const make = (input: Partial<ImageInput>, more: Partial<Call> = {}): Promise<Outcome> =>
    gemini.start(
      {
        job: 'job_01',
        attempt: 1,
        type: 'image.generate@1',
        model: 'gemini-3.1-flash-image-preview',
        input: { prompt: 'a lighthouse', ...input },
        baseUrl: emulator.url,
        secret: SECRET,
        maxCostMicros: null,
        nowMs: 0,
        ...more,
      },
      createHttp({ timeoutMs: 5_000, allowPrivate: true }),
    )

  it('is the provider’s own bytes, billed by its tokens, and not a draft', async () => {
    const outcome = await make({ prompt: 'a lighthouse [[draft]]', aspect_ratio: '16:9' })
    expect(outcome).toMatchObject({
      kind: 'done',
      images: [{ safe: true, seed: null }],
      providerRequestId: expect.stringMatching(/^emulated/),
      costMicros: null,
      usage: { outputTokens: 1_120, imageOutputTokens: 1_120, inputTokens: emulator.stats().tokens.prompt },
    })
    if (outcome.kind !== 'done') return
    const [image] = outcome.images
    if (!image?.source || !('base64' in image.source)) throw new Error('no base64')
    const bytes = Buffer.from(image.source.base64, 'base64')
    expect([bytes.toString('latin1', 1, 4), bytes.readUInt32BE(16), bytes.readUInt32BE(20)]).toEqual([
      'PNG',
      1_344,
      768,
    ])
  })

  it.each(['SAFETY', 'IMAGE_SAFETY', 'IMAGE_PROHIBITED_CONTENT', 'IMAGE_RECITATION', 'PROHIBITED_CONTENT'])(
    'that was held back with %s is content',
    async (reason) => {
      expect(await make({ prompt: `a lighthouse [[finish:${reason}]]` })).toMatchObject({
        kind: 'fault',
        code: 'content_rejected',
        message: expect.stringContaining(reason),
      })
    },
  )

  it.each(['NO_IMAGE', 'IMAGE_OTHER'])('that was not made for %s may be tried again', async (reason) => {
    expect(await make({ prompt: `a lighthouse [[finish:${reason}]]` })).toMatchObject({
      kind: 'fault',
      code: 'provider_protocol_error',
    })
  })

  it('is not bought where the list cannot show that it fits the limit', async () => {
    expect(await make({}, { maxCostMicros: 50_000, expectedMicros: 67_201 })).toMatchObject({ code: 'budget_exceeded' })
    expect(await make({}, { maxCostMicros: 9e9, expectedMicros: null })).toMatchObject({ code: 'budget_exceeded' })
    expect(emulator.stats().accepted).toBe(0)
    expect(await make({}, { maxCostMicros: 70_000, expectedMicros: 67_201 })).toMatchObject({ kind: 'done' })
  })

  it.each<[string, Partial<ImageInput>, object]>([
    ['gemini-2.5-flash-image', {}, { responseModalities: ['IMAGE'] }],
    ['gemini-2.5-flash-image', { aspect_ratio: '3:2' }, { imageConfig: { aspectRatio: '3:2' } }],
    ['gemini-2.5-flash-image', { size: '1024x1024', format: 'png' }, { imageConfig: { aspectRatio: '1:1' } }],
    ['gemini-3-pro-image-preview', { size: '2048x2048' }, { imageConfig: { aspectRatio: '1:1', imageSize: '2K' } }],
    [
      'gemini-3.1-flash-image-preview',
      { aspect_ratio: '9:16', provider_options: { google: { imageSize: '512' } } },
      { imageConfig: { aspectRatio: '9:16', imageSize: '512' } },
    ],
  ])('of %s with %j is asked for as %j', (model, input, config) => {
    const written = geminiImageRequest(model, { prompt: 'x', ...input })
    if (!written.ok) throw new Error(written.refusal.message)
    expect(written.request.body['generationConfig']).toMatchObject(config)
    expect(problemWith(requests.generateContent, { model: 'models/x', ...written.request.body })).toBeUndefined()
  })

  it.each<[string, Partial<ImageInput>, string]>([
    ['gemini-2.5-flash-image', { seed: 1 }, 'input.seed'],
    ['gemini-2.5-flash-image', { negative_prompt: 'fog' }, 'input.negative_prompt'],
    ['gemini-2.5-flash-image', { style: 'oil' }, 'input.style'],
    ['gemini-2.5-flash-image', { quality: 'high' }, 'input.quality'],
    ['gemini-2.5-flash-image', { format: 'webp' }, 'input.format'],
    ['gemini-2.5-flash-image', { count: 2 }, 'input.count'],
    ['gemini-2.5-flash-image', { aspect_ratio: '1:3' }, 'input.aspect_ratio'],
    ['gemini-2.5-flash-image', { size: '2048x2048' }, 'input.size'],
    ['gemini-3-pro-image-preview', { size: '4096x4096' }, 'input.size'],
    ['gemini-3-pro-image-preview', { size: '512x512' }, 'input.size'],
    [
      'gemini-2.5-flash-image',
      { provider_options: { google: { imageSize: '2K' } } },
      'input.provider_options.google.imageSize',
    ],
    [
      'gemini-3-pro-image-preview',
      { size: '1024x1024', provider_options: { google: { imageSize: '2K' } } },
      'input.provider_options.google.imageSize',
    ],
    [
      'gemini-3-pro-image-preview',
      { provider_options: { google: { candidateCount: 4 } } },
      'input.provider_options.google.candidateCount',
    ],
    ['gemini-2.5-flash', {}, 'models'],
  ])('of %s with %j is refused at %s', (model, input, param) => {
    expect(gemini.refuses(model, { prompt: 'x', ...input })).toMatchObject({ param })
  })

  it('is never larger than an answer may be', () => {
    expect(2_048 * 2_048 * 3.3).toBeLessThanOrEqual(LIMITS.inlineImagesBytes)
  })

  const priceOf = (model: string) => {
    const price = priceAt(listedPrices(gemini.id), namesOf(gemini.id, model), Date.parse('2026-11-21'))
    if (!price) throw new Error(`no price of ${model}`)
    return price
  }

  it.each<[string, Partial<ImageInput>, number | null]>([
    // 39000 and a letter of the prompt, 0.3
    ['gemini-2.5-flash-image', {}, 39_000],
    ['gemini-3.1-flash-image-preview', { aspect_ratio: '16:9' }, 67_201],
    ['gemini-3-pro-image-preview', {}, 134_002],
    // Larger than what is listed, and not listed at all
    ['gemini-3-pro-image-preview', { size: '2048x2048' }, null],
    ['gemini-3.1-flash-lite-image', {}, null],
  ])('of %s with %j is judged to cost %s', (model, input, micros) => {
    const expected = gemini.expects(model, { prompt: 'x', ...input })
    expect(expected && estimateMicros(priceOf(expected.price), expected.usage)).toBe(micros)
  })

  it.each<[string, object | undefined, number | null]>([
    // 20×0.5 + 1120×60 + 10 thoughts×3
    [
      'as its tokens are told apart',
      {
        promptTokenCount: 20,
        candidatesTokenCount: 1_120,
        thoughtsTokenCount: 10,
        candidatesTokensDetails: [{ modality: 'IMAGE', tokenCount: 1_120 }],
      },
      67_240,
    ],
    [
      'all as a picture but the thoughts, where they are not',
      { promptTokenCount: 20, candidatesTokenCount: 1_120, thoughtsTokenCount: 10 },
      67_240,
    ],
    ['not at all, where none are told', undefined, null],
  ])('is billed %s', async (_how, usageMetadata, micros) => {
    const candidates = [
      { content: { parts: [{ inlineData: { mimeType: 'image/png', data: 'AAAA' } }] }, finishReason: 'STOP' },
    ]
    const body = JSON.stringify({ candidates, usageMetadata })
    const http: Http = { send: async () => ({ kind: 'answered', status: 200, headers: new Headers(), body }) }
    const model = 'gemini-3.1-flash-image-preview'
    const call: Call = {
      ...{ job: 'job_01', attempt: 1, type: 'image.generate@1', model, input: { prompt: 'x' }, secret: 's' },
      ...{ baseUrl: 'https://api.example', maxCostMicros: null, nowMs: 0 },
      costOf: (usage) => costMicros(priceOf(model), usage),
    }
    expect(await gemini.start(call, http)).toMatchObject({ kind: 'done', costMicros: micros })
  })
})

describe('every model of text', () => {
  it.each([...geminiText.chatModels, ...geminiText.embedModels].map(({ model }) => model))(
    '%s has a price',
    (model) => {
      const price = priceAt(listedPrices(geminiText.id), namesOf(geminiText.id, model), Date.parse('2026-11-21'))
      expect(price).toMatchObject({ provider: 'google', verified: true, rates: { input_per_mtok: expect.any(Number) } })
    },
  )
})
