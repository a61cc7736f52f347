import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ImageInput } from '../../../src/contract/image.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createHttp } from '../../../src/providers/http.ts'
import { openAiImageRequest } from '../../../src/providers/openai-image-request.ts'
import { openAi } from '../../../src/providers/openai-images.ts'
import type { Call, Outcome } from '../../../src/providers/provider.ts'
import { problemWith, requests } from '../../emulators/openai/spec.ts'
import { type OpenAiEmulator, startOpenAi } from '../../emulators/openai.ts'
import { describeProvider } from './contract-suite.ts'

const SECRET = 'sk-images-secret'
const start = () => startOpenAi({ apiKeys: [SECRET], draw: false })

describeProvider({
  provider: openAi,
  models: ['gpt-image-1-mini', 'gpt-image-1.5', 'gpt-image-2'],
  start: async () => {
    const emulator = await start()
    return {
      baseUrl: `${emulator.url}/v1`,
      secret: SECRET,
      stats: () => emulator.stats(),
      close: () => emulator.close(),
    }
  },
  prompts: {
    ok: 'a lighthouse at dawn',
    rejected: 'a lighthouse at dawn [[reject]]',
    badInput: 'a lighthouse at dawn [[fail:400]]',
    rateLimited: 'a lighthouse at dawn [[fail:429]]',
    quotaExhausted: 'a lighthouse at dawn [[fail:429:insufficient_quota]]',
    unavailable: 'a lighthouse at dawn [[fail:503]]',
    cutBefore: 'a lighthouse at dawn [[cut_before]]',
    cutAfter: 'a lighthouse at dawn [[cut_after]]',
    garbage: 'a lighthouse at dawn [[garbage]]',
    malformed: 'a lighthouse at dawn [[malformed]]',
    truncated: 'a lighthouse at dawn [[truncated]]',
    stall: 'a lighthouse at dawn [[stall]]',
    unsafe: 'a lighthouse at dawn [[unsafe]]',
  },
})

describe('a picture of OpenAI', () => {
  let emulator: OpenAiEmulator
  beforeAll(async () => {
    emulator = await start()
  })
  afterEach(() => emulator.reset())
  afterAll(() => emulator.close())

  const make = (input: Partial<ImageInput>, more: Partial<Call> = {}): Promise<Outcome> =>
    openAi.start(
      {
        job: 'job_01',
        attempt: 1,
        type: 'image.generate@1',
        model: 'gpt-image-1.5',
        input: { prompt: 'a lighthouse', ...input },
        baseUrl: `${emulator.url}/v1`,
        secret: SECRET,
        maxCostMicros: null,
        nowMs: 0,
        ...more,
      },
      createHttp({ timeoutMs: 5_000, allowPrivate: true }),
    )

  it('comes in base64, with the tokens that it cost', async () => {
    const outcome = await make({ count: 2, quality: 'draft', aspect_ratio: '1:1' })
    expect(outcome).toMatchObject({ kind: 'done', costMicros: null, providerRequestId: expect.stringMatching(/^req_/) })
    if (outcome.kind !== 'done') return
    const { tokens } = emulator.stats()
    expect(outcome.usage).toMatchObject({
      inputTokens: tokens.prompt,
      outputTokens: 544,
      imageOutputTokens: 544,
      estimated: false,
    })
    for (const { source } of outcome.images) {
      if (!source || !('base64' in source)) throw new Error('no base64')
      expect([...Buffer.from(source.base64, 'base64').subarray(1, 4)]).toEqual([...Buffer.from('PNG')])
    }
  })

  it('of five megabytes and more still comes whole', async () => {
    const answer = { created: 1, data: [{ b64_json: 'A'.repeat(6 * 1024 * 1024) }] }
    const http = createHttp({
      timeoutMs: 5_000,
      allowPrivate: true,
      fetch: async () => new Response(JSON.stringify(answer)),
    })
    const call = { ...(await callOf()), baseUrl: 'https://api.openai.com/v1' }
    expect(await openAi.start(call, http)).toMatchObject({ kind: 'done', images: [{ safe: true }] })
  })

  const callOf = async (): Promise<Call> => ({
    job: 'job_01',
    attempt: 1,
    type: 'image.generate@1',
    model: 'gpt-image-2',
    input: { prompt: 'a lighthouse' },
    baseUrl: '',
    secret: SECRET,
    maxCostMicros: null,
    nowMs: 0,
  })

  it('is not bought where the list cannot show that it fits the limit', async () => {
    expect(await make({ quality: 'high' }, { maxCostMicros: 100_000 })).toMatchObject({ code: 'budget_exceeded' })
    expect(await make({}, { model: 'gpt-image-2', maxCostMicros: 9e9 })).toMatchObject({ code: 'budget_exceeded' })
    expect(emulator.stats().accepted).toBe(0)
    expect(
      await make({ quality: 'draft', size: '1024x1024' }, { maxCostMicros: 10_000, expectedMicros: 8_705 }),
    ).toMatchObject({
      kind: 'done',
    })
  })

  it.each<[string, Partial<ImageInput>, object]>([
    ['gpt-image-2', { aspect_ratio: '16:9' }, { size: '1536x864' }],
    ['gpt-image-2', { aspect_ratio: '10:16' }, { size: '960x1536' }],
    ['gpt-image-2', { size: '3840x2160', format: 'jpeg' }, { size: '3840x2160', output_format: 'jpeg' }],
    ['gpt-image-1.5', { aspect_ratio: '3:2', quality: 'draft' }, { size: '1536x1024', quality: 'low' }],
    ['gpt-image-1.5', { quality: 'standard' }, { size: 'auto', quality: 'medium', output_format: 'png' }],
    ['gpt-image-1.5', { quality: 'high', count: 5 }, { quality: 'high', n: 5 }],
    [
      'gpt-image-1-mini',
      { format: 'webp', provider_options: { openai: { background: 'transparent', output_compression: 80 } } },
      { background: 'transparent', output_compression: 80, output_format: 'webp' },
    ],
  ])('of %s with %j is asked for as %j', (model, input, expected) => {
    const written = openAiImageRequest(model, { prompt: 'x', ...input })
    if (!written.ok) throw new Error(written.refusal.message)
    expect(written.request.body).toMatchObject(expected)
    expect(problemWith(requests['/images/generations'], written.request.body)).toBeUndefined()
  })

  it.each<[string, Partial<ImageInput>, string]>([
    ['gpt-image-1.5', { seed: 1 }, 'input.seed'],
    ['gpt-image-1.5', { negative_prompt: 'fog' }, 'input.negative_prompt'],
    ['gpt-image-1.5', { style: 'oil' }, 'input.style'],
    ['gpt-image-1.5', { aspect_ratio: '16:9' }, 'input.aspect_ratio'],
    ['gpt-image-1.5', { size: '512x512' }, 'input.size'],
    ['gpt-image-2', { size: '1000x1000' }, 'input.size'],
    ['gpt-image-2', { size: '3840x1024' }, 'input.size'],
    ['gpt-image-2', { size: '3840x3840' }, 'input.size'],
    ['gpt-image-2', { size: '3840x2160', count: 2 }, 'input.count'],
    ['gpt-image-2', { count: 8 }, 'input.count'],
    ['gpt-image-2', { provider_options: { openai: { n: 10 } } }, 'input.provider_options.openai.n'],
    [
      'gpt-image-2',
      { provider_options: { openai: { background: 'red' } } },
      'input.provider_options.openai.background',
    ],
    [
      'gpt-image-2',
      { format: 'jpeg', provider_options: { openai: { background: 'transparent' } } },
      'input.provider_options.openai.background',
    ],
    ['gpt-image-1', {}, 'models'],
  ])('of %s with %j is refused at %s', (model, input, param) => {
    expect(openAi.refuses(model, { prompt: 'x', ...input })).toMatchObject({ param })
  })

  it('is never larger than an answer may be', () => {
    for (const model of ['gpt-image-2', 'gpt-image-1.5'])
      for (const format of ['png', 'jpeg'] as const)
        for (let count = 1; count <= 8; count += 1) {
          const written = openAiImageRequest(model, { prompt: 'x', count, format, size: '1536x1024' })
          const bytes = 1_536 * 1_024 * count * (format === 'png' ? 3.3 : 0.8)
          expect(written.ok).toBe(bytes <= LIMITS.inlineImagesBytes)
        }
  })
})
