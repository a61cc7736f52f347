import { type Price, quantitiesOf } from '../contract/price.ts'
import { costMicros } from '../core/cost.ts'
import type { Foreground } from './foreground.ts'

/**
 * What a call cost, as the Instance will count it: by the price that came with the attempt. A tier that the provider bills at
 * other rates than its list's has a cost that nobody knows here.
 */
export const callCost: Foreground['cost'] = ({ price }, usage, serviceTier) => {
  if (price === null || (serviceTier !== null && !LIST_TIERS.has(serviceTier))) return null
  return costMicros(JSON.parse(price) as Price, quantitiesOf(usage))
}

const LIST_TIERS = new Set(['default', 'auto', 'standard', 'on_demand'])
