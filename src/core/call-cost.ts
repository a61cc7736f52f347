import { type Price, quantitiesOf } from '../contract/price.ts'
import type { Usage } from '../contract/usage.ts'
import { costMicros } from './cost.ts'
import { isListTier } from './tier.ts'

/**
 * What a call of a model of text cost in micros, for the Worker that tells it and the Instance that books it. Null where
 * nobody knows: no price, no rate for a part of the usage, or a tier that the provider bills at other rates than its list's.
 */
export const callCostMicros = (price: Price | null, usage: Usage, serviceTier: string | null): number | null => {
  if (price === null || !isListTier(serviceTier)) return null
  return costMicros(price, quantitiesOf(usage))
}
