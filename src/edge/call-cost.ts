import { type Price, quantitiesOf } from '../contract/price.ts'
import { costMicros } from '../core/cost.ts'
import { isListTier } from '../core/tier.ts'
import type { Foreground } from './foreground.ts'

/**
 * What a call cost, as the Instance will count it: by the price that came with the attempt. A tier that the provider bills at
 * other rates than its list's has a cost that nobody knows here.
 */
export const callCost: Foreground['cost'] = ({ price }, usage, serviceTier) => {
  if (price === null || !isListTier(serviceTier)) return null
  return costMicros(JSON.parse(price) as Price, quantitiesOf(usage))
}
