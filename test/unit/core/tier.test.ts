import { expect, test } from 'vitest'
import { isListTier } from '../../../src/core/tier.ts'

test.each([null, 'default', 'auto', 'standard', 'on_demand'])('%s costs what the list says', (tier) => {
  expect(isListTier(tier)).toBe(true)
})

test.each(['flex', 'priority', 'batch', '', 'a tier of tomorrow'])('%s is billed otherwise', (tier) => {
  expect(isListTier(tier)).toBe(false)
})
