import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Price, Quantities, Rates } from '../../../src/contract/price.ts'
import { costMicros } from '../../../src/core/cost.ts'

const priced = (rates: Rates, more: Partial<Price> = {}): Price => ({
  ...{ provider: 'p', model: 'm', kind: null, rates, tiers: [], images: [] },
  ...{ effective_from: null, effective_to: null, source: 'a test', verified: true },
  ...more,
})

/** Millionths of a dollar per million tokens: one token costs as many trillionths. */
const rate = fc.integer({ min: 0, max: 600_000_000 })
const usd = (millionths: number): number => millionths / 1_000_000
const tokens = fc.integer({ min: 0, max: 20_000_000 })

test('The cost is that of whole trillionths of a dollar, rounded once, half up', () => {
  const kinds = fc.record({ fresh: tokens, cached: tokens, short: tokens, long: tokens, out: tokens, images: tokens })
  const rates = fc.record({ fresh: rate, cached: rate, short: rate, long: rate, out: rate, images: rate })
  fc.assert(
    fc.property(kinds, rates, (count, trillionths) => {
      const price = priced({
        input_per_mtok: usd(trillionths.fresh),
        cached_input_per_mtok: usd(trillionths.cached),
        cache_write_per_mtok: usd(trillionths.short),
        cache_write_1h_per_mtok: usd(trillionths.long),
        output_per_mtok: usd(trillionths.out),
        output_image_per_mtok: usd(trillionths.images),
      })
      const usage: Quantities = {
        input_tokens: count.fresh + count.cached + count.short + count.long,
        cached_input_tokens: count.cached,
        cache_write_5m_tokens: count.short,
        cache_write_1h_tokens: count.long,
        output_tokens: count.out + count.images,
        output_image_tokens: count.images,
      }
      const exact = (Object.keys(count) as (keyof typeof count)[]).reduce(
        (sum, kind) => sum + BigInt(count[kind]) * BigInt(trillionths[kind]),
        0n,
      )
      expect(costMicros(price, usage)).toBe(Number((exact + 500_000n) / 1_000_000n))
    }),
  )
})

test('Fractions of a unit are exact: a tenth and two tenths of a second cost what three tenths do', () => {
  const price = priced({ per_second_usd: 0.000001 })
  expect([0.4, 0.5, 2.5, 1e-7].map((seconds) => costMicros(price, { seconds }))).toEqual([0, 1, 3, 0])
  // In binary, 0.1 + 0.2 is more than 0.3; as written it is 0.30000000000000004.
  expect(costMicros(priced({ per_second_usd: 5 }), { seconds: 0.3 })).toBe(1_500_000)
  expect(costMicros(priced({ per_neuron_usd: 0.000011 }), { neurons: 57.6 })).toBe(634)
  expect(costMicros(priced({ per_megapixel_usd: 1e-12 }), { megapixels: 1e21 })).toBe(1_000_000_000_000_000)
})

test('More of anything never costs less', () => {
  const price = priced(
    { input_per_mtok: 2, cached_input_per_mtok: 0.2, output_per_mtok: 10, per_web_search_usd: 0.01 },
    {
      tiers: [
        { above_input_tokens: 272_000, rates: { input_per_mtok: 4, cached_input_per_mtok: 0.4, output_per_mtok: 15 } },
      ],
    },
  )
  const usage = fc.record({ input_tokens: tokens, output_tokens: tokens, web_searches: fc.nat(10) })
  const field = fc.constantFrom('input_tokens' as const, 'output_tokens' as const, 'web_searches' as const)
  fc.assert(
    fc.property(usage, field, fc.nat(1000), (used, more, by) => {
      const dearer = costMicros(price, { ...used, [more]: used[more] + by })
      expect(dearer).toBeGreaterThanOrEqual(costMicros(price, used) ?? Number.POSITIVE_INFINITY)
    }),
  )
})

describe('a tier', () => {
  const price = priced(
    { input_per_mtok: 1, cached_input_per_mtok: 0.5, output_per_mtok: 10 },
    {
      tiers: [
        { above_input_tokens: 300, rates: { input_per_mtok: 3 } },
        { above_input_tokens: 100, rates: { input_per_mtok: 2, output_per_mtok: 20 } },
      ],
    },
  )

  test.each([
    [100, 100 + 10],
    [101, 202 + 20],
    [300, 600 + 20],
    // The highest that was passed holds alone: what it does not name costs as at first.
    [301, 903 + 10],
  ])('at %i input tokens, the whole request costs %i', (input_tokens, micros) => {
    expect(costMicros(price, { input_tokens, output_tokens: 1 })).toBe(micros)
  })

  test('leaves the rates that it does not name', () => {
    expect(costMicros(price, { input_tokens: 200, cached_input_tokens: 200, output_tokens: 0 })).toBe(100)
  })
})

describe('by size and quality', () => {
  const price = priced(
    { per_image_usd: 0.01 },
    {
      images: [
        { size: '1024x1024', quality: 'hd', usd: 0.08 },
        { size: '1024x1024', usd: 0.04 },
        { quality: 'hd', usd: 0.12 },
      ],
    },
  )

  test.each([
    ['1024x1024', 'hd', 160_000],
    ['1024x1024', 'standard', 80_000],
    ['1792x1024', 'hd', 240_000],
    ['1792x1024', 'standard', 20_000],
  ])('two images of %s in %s cost %i', (image_size, image_quality, micros) => {
    expect(costMicros(price, { images: 2, image_size, image_quality })).toBe(micros)
  })

  test('an image that fits none and has no price for any is unknown', () => {
    const only = priced({}, { images: [{ size: '512x512', usd: 0.02 }] })
    expect(costMicros(only, { images: 1, image_size: '256x256' })).toBeNull()
    expect(costMicros(only, { image_size: '512x512' })).toBeNull()
  })
})

test('A request is charged for once, whether or not anybody counted it', () => {
  const price = priced({ per_request_usd: 0.005, output_per_mtok: 1 })
  expect(costMicros(price, { output_tokens: 7 })).toBe(5007)
  expect(costMicros(price, { output_tokens: 7, requests: 3 })).toBe(15_007)
})

test('A cost beyond what can be counted is unknown', () => {
  expect(costMicros(priced({ per_second_usd: 10_000 }), { seconds: 1e15 })).toBeNull()
})
