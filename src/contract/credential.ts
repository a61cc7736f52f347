import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { ATTEMPT_FAULT_CODES } from './fault.ts'
import { integer, strictObject } from './fields.ts'

/** What a credential may do, what it did, and under which master key it lies. */

/** Limits of one account, beside those of the provider; null takes one away again. */
export const CredentialLimits = strictObject({
  requests_per_minute: v.optional(v.nullable(integer(1, LIMITS.requestsPerMinuteMax))),
  tokens_per_minute: v.optional(v.nullable(integer(1, LIMITS.tokensPerMinuteMax))),
  concurrency: v.optional(v.nullable(integer(1, LIMITS.concurrencyMax))),
  requests_per_day: v.optional(v.nullable(integer(1, LIMITS.requestsPerDayMax))),
})
export type CredentialLimits = v.InferOutput<typeof CredentialLimits>

/** Counted in memory and written every few seconds: a crash loses the last of them. */
export const CredentialUsage = v.object({
  attempts: v.number(),
  errors: v.number(),
  /** Sum of what is known. */
  cost_usd: v.number(),
  last_used_at: v.nullable(v.string()),
  last_error: v.nullable(v.object({ code: v.picklist(ATTEMPT_FAULT_CODES), at: v.string() })),
})

export const CredentialLive = v.object({
  running: v.number(),
  /** When the credential's own rates let the next call out; null: now. */
  next_request_at: v.nullable(v.string()),
  /** How much of its limits is in force: narrowed by "too fast", widened by success. */
  share: v.number(),
})

/** How far an instance has come in sealing its provider secrets under the first master key. */
export const Sealing = v.object({
  object: v.literal('sealing'),
  /** Id of the master key that seals. */
  key_id: v.string(),
  /** Credentials, deleted ones that still have work under way included. */
  total: v.number(),
  resealed: v.number(),
  /** Sealed under another key that is at hand. */
  waiting: v.number(),
  /** Sealed under a key that is not at hand, or damaged: only a new secret helps. */
  unopenable: v.number(),
  /** Lanes that may hold attempts with older seals. */
  lanes_waiting: v.number(),
  /** True: this instance needs none but the first key. */
  complete: v.boolean(),
})
export type Sealing = v.InferOutput<typeof Sealing>
