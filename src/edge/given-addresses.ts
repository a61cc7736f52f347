import { fault } from '../contract/fault.ts'
import { type Giving, refusesGiven } from '../providers/given-addresses.ts'
import type { Context } from './context.ts'
import { Refused } from './refused.ts'

/** Refuses a request that would send its provider into an inner network. `within` is where it stands in the body: `input.`. */
export const guardGiven = ({ env }: Pick<Context, 'env'>, given: Giving, within = ''): void => {
  const refusal = refusesGiven(given, env.ALLOW_PRIVATE_UPSTREAMS === 'true')
  if (refusal) throw new Refused(fault('invalid_request', refusal.message, { param: within + refusal.param }))
}
