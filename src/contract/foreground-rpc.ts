import type { Fault, Result } from './fault.ts'
import type { AttemptRef, Caller, Quota, RateHint, SealedSecret, Wire } from './rpc.ts'
import type { Usage } from './usage.ts'

/**
 * What the Worker and the Instance say to each other of a call that a client waits for on the line. It is a job like any
 * other, but the Worker drives its attempts itself, so that neither the input nor the answer passes the Instance. Additive
 * only: versions mix during a rollout.
 */

export type ForegroundType = 'text.generate@1' | 'text.embed@1'

/** What a call of one model is expected to use, at most where the request bounds it: for the hold and for limits in tokens. */
export type Expected = { inputTokens: number; outputTokens: number }

export type OpenCall = {
  type: ForegroundType
  /** Models that accept the input, in the order asked for. */
  candidates: { model: string; expected: Expected }[]
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
  /** From request to response headers. */
  timeoutMs: number
  /** Null where the provider needs none and the instance holds none. */
  credential: { identity: string; sealed: SealedSecret } | null
  deadlineAtMs: number
  /** JSON of the price it was judged by, for the cost in the answer; null where none is known. */
  price: string | null
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
  providerRequestId: string | null
  providerMs: number
  rate: { requests: RateHint | null; tokens: RateHint | null }
  /** How long the client waits for a next attempt, in ms; left out: half a minute. */
  waitMs?: number
}

/** What follows an attempt: another one, or the end of the call. `fault` is why a call that has failed did. */
export type CallNext =
  | { next: 'attempt'; opening: Opening }
  | { next: 'end'; fault: Fault | null; costMicros: number | null }

/** The Instance, as the Worker calls it for a call on the line. */
export type ForegroundRpc = {
  /** Authenticates, admits, holds and chooses. */
  openCall(caller: Caller, wire: Wire<OpenCall>): Promise<Result<{ opening: Wire<Opening>; quotas: Quota[] }>>
  /** Repeated, it answers the same and changes nothing. */
  closeCall(ref: AttemptRef, wire: Wire<CallEnd>): Promise<Wire<CallNext>>
  /**
   * These are still under way: a call that is neither closed nor renewed for a while is judged lost. Answers those that are
   * over for the Instance, canceled or past their deadline: whoever drives them stops.
   */
  renewCalls(refs: AttemptRef[]): Promise<AttemptRef[]>
}
