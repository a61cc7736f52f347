import { type Price, quantitiesOf } from '../contract/price.ts'
import type { Usage } from '../contract/usage.ts'
import { boundMicros } from './call-bound.ts'
import { costMicros } from './cost.ts'
import { isListTier, tierFactor } from './tier.ts'

/**
 * What a call of a model of text cost in micros, for the Worker that tells it and the Instance that books it. Null where
 * nobody knows: no price, no rate for a part of the usage, or a tier that the provider bills at other rates than its list's.
 */
export const callCostMicros = (price: Price | null, usage: Usage, serviceTier: string | null): number | null => {
  if (price === null || !isListTier(serviceTier)) return null
  return costMicros(price, quantitiesOf(usage))
}

/**
 * What a call of unknown cost came to at most, to be presumed: its usage by the list, times what its tier asks at most; what
 * the list has no rate for at the dearest that it can be. Null where even that cannot be told.
 */
export const presumedCallMicros = (price: Price | null, usage: Usage, serviceTier: string | null): number | null => {
  if (price === null) return null
  const factor = tierFactor(price.provider, serviceTier)
  const listed = costMicros(price, quantitiesOf(usage))
  if (listed !== null) return Math.ceil(listed * factor)
  const bound = {
    inputTokens: usage.inputTokens,
    cachedTokens: 0,
    writes: usage.cacheWrite1hTokens > 0 ? 'long' : usage.cacheWrite5mTokens > 0 ? 'short' : 'none',
    outputTokens: usage.outputTokens,
    outputTokensMax: usage.outputTokens,
    choices: 1,
    tierFactor: factor,
  } as const
  return boundMicros(price, bound, usage.outputTokens)
}
