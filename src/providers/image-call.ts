import { faultOf } from './answers.ts'
import type { Call, Failed, ModelCard } from './provider.ts'

/** What adapters of pictures share before anything is sent. */

export const imageCard = (model: string, qualityRank: number, typicalMs: number): ModelCard => ({
  model,
  types: ['image.generate@1'],
  qualityRank,
  typicalMs,
  // None of the providers documents an idempotency key.
  idempotent: false,
})

/** The input was judged when the job was taken in: by another version, if it is refused here. */
export const refusedFault = ({ param, message }: { param: string; message: string }): Failed =>
  faultOf('provider_rejected', `${param}: ${message}`, { param })

/** For providers that give no quotes: what the list cannot show to fit is not bought. `asks` as in `Replicate asks`. */
export const budgetFault = (
  { maxCostMicros: limit, expectedMicros: micros = null }: Call,
  asks: string,
): Failed | null => {
  if (limit === null || (micros !== null && micros <= limit)) return null
  if (micros === null) return faultOf('budget_exceeded', 'No price is known for this call, and max_cost_usd is set.')
  return faultOf('budget_exceeded', `${asks} ${micros / 1e6} USD; max_cost_usd is ${limit / 1e6}.`)
}
