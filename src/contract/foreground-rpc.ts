import type { Fault } from './fault.ts'
import type { Route } from './route.ts'
import type { AttemptRef, RateHints, SealedSecret } from './rpc.ts'
import type { Usage } from './usage.ts'

/**
 * What the Worker and the Instance say to each other of a call that a client waits for on the line. It is a job like any
 * other, but the Worker drives its attempts itself, so that neither the input nor the answer passes the Instance. Additive
 * only: versions mix during a rollout.
 */

export type ForegroundType = 'text.generate@1' | 'text.embed@1'

/** What a call of one model is expected to use, at most where the request bounds it: for the hold and for limits in tokens. */
export type Expected = { inputTokens: number; outputTokens: number }

/**
 * What a call of one model can come to at most, as far as its request tells: what is held for it must not lie below. Kept
 * with the job.
 */
export type CallBound = {
  /** Tokens of the prompt, and those that a cache made beforehand adds to it. */
  inputTokens: number
  cachedTokens: number
  /** Whether the prompt may be written to the provider's cache, and for how long at most. `listed`: where the price says so. */
  writes: 'none' | 'listed' | 'short' | 'long'
  /** Of all choices: the least that is held, and all that the model could write. The same where the request sets the limit. */
  outputTokens: number
  outputTokensMax: number
  choices: number
  /** How many times its list's rates the tier asks at most that was asked for. */
  tierFactor: number
}

export type OpenCall = {
  type: ForegroundType
  /** Models that accept the input, in the order asked for. Older versions tell no bound. */
  candidates: { model: string; expected: Expected; bound?: CallBound }[]
  /** Models that were asked for and do not. */
  skipped: { model: string; reason: string }[]
  prefer: 'cost' | 'speed' | 'quality' | null
  fallback: boolean
  project: string | null
  metadata: Record<string, string>
  maxCostMicros: number | null
  deadlineS: number
  /** How long it may wait for its turn before it is refused with `rate_limited`. */
  waitMs: number
}

/** One attempt, for the Worker to drive. */
export type Opening = AttemptRef & {
  /** `provider/model`. */
  model: string
  baseUrl: string
  /** Left out where calls go straight to the base URL. */
  route?: Route
  /** From request to response headers. */
  timeoutMs: number
  /** Null where calls by this route need none. */
  credential: { identity: string; sealed: SealedSecret } | null
  deadlineAtMs: number
  /** JSON of the price it was judged by, for the cost in the answer; null where none is known. */
  price: string | null
  /** Tokens that each choice may have at most, where what is held buys no more than that; left out where nothing bounds it. */
  outputLimit?: number
  /** To wait before it is sent: a retry's backoff. */
  delayMs: number
}

/** How an attempt on the line ended. */
export type CallEnd = {
  fault: Fault | null
  usage: Usage | null
  /** A part of an answer has gone to the client: nothing may follow it. */
  delivered: boolean
  /** The client left, and what the provider had made until then is what was bought. */
  abandoned: boolean
  serviceTier: string | null
  /** Answered from a gateway's cache: it cost nothing, whatever the usage says. Left out by older versions. */
  cached?: boolean
  providerRequestId: string | null
  providerMs: number
  rate: RateHints
  /** How long the client waits for a next attempt, in ms; left out: half a minute. */
  waitMs?: number
}

/** The last attempt of a call that was answered: nothing follows it. */
export type Settlement = { ref: AttemptRef; end: CallEnd }

/** What follows an attempt: another one, or the end of the call. `fault` is why a call that has failed did. */
export type CallNext =
  | { next: 'attempt'; opening: Opening }
  | { next: 'end'; fault: Fault | null; costMicros: number | null }
