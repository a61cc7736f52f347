import { type Price, quantitiesOf } from '../contract/price.ts'
import type { Usage } from '../contract/usage.ts'
import { costMicros } from './cost.ts'

/**
 * What a call of a model of text cost in micros, for the Worker that tells it and the Instance that books it. Null where
 * nobody knows: no price, no rate for a part of the usage, or a tier that the provider bills at other rates than its list's.
 */
export const callCostMicros = (price: Price | null, usage: Usage, serviceTier: string | null): number | null => {
  if (price === null || (serviceTier !== null && !LIST_TIERS.has(serviceTier))) return null
  return costMicros(price, quantitiesOf(usage))
}

const LIST_TIERS = new Set(['default', 'auto', 'standard', 'on_demand'])
