import { describe, expect, it } from 'vitest'
import type { Quantities } from '../../../src/contract/price.ts'
import { costMicros, estimateMicros } from '../../../src/core/cost.ts'
import { namesOf, priceAt } from '../../../src/core/price.ts'
import { listedPrices } from '../../../src/prices/list.ts'

/**
 * What published prices come to, counted by hand: US dollars per million tokens times tokens are millionths of a dollar;
 * for other units the dollars are times a million. Each line stands behind its own arithmetic.
 */

const TODAY = '2026-11-21T00:00:00Z'

const listed = (name: string, when = TODAY) => {
  const provider = name.split('/')[0] ?? ''
  const index = listedPrices(provider)
  const model = name.slice(provider.length + 1)
  return priceAt(index, namesOf(provider, model), Date.parse(when)) ?? priceAt(index, ['*'], Date.parse(when))
}
const cost = (name: string, usage: Quantities, when?: string): number | null => {
  const price = listed(name, when)
  if (!price) throw new Error(`no price of ${name}`)
  return costMicros(price, usage)
}

const text = (input_tokens: number, output_tokens: number, more: Quantities = {}): Quantities => ({
  input_tokens,
  output_tokens,
  ...more,
})
const made = (images: number, more: Quantities = {}): Quantities => ({ images, ...more })

type Example = [model: string, usage: Quantities, micros: number, when?: string]

const OPENAI: Example[] = [
  // 1000×2 + 500×10
  ['openai/gpt-6-sol', text(1000, 500), 7000],
  // 200×2 + 800×0.2 + 100×10
  ['openai/gpt-6-sol', text(1000, 100, { cached_input_tokens: 800 }), 1560],
  // 500×2 + 500×0.2 + 1000×2.5 + 10×10
  ['openai/gpt-6-sol', text(2000, 10, { cached_input_tokens: 500, cache_write_5m_tokens: 1000 }), 3700],
  // The last of the first tier: 272000×2 + 1000×10
  ['openai/gpt-6-sol', text(272_000, 1000), 554_000],
  // One more and all of it is in the second: 272001×4 + 1000×15
  ['openai/gpt-6-sol', text(272_001, 1000), 1_103_004],
  // The tier counts cached tokens too: 200000×4 + 72001×0.4 = 828800.4
  ['openai/gpt-6-sol', text(272_001, 0, { cached_input_tokens: 72_001 }), 828_800],
  // An edition by its day costs what the model costs: 100×2 + 10×10
  ['openai/gpt-6-sol-2026-09-01', text(100, 10), 300],
  // 4×0.1 = 0.4
  ['openai/gpt-6-luna', text(4, 0), 0],
  // 5×0.1 = 0.5, half goes up
  ['openai/gpt-6-luna', text(5, 0), 1],
  // 15×0.1 = 1.5
  ['openai/gpt-6-luna', text(15, 0), 2],
  // Rounded once, not by part: 4×0.1 + 1×0.01 (cached) + 1×0.5 = 0.91
  ['openai/gpt-6-luna', text(5, 1, { cached_input_tokens: 1 }), 1],
  // Here the second tier begins at 272000: 271999×10 + 1×50
  ['openai/gpt-6-astra', text(271_999, 1), 2_720_040],
  // 272000×20 + 1×75
  ['openai/gpt-6-astra', text(272_000, 1), 5_440_075],
  // 1000×5 + 1000×30, the last moment of the old price
  ['openai/gpt-5.6-sol', text(1000, 1000), 35_000, '2026-08-20T23:59:59.999Z'],
  // 1000×4 + 1000×20
  ['openai/gpt-5.6-sol', text(1000, 1000), 24_000, '2026-08-21T00:00:00Z'],
  // 1000×2.5 + 1000×15
  ['openai/gpt-5.6-terra', text(1000, 1000), 17_500, '2026-07-29T23:59:59.999Z'],
  // 1000×2 + 1000×12
  ['openai/gpt-5.6-terra', text(1000, 1000), 14_000, '2026-07-30T00:00:00Z'],
  // 1000×1 + 100×6
  ['openai/gpt-5.6-luna', text(1000, 100), 1600, '2026-07-29T12:00:00Z'],
  // 1000×0.2 + 100×1.2
  ['openai/gpt-5.6-luna', text(1000, 100), 320],
  // 10×1.25 = 12.5
  ['openai/gpt-5', text(10, 0), 13],
  // 1000×1.25 + 1×0.125 = 1250.125
  ['openai/gpt-5', text(1001, 0, { cached_input_tokens: 1 }), 1250],
  // 1000×1.25 + 100×10 + 2 searches of 0.01 USD
  ['openai/gpt-5', text(1000, 100, { web_searches: 2 }), 22_250],
  // 9×0.05 = 0.45
  ['openai/gpt-5-nano', text(9, 0), 0],
  // 10×0.05 = 0.5
  ['openai/gpt-5-nano', text(10, 0), 1],
  // No discount is listed for the cache: 1000×15 + 10×120
  ['openai/gpt-5-pro', text(1000, 10, { cached_input_tokens: 600 }), 16_200],
  // Reasoning is output: 100×2 + 5000×8
  ['openai/o3', text(100, 5000, { reasoning_tokens: 4800 }), 40_200],
  // 100×10 + 5000×40
  ['openai/o3', text(100, 5000), 201_000, '2025-06-09T23:59:59.999Z'],
  // 71999×2.5 + 200000×0.25 = 229997.5
  ['openai/gpt-5.4', text(271_999, 0, { cached_input_tokens: 200_000 }), 229_998],
  // 72000×5 + 200000×0.5
  ['openai/gpt-5.4', text(272_000, 0, { cached_input_tokens: 200_000 }), 460_000],
  // 1000×0.15 + 1000×0.6
  ['openai/gpt-4o-mini-2024-07-18', text(1000, 1000), 750],
  // An edition with a price of its own: 1000×5 + 1000×15
  ['openai/gpt-4o-2024-05-13', text(1000, 1000), 20_000],
  // 24×0.02 = 0.48
  ['openai/text-embedding-3-small', { input_tokens: 24 }, 0],
  // 25×0.02 = 0.5
  ['openai/text-embedding-3-small', { input_tokens: 25 }, 1],
  // 123456×0.13 = 16049.28
  ['openai/text-embedding-3-large', { input_tokens: 123_456 }, 16_049],
  // 60×5 + 4160×30
  ['openai/gpt-image-2', text(60, 4160, { output_image_tokens: 4160, images: 1 }), 125_100],
  // With a picture to work on: 60×5 + 1000×8 + 1056×30
  ['openai/gpt-image-2', text(1060, 1056, { input_image_tokens: 1000, output_image_tokens: 1056, images: 1 }), 39_980],
  // 50×5 + 1056×32 + 44×10
  ['openai/gpt-image-1.5', text(50, 1100, { output_image_tokens: 1056 }), 34_482],
  // 300×2 + 100×0.2 (cached text) + 200×2.5 + 400×0.25 (cached image) + 272×8
  [
    'openai/gpt-image-1-mini',
    text(1000, 272, {
      input_image_tokens: 600,
      cached_input_tokens: 500,
      cached_input_image_tokens: 400,
      output_image_tokens: 272,
    }),
    3396,
  ],
  // 200×2.5 + 800×32 + 50×10 + 450×64
  ['openai/gpt-audio', text(1000, 500, { input_audio_tokens: 800, output_audio_tokens: 450 }), 55_400],
  // 100×4 + 400×32 + 500×0.4 (cached sound)
  [
    'openai/gpt-realtime',
    text(1000, 0, { input_audio_tokens: 900, cached_input_tokens: 500, cached_input_audio_tokens: 500 }),
    13_400,
  ],
  // 0.36 USD an hour is 0.0001 a second: 90.5×0.0001 = 0.00905 USD
  ['openai/whisper-1', { seconds: 90.5 }, 9050],
  // 0.005×0.0001 = 0.0000005 USD
  ['openai/whisper-1', { seconds: 0.005 }, 1],
  // 0.27 USD an hour: 61×0.000075 = 0.004575 USD
  ['openai/gpt-transcribe', { seconds: 61 }, 4575],
]

const ANTHROPIC: Example[] = [
  // 100×5 + 1000×0.5 + 100×6.25 + 300×25
  ['anthropic/claude-opus-5', text(1200, 300, { cached_input_tokens: 1000, cache_write_5m_tokens: 100 }), 9125],
  // Written for an hour: 2000×10 + 1×25
  ['anthropic/claude-opus-5', text(2000, 1, { cache_write_1h_tokens: 2000 }), 20_025],
  // 2×6.25 = 12.5
  ['anthropic/claude-opus-5', text(2, 0, { cache_write_5m_tokens: 2 }), 13],
  // 500×2 + 500×0.2 + 1000×2.5 + 1000×4 + 100×10
  [
    'anthropic/claude-sonnet-5',
    text(3000, 100, { cached_input_tokens: 500, cache_write_5m_tokens: 1000, cache_write_1h_tokens: 1000 }),
    8600,
  ],
  // One search of 0.01 USD and nothing else
  ['anthropic/claude-sonnet-5', text(0, 0, { web_searches: 1 }), 10_000],
  // Reads at a fortieth: 1×10 + 100000×0.25
  ['anthropic/claude-fable-5-1', text(100_001, 0, { cached_input_tokens: 100_000 }), 25_010],
  // Reads at a tenth: 1×10 + 100000×1
  ['anthropic/claude-fable-5', text(100_001, 0, { cached_input_tokens: 100_000 }), 100_010],
  // 7×4 + 3×0.2 = 28.6
  ['anthropic/claude-opus-5-5', text(10, 0, { cached_input_tokens: 3 }), 29],
  // 999×1 + 1×5
  ['anthropic/claude-haiku-4-5-20251001', text(999, 1), 1004],
  // 1×1.25
  ['anthropic/claude-haiku-4-5', text(1, 0, { cache_write_5m_tokens: 1 }), 1],
  // 1×2
  ['anthropic/claude-haiku-4-5', text(1, 0, { cache_write_1h_tokens: 1 }), 2],
  // 200000×3 + 10×15
  ['anthropic/claude-sonnet-4-5', text(200_000, 10), 600_150],
  // 200001×6 + 10×22.5
  ['anthropic/claude-sonnet-4-5', text(200_001, 10), 1_200_231],
  // The second tier is for every kind: 199999×0.6 + 1×7.5 + 1×12 = 120018.9
  [
    'anthropic/claude-sonnet-4-5',
    text(200_001, 0, { cached_input_tokens: 199_999, cache_write_5m_tokens: 1, cache_write_1h_tokens: 1 }),
    120_019,
  ],
  // 200001×6, while there was a second tier
  ['anthropic/claude-sonnet-4-6', text(200_001, 0), 1_200_006, '2026-03-12T23:59:59.999Z'],
  // 200001×3
  ['anthropic/claude-sonnet-4-6', text(200_001, 0), 600_003, '2026-03-13T00:00:00Z'],
]

const GOOGLE: Example[] = [
  // 200000×1.25 + 1000×10
  ['google/gemini-2.5-pro', text(200_000, 1000), 260_000],
  // 200001×2.5 + 1000×15 = 515002.5
  ['google/gemini-2.5-pro', text(200_001, 1000), 515_003],
  // 50001×2.5 + 150000×0.25 = 162502.5
  ['google/gemini-2.5-pro', text(200_001, 0, { cached_input_tokens: 150_000 }), 162_503],
  // 1000×0.75 + 100×3.75
  ['google/gemini-3.8-flash', text(1000, 100), 1125, '2026-12-31T23:59:59.999Z'],
  // 1000×1.5 + 100×7.5
  ['google/gemini-3.8-flash', text(1000, 100), 2250, '2027-01-01T00:00:00Z'],
  // 400×0.3 + 600×1 (sound) + 300×2.5 (thoughts and words)
  ['google/gemini-2.5-flash', text(1000, 300, { input_audio_tokens: 600, reasoning_tokens: 200 }), 1470],
  // One rate for text and sound: 1000×1.25 + 10×10
  ['google/models/gemini-2.5-pro', text(1000, 10, { input_audio_tokens: 400 }), 1350],
  // 1000×0.01
  ['google/gemini-2.5-flash-lite', text(1000, 0, { cached_input_tokens: 1000 }), 10],
  // 20×0.3 + 1290×30
  ['google/gemini-2.5-flash-image', text(20, 1290, { output_image_tokens: 1290, images: 1 }), 38_706],
  // 10×2 + 1120×120 + 80×12 (thoughts)
  [
    'google/gemini-3-pro-image',
    text(10, 1200, { output_image_tokens: 1120, reasoning_tokens: 80, images: 1 }),
    135_380,
  ],
  // Two images: 12×0.5 + 2240×60
  ['google/gemini-3.1-flash-image-preview', text(12, 2240, { output_image_tokens: 2240, images: 2 }), 134_406],
  // 7×0.15 = 1.05
  ['google/gemini-embedding-001', { input_tokens: 7 }, 1],
  // 258×0.45 = 116.1
  ['google/gemini-embedding-2', { input_tokens: 258, input_image_tokens: 258 }, 116],
]

const WORKERS_AI: Example[] = [
  // 1000×0.35 + 1000×0.75
  ['workers-ai/@cf/openai/gpt-oss-120b', text(1000, 1000), 1100],
  // 333×0.293 + 77×2.253 = 97.569 + 173.481 = 271.05
  ['workers-ai/@cf/meta/llama-3.3-70b-instruct-fp8-fast', text(333, 77), 271],
  // 600×0.95 + 400×0.16 + 10×4
  ['workers-ai/@cf/moonshotai/kimi-k2.6', text(1000, 10, { cached_input_tokens: 400 }), 674],
  // 1000000×0.051
  ['workers-ai/@cf/qwen/qwen3-30b-a3b-fp8', text(1_000_000, 0), 51_000],
  // 41×0.012 = 0.492
  ['workers-ai/@cf/baai/bge-m3', { input_tokens: 41 }, 0],
  // 42×0.012 = 0.504
  ['workers-ai/@cf/baai/bge-m3', { input_tokens: 42 }, 1],
  // 1024×1024 in 4 steps: 4×4.8 + 4×9.6 = 57.6 neurons of 0.000011 USD = 0.0006336 USD
  ['workers-ai/@cf/black-forest-labs/flux-1-schnell', made(1, { tiles: 4, steps: 4 }), 634],
  // 512×512 in one step: 14.4 neurons = 0.0001584 USD
  ['workers-ai/@cf/black-forest-labs/flux-1-schnell', made(1, { tiles: 1, steps: 1 }), 158],
]

const IMAGES: Example[] = [
  // 0.03 USD each, and so on: the listed price times the images
  ['ideogram/ideogram-3/turbo', made(1), 30_000],
  ['ideogram/ideogram-3/default', made(2), 120_000],
  ['ideogram/ideogram-3/quality', made(8), 720_000],
  ['ideogram/ideogram-4/turbo', made(3), 90_000],
  ['ideogram/ideogram-4/default', made(1), 60_000],
  ['ideogram/ideogram-4/quality', made(2), 200_000],
  ['ideogram/ideogram-4-5', made(3), 300_000],
  ['ideogram/ideogram-3-character/default', made(1), 150_000],
  ['ideogram/ideogram-3-transparent', made(1), 70_000],
  ['ideogram/ideogram-2a', made(4), 160_000],
  ['ideogram/nano-banana-2', made(1), 67_200],
  ['ideogram/remove-background/ideogram-1', made(1), 10_000],
  ['replicate/black-forest-labs/flux-schnell', made(4), 12_000],
  // What else is counted is not what is paid for
  ['replicate/black-forest-labs/flux-dev', made(1, { megapixels: 1.05, seconds: 4.2 }), 25_000],
  // 6.5, 3.5, 2.5, 8 and 5 credits of 0.01 USD
  ['stability/sd3.5-large', made(1), 65_000],
  ['stability/sd3.5-medium', made(3), 105_000],
  ['stability/sd3.5-flash', made(1), 25_000],
  ['stability/stable-image-ultra', made(1), 80_000],
  ['stability/edit/erase', made(1), 50_000],
  // 2 megapixels of 0.003 USD
  ['fal/fal-ai/flux/schnell', made(1, { megapixels: 2 }), 6000],
  ['fal/fal-ai/nano-banana', made(2), 78_000],
  // None of the images was made
  ['ideogram/ideogram-4-5', made(0), 0],
]

const LOCAL: Example[] = [
  ['ollama/llama-anything', text(1_000_000, 1_000_000), 0],
  ['vllm/llama-anything', text(1_000_000, 1_000_000, { cached_input_tokens: 5, reasoning_tokens: 5 }), 0],
  // Free of charge needs no count
  ['llama-cpp/llama-anything', {}, 0],
]

const EXAMPLES = [...OPENAI, ...ANTHROPIC, ...GOOGLE, ...WORKERS_AI, ...IMAGES, ...LOCAL]

describe('what published prices come to, to the millionth of a dollar', () => {
  it.each(EXAMPLES)('%s, %j: %i', (model, usage, micros, when) => {
    expect(cost(model, usage, when)).toBe(micros)
  })

  it('in sixty examples at least', () => {
    expect(EXAMPLES.length).toBeGreaterThanOrEqual(60)
  })
})

describe('what nobody can know the price of is unknown, and not nothing:', () => {
  it.each<[string, string, Quantities]>([
    ['a token of sound, where only text is listed', 'openai/gpt-5', text(10, 10, { input_audio_tokens: 5 })],
    ['a cache write, where none is listed', 'openai/gpt-5', text(10, 10, { cache_write_5m_tokens: 5 })],
    ['a write for an hour, where only a short one is', 'openai/gpt-6-sol', text(10, 1, { cache_write_1h_tokens: 5 })],
    ['sound that came out', 'google/gemini-2.5-flash', text(10, 10, { output_audio_tokens: 5 })],
    ['images of a model that is listed for text', 'openai/gpt-5', text(10, 0, { images: 1 })],
    ['words of a model that is listed for images', 'stability/sd3.5-large', made(1, { output_tokens: 5 })],
    ['vectors that came out as words', 'openai/text-embedding-3-small', text(5, 5)],
    ['a search, where none is listed', 'google/gemini-2.5-flash', text(5, 5, { web_searches: 1 })],
    ['a call of which nothing was reported', 'openai/gpt-5', {}],
    ['a call whose output was not reported', 'openai/gpt-5', { input_tokens: 5 }],
    ['images that were not counted', 'stability/sd3.5-large', {}],
    ['megapixels that were not counted', 'fal/fal-ai/flux/schnell', made(1)],
    ['steps that were not counted', 'workers-ai/@cf/black-forest-labs/flux-1-schnell', made(1, { tiles: 4 })],
    ['more cached than there was', 'openai/gpt-5', text(10, 0, { cached_input_tokens: 11 })],
    ['more reasoning than there was output', 'openai/o3', text(10, 5, { reasoning_tokens: 6 })],
    ['a count below zero', 'openai/gpt-5', text(-1, 5)],
    ['a count that is no number', 'openai/gpt-5', text(Number.NaN, 5)],
    ['a count without end', 'openai/gpt-5', text(Number.POSITIVE_INFINITY, 5)],
  ])('%s', (_what, model, usage) => {
    expect(cost(model, usage)).toBeNull()
  })

  it.each([
    'openai/gpt-image-2.5-flare',
    'openai/gpt-6.1-sol',
    // These begin like models that have a price.
    'anthropic/claude-sonnet-5-5',
    'anthropic/claude-haiku-5-5',
    'anthropic/claude-fable-5-2',
    'openai/gpt-6-sol-mini',
    'openai/gpt-6-sol-2026-13-41',
    'google/gemini-2.5-pro-tts-lite',
    'nobody/gpt-5',
  ])('%s', (model) => {
    expect(listed(model)).toBeNull()
  })
})

describe('before a call', () => {
  const estimate = (model: string, usage: Quantities): number | null => {
    const price = listed(model)
    return price && estimateMicros(price, usage)
  }

  it('an image that is billed by tokens is judged by what it usually comes to, in its size and quality', () => {
    // 50×5 + 2×133100
    const asked = { input_tokens: 50, images: 2, image_size: '1024x1024', image_quality: 'high' }
    expect(estimate('openai/gpt-image-1.5', asked)).toBe(266_450)
    // 10×0.3 + 39000
    expect(estimate('google/gemini-2.5-flash-image', { input_tokens: 10, images: 1 })).toBe(39_003)
  })

  it('an image of a size that is not listed is unknown', () => {
    const asked = { input_tokens: 50, images: 1, image_size: '4096x4096', image_quality: 'high' }
    expect(estimate('openai/gpt-image-1.5', asked)).toBeNull()
  })

  it('an estimate is never billed', () => {
    const usage = { input_tokens: 50, images: 1, image_size: '1024x1024', image_quality: 'high' }
    expect(cost('openai/gpt-image-1.5', usage)).toBeNull()
  })

  it('tokens that are known count instead of the estimate', () => {
    // 20×0.3 + 1290×30
    const known = text(20, 1290, { output_image_tokens: 1290, images: 1 })
    expect(estimate('google/gemini-2.5-flash-image', known)).toBe(38_706)
  })
})
