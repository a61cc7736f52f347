import { fault } from '../contract/fault.ts'
import { type Context, Refused } from './context.ts'

/**
 * A shield at the edge against floods of bad keys: an address that has shown too many is turned away for a while, before
 * anything is asked of an Instance. The binding counts per location and is permissive; the memory is this isolate's.
 */
const TURNED_AWAY_MS = 10_000
const REMEMBERED_MAX = 10_000
const turnedAway = new Map<string, number>()

const addressOf = (request: Request): string => request.headers.get('cf-connecting-ip') ?? 'local'

/** Throws `rate_limited` while the address is turned away. */
export const requireGoodManners = (context: Context): void => {
  if (turnedAway.size === 0) return
  const until = turnedAway.get(addressOf(context.request)) ?? 0
  const now = Date.now()
  if (until > now)
    throw new Refused(fault('rate_limited', 'Too many requests with bad keys.', { retryAfterMs: until - now }))
}

/** A shield that fails must not turn a refusal into an error: then it lets through. */
const isWithinLimit = async (context: Context, address: string): Promise<boolean> => {
  try {
    return (await context.env.BAD_KEYS.limit({ key: address })).success
  } catch {
    return true
  }
}

/** A request with a key that is good for nothing here. */
export const noteBadKey = async (context: Context): Promise<void> => {
  const address = addressOf(context.request)
  if (await isWithinLimit(context, address)) return
  // Forgetting all of them costs a flood ten seconds' work, and bounds the memory.
  if (turnedAway.size >= REMEMBERED_MAX) turnedAway.clear()
  turnedAway.set(address, Date.now() + TURNED_AWAY_MS)
}
