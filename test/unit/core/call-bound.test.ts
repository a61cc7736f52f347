import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CallBound } from '../../../src/contract/foreground-rpc.ts'
import type { Price, Rates } from '../../../src/contract/price.ts'
import { type Usage, usageOf } from '../../../src/contract/usage.ts'
import { boundMicros, modelHoldOf, outputLimitOf } from '../../../src/core/call-bound.ts'
import { callCostMicros, presumedCallMicros } from '../../../src/core/call-cost.ts'
import { grownHold } from '../../../src/core/hold.ts'
import { tierFactor } from '../../../src/core/tier.ts'

const rate = fc.integer({ min: 0, max: 60_000_000 }).map((millionths) => millionths / 1_000_000)
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
const rates = fc
  .record({
    input_per_mtok: rate,
    output_per_mtok: rate,
    cached_input_per_mtok: maybe(rate),
    cache_write_per_mtok: maybe(rate),
    cache_write_1h_per_mtok: maybe(rate),
    reasoning_per_mtok: maybe(rate),
    input_image_per_mtok: maybe(rate),
    per_request_usd: maybe(rate),
  })
  .map((all) => Object.fromEntries(Object.entries(all).filter(([, usd]) => usd !== undefined)) as Rates)
const tier = fc.record({ above_input_tokens: fc.integer({ min: 0, max: 300_000 }), rates })
const prices: fc.Arbitrary<Price> = fc.record({
  provider: fc.constantFrom('openai', 'google', 'anthropic', 'workers-ai'),
  model: fc.constant('m'),
  kind: fc.constant('chat' as const),
  rates,
  tiers: fc.array(tier, { maxLength: 2 }),
  images: fc.constant([]),
  effective_from: fc.constant(null),
  effective_to: fc.constant(null),
  source: fc.constant('a test'),
  verified: fc.constant(true),
})
const tokens = fc.integer({ min: 0, max: 400_000 })
const part = fc.double({ min: 0, max: 1, noNaN: true })

const bounds: fc.Arbitrary<CallBound> = fc
  .record({
    inputTokens: tokens,
    cachedTokens: fc.constantFrom(0, 100_000),
    writes: fc.constantFrom('none' as const, 'listed' as const, 'short' as const, 'long' as const),
    outputTokens: fc.integer({ min: 1, max: 5_000 }),
    more: tokens,
    choices: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ more, ...bound }) => ({
    ...bound,
    outputTokens: bound.outputTokens * bound.choices,
    outputTokensMax: (bound.outputTokens + more) * bound.choices,
    tierFactor: 1,
  }))

const shares = fc.record({ fresh: part, short: part, long: part, images: part, out: part, thought: part, cached: part })
type Shares = { [K in 'fresh' | 'short' | 'long' | 'images' | 'out' | 'thought' | 'cached']: number }

/** A usage that such a call can have, its answer no longer than `outputTokens`. */
const usageWithin = (bound: CallBound, outputTokens: number, share: Shares, listsWrites: boolean): Usage => {
  let left = Math.floor(bound.inputTokens * share.fresh)
  const take = (of: number) => {
    const taken = Math.floor(left * of)
    left -= taken
    return taken
  }
  const written = bound.writes === 'short' || bound.writes === 'long' || (bound.writes === 'listed' && listsWrites)
  const short = written ? take(share.short) : 0
  const long = bound.writes === 'long' ? take(share.long) : 0
  const images = take(share.images)
  const cached = take(share.cached)
  const stored = Math.floor(bound.cachedTokens * share.cached)
  const out = Math.floor(outputTokens * share.out)
  return usageOf({
    inputTokens: left + short + long + images + cached + stored,
    cachedInputTokens: cached + stored,
    cacheWrite5mTokens: short,
    cacheWrite1hTokens: long,
    imageInputTokens: images,
    outputTokens: out,
    reasoningTokens: Math.floor(out * share.thought),
  })
}

const lists = (price: Price) => price.rates.cache_write_per_mtok !== undefined

describe('what is held where the answer has a limit', () => {
  test('is never below what any use within it costs, or is presumed to', () => {
    fc.assert(
      fc.property(prices, bounds, shares, (price, bound, share) => {
        const hold = boundMicros(price, bound, bound.outputTokensMax) ?? -1
        const usage = usageWithin(bound, bound.outputTokensMax, share, lists(price))
        const cost = callCostMicros(price, usage, 'default') ?? presumedCallMicros(price, usage, 'default')
        expect(cost).not.toBeNull()
        expect(cost).toBeLessThanOrEqual(hold)
      }),
      { numRuns: 2_000 },
    )
  })

  test('covers the tier that was asked for, and one that was served instead', () => {
    const tiers = fc.constantFrom('priority', 'fast', 'flex')
    fc.assert(
      fc.property(prices, bounds, shares, tiers, fc.boolean(), (price, bound, share, asked, isServed) => {
        const factored = { ...bound, tierFactor: tierFactor(price.provider, asked) }
        const hold = boundMicros(price, factored, bound.outputTokensMax) ?? -1
        const usage = usageWithin(bound, bound.outputTokensMax, share, lists(price))
        expect(presumedCallMicros(price, usage, isServed ? asked : 'default')).toBeLessThanOrEqual(hold)
      }),
    )
  })
})

describe('what is held of a budget by an answer without a limit', () => {
  test('buys as much as it is then limited to, and no limit is needed where all is held', () => {
    fc.assert(
      fc.property(prices, bounds, shares, part, (price, bound, share, of) => {
        const hold = modelHoldOf(price, bound)
        if (!hold) throw new Error('the price has rates for both')
        const held = hold.micros + Math.floor((hold.mostMicros - hold.micros) * of)
        const limit = outputLimitOf(price, hold, held)
        if (limit === null) {
          expect(held).toBe(hold.mostMicros)
          return
        }
        expect(limit * bound.choices).toBeGreaterThan(bound.outputTokens - bound.choices)
        const usage = usageWithin(bound, limit * bound.choices, share, lists(price))
        const cost = callCostMicros(price, usage, null) ?? presumedCallMicros(price, usage, null)
        expect(cost).toBeLessThanOrEqual(held)
      }),
      { numRuns: 1_000 },
    )
  })

  test('is a share of what is left, at least what is expected, and never more than there is', () => {
    const calls = fc.array(fc.record({ least: fc.integer({ min: 0, max: 500 }), more: tokens }), { maxLength: 100 })
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100_000 }), calls, (limit, all) => {
        let held = 0
        for (const { least, more } of all) {
          if (held + least > limit) continue
          const grown = grownHold(least, least + more, limit - held, Number.POSITIVE_INFINITY)
          expect(grown).toBeGreaterThanOrEqual(least)
          expect(grown).toBeLessThanOrEqual(least + more)
          held += grown
          expect(held).toBeLessThanOrEqual(limit)
        }
      }),
    )
  })

  test('is all that the client allows, where only that bounds it, and what is expected where nothing does', () => {
    expect(grownHold(10, 1_000, Number.POSITIVE_INFINITY, 300)).toBe(300)
    expect(grownHold(10, 200, Number.POSITIVE_INFINITY, 300)).toBe(200)
    expect(grownHold(10, 1_000, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)).toBe(10)
    expect(grownHold(10, 1_000, 170, Number.POSITIVE_INFINITY)).toBe(20)
    // A budget that was lowered meanwhile takes nothing away.
    expect(grownHold(10, 1_000, -500, Number.POSITIVE_INFINITY)).toBe(10)
  })
})

describe('a call of unknown cost', () => {
  const price = (provider: string, more: Rates = {}): Price => ({
    ...{ provider, model: 'm', kind: 'chat', tiers: [], images: [], effective_from: null, effective_to: null },
    ...{ rates: { input_per_mtok: 4, output_per_mtok: 10, ...more }, source: 'a test', verified: true },
  })
  test.each([
    ['openai', 'priority', 35_000],
    ['openai', 'flex', 14_000],
    ['openai', 'a tier of tomorrow', 35_000],
    ['google', 'priority', 28_000],
    ['anthropic', 'priority', 14_000],
  ])('of %s in the tier %s is presumed by its use and the factor that is published', (provider, served, micros) => {
    const usage = usageOf({ inputTokens: 1_000, outputTokens: 1_000 })
    expect(presumedCallMicros(price(provider), usage, served)).toBe(micros)
  })

  test('is presumed at what writing to a cache costs elsewhere, where its list has no rate for it', () => {
    expect(presumedCallMicros(price('anthropic'), usageOf({ inputTokens: 1_000, cacheWrite5mTokens: 500 }), null)).toBe(
      5_000,
    )
    expect(presumedCallMicros(price('anthropic'), usageOf({ inputTokens: 1_000, cacheWrite1hTokens: 1 }), null)).toBe(
      8_000,
    )
    expect(presumedCallMicros(null, usageOf({ inputTokens: 1 }), null)).toBeNull()
  })
})
