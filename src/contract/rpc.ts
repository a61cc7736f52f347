import type { Fault } from './fault.ts'
import type { JobOutput, NodeType } from './job.ts'
import type { PriceSnapshot } from './price.ts'
import type { Quota } from './quota.ts'
import type { Route } from './route.ts'
import type { Usage } from './usage.ts'

/** What the Worker, the Instance and its lanes say to each other. Additive only: versions mix during a rollout. */

/**
 * JSON text with the type of what it holds. Across RPC it is one flat string, which is cheaper to clone than the tree
 * and keeps the platform's RPC types from collapsing on recursive ones.
 */
export type Wire<T> = string & { readonly __holds?: T }
export const toWire = <T>(value: T): Wire<T> => JSON.stringify(value)
export const fromWire = <T>(wire: Wire<T>): T => JSON.parse(wire) as T

/** Who calls, as the edge read it: the key's secret arrives here only as its digest. */
export type Caller = {
  requestId: string
  auth: { kind: 'root' } | { kind: 'key'; id: string; digest: string }
}

/** A secret at rest: AES-256-GCM, opened only where the call is made. Base64 text. */
export type SealedSecret = { keyId: string; iv: string; ciphertext: string }

/**
 * A credential's secret as it is sealed now. `secret` counts the secrets that operators ever set in the instance: a higher
 * one is newer. Sealing the same one anew, under another master key, does not change it.
 */
export type CredentialSecret = { identity: string; sealed: SealedSecret; secret: number }

/** A job endpoint's answer: its body, and the quotas that stand in its headers. */
export type Answered<T> = { body: Wire<T>; quotas: Quota[] }

/** One attempt, from the Instance to a lane. */
export type Assignment = {
  job: string
  attempt: number
  type: NodeType
  /** `provider/model`. */
  model: string
  /** JSON of the job's input. */
  input: string
  baseUrl: string
  /** Left out where calls go straight to the base URL. */
  route?: Route
  timeoutMs: number
  /** `secret` as in `CredentialSecret`; assignments of older versions have none. Null where calls by this route need none. */
  credential: { identity: string; sealed: SealedSecret; secret?: number } | null
  maxCostMicros: number | null
  /** What the job was judged by on this model, or null where no price is known; left out by versions that kept none. */
  price?: PriceSnapshot | null
  /** As in `Opening`. */
  outputLimit?: number
  deadlineAtMs: number
  /** JSON of a `Resume`, where an earlier attempt got somewhere. */
  resume: string | null
  requestId: string
  /** Where the provider may tell that it is done, if it can. */
  webhookUrl?: string
}

/** How far an attempt has come, as the lane keeps it: enough for any process to go on without calling anew. */
export type AttemptEnd = {
  /** The output, or null where the attempt failed. */
  output: JobOutput | null
  fault: Fault | null
  /** Null: unknown. */
  costMicros: number | null
  /** Where the cost is unknown and the usage is not: what it comes to at most, to be presumed. Left out: what was held. */
  presumedMicros?: number
  providerRequestId: string | null
  providerMs: number
  storeMs: number
  /** JSON of a `Resume` for a retry, or null. */
  resume: string | null
  /** What the provider's rate headers said, where they did. */
  rates?: RateHints
  /** What a model of text used. */
  usage?: Usage
  /** Nothing may follow: a part of the answer is with the client, or the client has left. */
  final?: boolean
}

/** What the provider's rate headers said: how much is left, and until when that counts. */
export type RateHint = { remaining: number; resetAfterMs: number }
/** Of calls and of tokens, where it said so. */
export type RateHints = { requests: RateHint | null; tokens: RateHint | null }

export type Report =
  | { kind: 'progress'; job: string; attempt: number; progress: number; message: string; rate?: RateHint }
  | { kind: 'end'; job: string; attempt: number; end: AttemptEnd }

export type ReportReply = {
  /** More work for the lane that reported. */
  assign: Assignment[]
  /** Attempts that are over for the Instance: stop them. */
  stop: AttemptRef[]
}

export type AttemptRef = { job: string; attempt: number }
export const refText = (ref: AttemptRef): string => `${ref.job}/${ref.attempt}`
