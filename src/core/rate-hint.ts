import type { RateHint } from '../contract/rpc.ts'

/** Of what a provider says is left, the one that is told on: requests where they are used up, else tokens if it counts them. */
export const tellingRate = ({
  requests,
  tokens,
}: {
  requests: RateHint | null
  tokens: RateHint | null
}): RateHint | null => (requests?.remaining === 0 ? requests : (tokens ?? requests))
