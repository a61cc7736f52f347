import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ASPECT_RATIOS, type ImageInput } from '../../../src/contract/image.ts'
import { pricingOf } from '../../../src/job/pricing.ts'
import { ideogram } from '../../../src/providers/ideogram.ts'
import { IDEOGRAM_MODELS, RESOLUTIONS_3, RESOLUTIONS_4, SIZES_4_5 } from '../../../src/providers/ideogram-fields.ts'
import { ideogramRequest } from '../../../src/providers/ideogram-request.ts'
import { operations } from '../../emulators/ideogram/spec.ts'

type Input = Omit<ImageInput, 'prompt' | 'provider_options'>
type Native = Record<string, unknown>

const inputOf = (input: Input, native: Native = {}): ImageInput => ({
  prompt: 'a cat',
  ...input,
  provider_options: { ideogram: JSON.parse(JSON.stringify(native)) },
})
/** The body beyond prompt and number, or `refused: <param>`. */
const bodyOf = (model: string, input: Input, native: Native = {}): unknown => {
  const written = ideogramRequest(model, inputOf(input, native))
  if (!written.ok) return `refused: ${written.refusal.param}`
  const { prompt: _prompt, num_images: _count, ...rest } = written.request.body
  return rest
}
const REFUSED = (field: string) => `refused: input.${field}`

describe('the standard input of an image', () => {
  it.each<[string, Input, unknown, unknown, unknown, unknown]>([
    // field and value, then ideogram-3, ideogram-4, ideogram-4-5, auto
    ['nothing', {}, {}, {}, {}, {}],
    ['a seed', { seed: 7 }, { seed: 7 }, { seed: 7 }, { seed: 7 }, { seed: 7 }],
    ['a format', { format: 'png' }, {}, {}, {}, {}],
    ['JPEG', { format: 'jpeg' }, REFUSED('format'), REFUSED('format'), REFUSED('format'), REFUSED('format')],
    ['WebP', { format: 'webp' }, REFUSED('format'), REFUSED('format'), REFUSED('format'), REFUSED('format')],
    [
      'a negative prompt',
      { negative_prompt: 'fog' },
      { negative_prompt: 'fog' },
      REFUSED('negative_prompt'),
      REFUSED('negative_prompt'),
      REFUSED('negative_prompt'),
    ],
    [
      'draft',
      { quality: 'draft' },
      { rendering_speed: 'turbo' },
      { rendering_speed: 'turbo' },
      { quality: 'low' },
      REFUSED('quality'),
    ],
    [
      'standard',
      { quality: 'standard' },
      { rendering_speed: 'default' },
      { rendering_speed: 'default' },
      { quality: 'medium' },
      REFUSED('quality'),
    ],
    [
      'high',
      { quality: 'high' },
      { rendering_speed: 'quality' },
      { rendering_speed: 'quality' },
      { quality: 'high' },
      REFUSED('quality'),
    ],
    [
      'a style',
      { style: 'Realistic' },
      { style_type: 'realistic' },
      REFUSED('style'),
      REFUSED('style'),
      REFUSED('style'),
    ],
    ['no such style', { style: 'vivid' }, REFUSED('style'), REFUSED('style'), REFUSED('style'), REFUSED('style')],
    [
      'a listed size',
      { size: '1024x1024' },
      { resolution: '1024x1024' },
      { resolution: '1024x1024' },
      { size: '1024x1024' },
      REFUSED('size'),
    ],
    [
      'a 2K size',
      { size: '2048x2048' },
      REFUSED('size'),
      { resolution: '2048x2048' },
      { size: '2048x2048' },
      REFUSED('size'),
    ],
    [
      'a narrow size',
      { size: '512x1536' },
      { resolution: '512x1536' },
      { resolution: '512x1536' },
      REFUSED('size'),
      REFUSED('size'),
    ],
    ['no such size', { size: '1000x1000' }, REFUSED('size'), REFUSED('size'), REFUSED('size'), REFUSED('size')],
  ])('%s', (_what, input, ...expected) => {
    expect(IDEOGRAM_MODELS.map((model) => bodyOf(model, input))).toEqual(expected)
  })

  it.each<[string, string, string]>([
    ['1:1', '1024x1024', '1024x1024'],
    ['1:2', '720x1440', '720x1440'],
    ['2:1', '1440x720', '1440x720'],
    ['1:3', '512x1536', '1024x3072'],
    ['3:1', '1536x512', '3072x1024'],
    ['2:3', '832x1248', '832x1248'],
    ['3:2', '1248x832', '1248x832'],
    ['3:4', '864x1152', '864x1152'],
    ['4:3', '1152x864', '1152x864'],
    ['4:5', '896x1120', '896x1120'],
    ['5:4', '1120x896', '1120x896'],
    ['9:16', '720x1280', '720x1280'],
    ['16:9', '1280x720', '1280x720'],
    ['10:16', '800x1280', '800x1280'],
    ['16:10', '1280x800', '1280x800'],
  ])('shape %s is %s with 4.0, %s with 4.5 and a ratio elsewhere', (ratio, size4, size45) => {
    const input = { aspect_ratio: ratio as (typeof ASPECT_RATIOS)[number] }
    const written = { aspect_ratio: ratio.replace(':', 'x') }
    expect(IDEOGRAM_MODELS.map((model) => bodyOf(model, input))).toEqual([
      written,
      { resolution: size4 },
      { size: size45 },
      written,
    ])
  })

  it('knows every aspect ratio of the contract', () => {
    for (const ratio of ASPECT_RATIOS) {
      for (const model of IDEOGRAM_MODELS) expect(bodyOf(model, { aspect_ratio: ratio })).toEqual(expect.any(Object))
    }
  })

  it('asks for as many images as the job does', () => {
    const written = ideogramRequest('ideogram-3', { prompt: 'a cat', count: 5 })
    expect(written.ok && written.request.body).toEqual({ prompt: 'a cat', num_images: 5 })
  })
})

describe('native fields', () => {
  const at = (field: string) => `refused: input.provider_options.ideogram.${field}`

  it.each<[string, string, Native, unknown]>([
    ['pass through', 'ideogram-3', { magic_prompt: 'off', private: true }, { magic_prompt: 'off', private: true }],
    [
      'may be written in capitals',
      'ideogram-3',
      { magic_prompt: 'OFF', style_type: 'DESIGN' },
      { magic_prompt: 'off', style_type: 'design' },
    ],
    ['may be palettes', 'ideogram-3', { color_palette: { name: 'pastel' } }, { color_palette: { name: 'PASTEL' } }],
    ['are checked for their names', 'ideogram-3', { magic_promt: 'off' }, at('magic_promt')],
    ['are checked for their model', 'ideogram-4', { style_type: 'design' }, at('style_type')],
    ['are checked for their values', 'ideogram-4', { rendering_speed: 'warp' }, at('rendering_speed')],
    ['are checked for their types', 'ideogram-3', { seed: 'seven' }, at('seed')],
    ['are checked inside', 'ideogram-3', { style_codes: ['0133FF57', 'blue'] }, at('style_codes.1')],
    ['cannot set the prompt', 'ideogram-3', { prompt: 'a dog' }, at('prompt')],
    ['cannot set the number', 'ideogram-3', { num_images: 8 }, at('num_images')],
    ['cannot set async', 'ideogram-3', { async: true }, at('async')],
    ['cannot set a webhook', 'ideogram-3', { webhook_url: 'https://example.com' }, at('webhook_url')],
    ['cannot carry files', 'ideogram-4-5', { images: ['x'] }, at('images')],
    ['know their modes', 'ideogram-3', { mode: 'later' }, at('mode')],
    ['know their API', 'ideogram-3', { api: 'v3' }, at('api')],
    ['keep v1 to one model', 'ideogram-4', { api: 'v1' }, at('api')],
    ['keep v1 synchronous', 'ideogram-3', { api: 'v1', mode: 'async' }, at('mode')],
    ['exclude each other', 'ideogram-3', { aspect_ratio: '1x1', resolution: '1024x1024' }, at('resolution')],
    ['exclude preset and codes', 'ideogram-3', { style_preset: 'aura', style_codes: ['0133FF57'] }, at('style_preset')],
    [
      'exclude codes and type in v1',
      'ideogram-3',
      { api: 'v1', style_type: 'auto', style_codes: ['0133FF57'] },
      at('style_codes'),
    ],
    ['take listed sizes', 'ideogram-4-5', { size: '2048x2048' }, { size: '2048x2048' }],
    ['take no other sizes', 'ideogram-4-5', { size: '1056x1056' }, at('size')],
    ['take no source size without a source', 'ideogram-4-5', { size: 'source' }, at('size')],
    ['take no very low quality without a source', 'ideogram-4-5', { quality: 'very_low' }, at('quality')],
    [
      'take free sizes with a source',
      'ideogram-4-5',
      { size: '1056x1056', quality: 'very_low', image_asset_identifiers: [{ asset_id: 'a' }] },
      { size: '1056x1056', quality: 'very_low', image_asset_identifiers: [{ asset_id: 'a' }] },
    ],
    [
      'take no odd sizes with a source',
      'ideogram-4-5',
      { size: '1000x1000', image_asset_identifiers: [{ asset_id: 'a' }] },
      at('size'),
    ],
  ])('%s', (_what, model, native, expected) => {
    expect(bodyOf(model, {}, native)).toEqual(expected)
  })

  it('win over the standard fields that mean the same, which are then not judged', () => {
    const input: Input = { seed: 1, quality: 'high', style: 'vivid', size: '1000x1000' }
    const native = { seed: 2, rendering_speed: 'turbo', style_preset: 'aura', resolution: '1280x704' }
    expect(bodyOf('ideogram-3', input, native)).toEqual(native)
    expect(bodyOf('ideogram-3', { aspect_ratio: '1:1' }, { resolution: '1280x704' })).toEqual({
      resolution: '1280x704',
    })
  })

  it('of other providers are not judged', () => {
    const input: ImageInput = { prompt: 'a cat', provider_options: { openai: { nonsense: true } } }
    expect(ideogram.refuses('ideogram-3', input)).toBeNull()
  })

  it('are in capitals in v1', () => {
    const native = { api: 'v1', magic_prompt: 'off', style_preset: 'aura', aspect_ratio: '16x9' }
    expect(bodyOf('ideogram-3', { quality: 'high', style: 'design' }, { ...native, style_preset: undefined })).toEqual({
      magic_prompt: 'OFF',
      rendering_speed: 'QUALITY',
      style_type: 'DESIGN',
      aspect_ratio: '16x9',
    })
    expect(bodyOf('ideogram-3', {}, native)).toMatchObject({ style_preset: 'AURA' })
  })

  it('choose the way: asynchronous v2 unless a job says otherwise', () => {
    const ways = [{}, { mode: 'sync' }, { api: 'v1' }, { api: 'v1', mode: 'sync' }].map((native) => {
      const written = ideogramRequest('ideogram-3', inputOf({}, native))
      return written.ok && [written.request.path, written.request.async]
    })
    expect(ways).toEqual([
      ['/v2/image/generate/ideogram-3', true],
      ['/v2/image/generate/ideogram-3', false],
      ['/v1/ideogram-v3/generate', false],
      ['/v1/ideogram-v3/generate', false],
    ])
  })
})

describe('the listed price', () => {
  it.each<[string, Input, Native, number | null]>([
    ['ideogram-3', {}, {}, 60_000],
    ['ideogram-3', { count: 3 }, {}, 180_000],
    ['ideogram-3', { quality: 'draft' }, {}, 30_000],
    ['ideogram-3', { quality: 'draft' }, { rendering_speed: 'quality' }, 90_000],
    ['ideogram-3', {}, { api: 'v1', rendering_speed: 'QUALITY' }, 90_000],
    ['ideogram-3', {}, { api: 'v1', rendering_speed: 'flash' }, null],
    ['ideogram-3', {}, { api: 'v1', custom_model_uri: 'model/a/version/1' }, null],
    ['ideogram-3', { format: 'webp' }, {}, null],
    ['ideogram-4', { quality: 'high' }, {}, 100_000],
    ['ideogram-4-5', {}, {}, 100_000],
    ['ideogram-4-5', { quality: 'high', count: 2 }, {}, 200_000],
    ['ideogram-4-5', { quality: 'standard' }, {}, null],
    ['ideogram-4-5', { aspect_ratio: '16:9' }, {}, null],
    ['ideogram-4-5', {}, { image_asset_identifiers: [{ asset_id: 'a' }] }, null],
    ['auto', {}, {}, null],
  ])('of %s with %j and %j is %s', (model, input, native, price) => {
    const listed = pricingOf({ model: `ideogram/${model}`, input: JSON.stringify(inputOf(input, native)) }, Date.now())
    expect(listed.expectedMicros).toBe(price)
  })
})

describe('whatever the input,', () => {
  const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 })
  const native = fc.record(
    {
      mode: fc.constantFrom('async', 'sync'),
      api: fc.constantFrom('v1', 'v2'),
      magic_prompt: fc.constantFrom('auto', 'ON', 'off'),
      rendering_speed: fc.constantFrom('turbo', 'DEFAULT', 'quality', 'flash'),
      quality: fc.constantFrom('very_low', 'low', 'high'),
      style_type: fc.constantFrom('auto', 'realistic', 'anime'),
      style_preset: fc.constantFrom('aura', 'WEIRD'),
      style_codes: fc.array(fc.constantFrom('0133FF57', 'xx'), { maxLength: 2 }),
      aspect_ratio: fc.constantFrom('auto', '16x9', '7x5'),
      resolution: fc.constantFrom('1024x1024', '512x1536', '2048x2048'),
      size: fc.constantFrom('auto', 'source', '1024x1024', '1056x1056', null),
      color_palette: fc.constantFrom({ name: 'EMBER' }, { members: [{ color_hex: '#fff', color_weight: 0.5 }] }, {}),
      image_asset_identifiers: fc.constant([{ asset_type: 'UPLOAD', asset_id: 'a' }]),
      private: fc.constantFrom(true, null),
      enable_copyright_detection: fc.boolean(),
      custom_model_uri: fc.constant('model/a/version/1'),
      webhook_url: fc.constant('https://example.com/'),
      typo: fc.constant(1),
    },
    { requiredKeys: [] },
  )
  const sizes = fc.constantFrom(...RESOLUTIONS_3, ...RESOLUTIONS_4, ...SIZES_4_5, '1000x1000')
  const input = fc.record({
    prompt: fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }),
    negative_prompt: optional(fc.string({ minLength: 1 })),
    shape: fc.oneof(
      fc.constant({}),
      fc.record({ aspect_ratio: fc.constantFrom(...ASPECT_RATIOS) }),
      fc.record({ size: sizes }),
    ),
    count: optional(fc.integer({ min: 1, max: 8 })),
    seed: optional(fc.integer({ min: 0, max: 2_147_483_647 })),
    format: optional(fc.constantFrom('png' as const, 'webp' as const)),
    quality: optional(fc.constantFrom('draft' as const, 'standard' as const, 'high' as const)),
    style: optional(fc.constantFrom('general', 'DESIGN', 'vivid')),
    // Few fields at a time, so that many of the inputs are good.
    native: fc.oneof(
      fc.constant({}),
      native.map((fields) => Object.fromEntries(Object.entries(fields).slice(0, 2))),
      native,
    ),
  })
  const toInput = ({
    shape,
    native: fields,
    ...rest
  }: typeof input extends fc.Arbitrary<infer T> ? T : never): ImageInput =>
    JSON.parse(JSON.stringify({ ...rest, ...shape, provider_options: { ideogram: fields } }))

  it('it is refused, naming a field, or becomes a request that the OpenAPI specification accepts', () => {
    let written = 0
    fc.assert(
      fc.property(fc.constantFrom(...IDEOGRAM_MODELS), input, (model, raw) => {
        const image = toInput(raw)
        const result = ideogramRequest(model, image)
        expect(ideogram.refuses(model, image)).toEqual(result.ok ? null : result.refusal)
        if (!result.ok) {
          expect(result.refusal.param).toMatch(/^input\./)
          expect(ideogram.expects(model, image)).toBeNull()
          return
        }
        written += 1
        const { path, body, async } = result.request
        const operation = operations.get(path)
        const sent = JSON.parse(JSON.stringify(async ? { ...body, async } : body))
        const valid = operation?.validate(sent)
        expect(valid, JSON.stringify({ sent, errors: operation?.validate.errors })).toBe(true)
        expect(body.prompt).toBe(image.prompt)
      }),
      { numRuns: 2_000 },
    )
    expect(written).toBeGreaterThan(200)
  })
})
