import { expect, test } from 'vitest'
import type { Price } from '../../../src/contract/price.ts'
import { usageOf } from '../../../src/contract/usage.ts'
import { callCostMicros } from '../../../src/core/call-cost.ts'

const PRICE: Price = {
  provider: 'openai',
  model: 'gpt-5-mini',
  kind: 'chat',
  rates: { input_per_mtok: 0.25, output_per_mtok: 2 },
  tiers: [],
  images: [],
  effective_from: null,
  effective_to: null,
  source: 'a test',
  verified: true,
}
const usage = usageOf({ inputTokens: 1_000, outputTokens: 500 })

test.each([
  ['no tier', PRICE, null, 1_250],
  ['the tier of the list', PRICE, 'default', 1_250],
  ['a tier at other rates', PRICE, 'priority', null],
  ['no price', null, null, null],
])('a call with %s costs what is known, and nothing is made up', (_what, price, tier, micros) => {
  expect(callCostMicros(price, usage, tier)).toBe(micros)
})
