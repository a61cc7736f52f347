import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ASPECT_RATIOS, type ImageInput } from '../../../src/contract/image.ts'
import type { Http } from '../../../src/providers/http.ts'
import type { Call } from '../../../src/providers/provider.ts'
import { replicate } from '../../../src/providers/replicate.ts'
import { replicateRequest } from '../../../src/providers/replicate-request.ts'
import { problemsWithInput, problemsWithRequest } from '../../emulators/replicate/spec.ts'

const SCHNELL = 'black-forest-labs/flux-schnell'
const DEV = 'black-forest-labs/flux-dev'
const PRO = 'black-forest-labs/flux-1.1-pro'
const ULTRA = 'black-forest-labs/flux-1.1-pro-ultra'
const IDEOGRAM = 'ideogram-ai/ideogram-v3-turbo'

const written = (model: string, input: Omit<ImageInput, 'prompt'>) => {
  const result = replicateRequest(model, { prompt: 'a cat', ...input })
  return result.ok ? result.request.input : result.refusal
}
const native = (fields: Record<string, string | number | boolean | string[]>) => ({
  provider_options: { replicate: fields },
})

describe('The standard input in the words of a model of Replicate', () => {
  it.each<[string, Omit<ImageInput, 'prompt'>, object]>([
    [SCHNELL, {}, { prompt: 'a cat', num_outputs: 1 }],
    [SCHNELL, { count: 4 }, { num_outputs: 4 }],
    [SCHNELL, { aspect_ratio: '16:9' }, { aspect_ratio: '16:9' }],
    [SCHNELL, { format: 'jpeg' }, { output_format: 'jpg' }],
    [SCHNELL, { quality: 'draft' }, { num_inference_steps: 2 }],
    [SCHNELL, { quality: 'standard' }, { num_inference_steps: 4 }],
    [DEV, { quality: 'high', format: 'webp' }, { num_inference_steps: 50, output_format: 'webp' }],
    [PRO, { size: '1024x768' }, { aspect_ratio: 'custom', width: 1024, height: 768 }],
    [PRO, { aspect_ratio: '3:2' }, { aspect_ratio: '3:2' }],
    [ULTRA, { format: 'png' }, { output_format: 'png' }],
    [IDEOGRAM, { size: '1536x512', style: 'realistic' }, { resolution: '1536x512', style_type: 'Realistic' }],
    [IDEOGRAM, { format: 'png', aspect_ratio: '10:16' }, { aspect_ratio: '10:16' }],
    [SCHNELL, native({ go_fast: false, megapixels: '0.25' }), { go_fast: false, megapixels: '0.25' }],
    // A native field wins over the standard field of the same meaning.
    [DEV, { quality: 'draft', ...native({ num_inference_steps: 30 }) }, { num_inference_steps: 30 }],
    [SCHNELL, { aspect_ratio: '1:3', ...native({ aspect_ratio: '9:21' }) }, { aspect_ratio: '9:21' }],
    [PRO, native({ aspect_ratio: 'custom', width: 512, height: 512 }), { width: 512, height: 512 }],
    [DEV, native({ image: 'https://host.example/a.png' }), { image: 'https://host.example/a.png' }],
  ])('%s writes %o', (model, input, expected) => {
    expect(written(model, input)).toMatchObject(expected)
  })

  it.each<[string, Omit<ImageInput, 'prompt'>, string]>([
    [SCHNELL, { count: 5 }, 'input.count'],
    [PRO, { count: 2 }, 'input.count'],
    [SCHNELL, { aspect_ratio: '1:3' }, 'input.aspect_ratio'],
    [SCHNELL, { size: '1024x1024' }, 'input.size'],
    [PRO, { size: '1000x1000' }, 'input.size'],
    [PRO, { size: '1472x1024' }, 'input.size'],
    [IDEOGRAM, { size: '1000x1000' }, 'input.size'],
    [SCHNELL, { quality: 'high' }, 'input.quality'],
    [PRO, { quality: 'standard' }, 'input.quality'],
    [ULTRA, { format: 'webp' }, 'input.format'],
    [IDEOGRAM, { format: 'jpeg' }, 'input.format'],
    [SCHNELL, { style: 'realistic' }, 'input.style'],
    [IDEOGRAM, { style: 'anime' }, 'input.style'],
    [SCHNELL, { negative_prompt: 'dogs' }, 'input.negative_prompt'],
    [SCHNELL, native({ seed: 3 }), 'input.provider_options.replicate.seed'],
    [SCHNELL, native({ prompt: 'x' }), 'input.provider_options.replicate.prompt'],
    [SCHNELL, native({ num_outputs: 2 }), 'input.provider_options.replicate.num_outputs'],
    [SCHNELL, native({ webhook: 'https://x.example' }), 'input.provider_options.replicate.webhook'],
    [SCHNELL, native({ guidance: 3 }), 'input.provider_options.replicate.guidance'],
    [SCHNELL, native({ num_inference_steps: 5 }), 'input.provider_options.replicate.num_inference_steps'],
    [SCHNELL, native({ wait: 0 }), 'input.provider_options.replicate.wait'],
    [SCHNELL, native({ wait: 61 }), 'input.provider_options.replicate.wait'],
    [SCHNELL, native({ wait: 'long' }), 'input.provider_options.replicate.wait'],
    [PRO, native({ width: 512 }), 'input.provider_options.replicate.width'],
    [PRO, native({ aspect_ratio: 'custom' }), 'input.provider_options.replicate.aspect_ratio'],
    [IDEOGRAM, native({ mask: 'https://x.example/m.png' }), 'input.provider_options.replicate.mask'],
    [DEV, native({ image: 'http://10.0.0.1/a' }), 'input.provider_options.replicate.image'],
    ['flux-schnell', {}, 'models'],
    ['toString', {}, 'models'],
  ])('%s refuses %o at %s', (model, input, param) => {
    expect(written(model, input)).toMatchObject({ param, message: expect.stringMatching(/\.$/) })
  })
})

/** Mostly absent, so that enough of the inputs are taken. */
const some = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })
const anyInput = fc.record({
  prompt: fc.string({ minLength: 1, maxLength: 40 }),
  aspect_ratio: some(fc.constantFrom(...ASPECT_RATIOS)),
  count: some(fc.integer({ min: 1, max: 8 })),
  seed: some(fc.integer({ min: 0, max: 2_147_483_647 })),
  format: some(fc.constantFrom('png' as const, 'jpeg' as const, 'webp' as const)),
  quality: some(fc.constantFrom('draft' as const, 'standard' as const, 'high' as const)),
  style: some(fc.constantFrom('auto', 'GENERAL', 'anime')),
  size: some(fc.constantFrom('1024x1024', '512x1536', '1440x1440', '999x999')),
  options: some(
    fc.dictionary(
      fc.constantFrom(
        'go_fast',
        'megapixels',
        'output_quality',
        'guidance',
        'raw',
        'style_type',
        'aspect_ratio',
        'wait',
      ),
      fc.constantFrom<(string | number | boolean)[]>(true, 1, '1', 'None', '21:9', 50, -1),
    ),
  ),
})

/** Runs `start` against a transport that keeps the body. */
const bodyOf = async (model: string, input: ImageInput, webhookUrl?: string) => {
  let body: unknown
  const http: Http = {
    send: async ({ json }) => {
      body = json
      return { kind: 'unsent', message: '' }
    },
  }
  const call: Call = {
    ...{ job: 'job_01', attempt: 1, type: 'image.generate@1', model, input, baseUrl: 'https://x.example/v1' },
    ...{ secret: 's', maxCostMicros: null, nowMs: 0 },
    ...(webhookUrl === undefined ? {} : { webhookUrl }),
  }
  await replicate.start(call, http)
  return body
}

it.each([SCHNELL, DEV, PRO, ULTRA, IDEOGRAM])(
  'Every request to %s is valid, or refused before it is sent',
  async (model) => {
    let sent = 0
    await fc.assert(
      fc.asyncProperty(anyInput, fc.boolean(), async ({ options, ...given }, hooked) => {
        const defined = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
        const input = {
          ...(defined as ImageInput),
          ...(options === undefined ? {} : { provider_options: { replicate: options } }),
        }
        const refusal = replicate.refuses(model, input)
        const body = await bodyOf(model, input, hooked ? 'https://host.example/hook' : undefined)
        expect(body === undefined).toBe(refusal !== null)
        expect(replicate.expects(model, input) === null).toBe(refusal !== null)
        if (body === undefined) return
        sent += 1
        expect(problemsWithRequest('model', body)).toEqual([])
        expect(problemsWithInput(model, (body as { input: unknown }).input)).toEqual([])
      }),
      { numRuns: 400 },
    )
    expect(sent).toBeGreaterThan(20)
  },
)
