import type { Price } from '../contract/price.ts'
import { callCostMicros } from '../core/call-cost.ts'
import type { Foreground } from './foreground.ts'

/** What a call cost, as the Instance will count it: by the price that came with the attempt. */
export const callCost: Foreground['cost'] = ({ price }, usage, serviceTier) =>
  callCostMicros(price === null ? null : (JSON.parse(price) as Price), usage, serviceTier)
