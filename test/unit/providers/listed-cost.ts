import { pricingOf } from '../../../src/job/pricing.ts'
import type { Call } from '../../../src/providers/provider.ts'

/** The call with the listed price, as an attempt has it where the instance has none of its own. */
export const withListedPrice = (provider: string, call: Call): Call => ({
  ...pricingOf({ model: `${provider}/${call.model}`, input: JSON.stringify(call.input) }, call.nowMs),
  ...call,
})
