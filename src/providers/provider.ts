import type { AttemptFaultCode } from '../contract/fault.ts'
import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import type { Quantities } from '../contract/price.ts'
import type { RateHint } from '../contract/rpc.ts'
import type { Usage } from '../contract/usage.ts'
import type { Http } from './http.ts'

/**
 * What a provider is to Switchyard: a map from the one vocabulary to a wire and back, errors included. An adapter knows
 * nothing of queues, budgets, retries or storage, keeps no state, and throws only on a bug: whatever the provider or the
 * network does is an `Outcome`.
 *
 * `start` sends one request that may cost money and must therefore be sent at most once; it may ask for a price first.
 * Where the provider answers with work in progress, `start` returns `wait` with a checkpoint, small JSON from which any
 * other process can go on with `poll`. `poll` is free of charge and may be repeated.
 */
export type Provider = {
  id: string
  /** Shown to people. */
  title: string
  defaultBaseUrl: string
  /** What the provider grants by default, where it documents it. */
  defaultLimits: { concurrency: number; requestsPerMinute?: number; requestsPerDay?: number; tokensPerMinute?: number }
  countsBy: CountsBy
  models: ModelCard[]
  /** What a job of this input will use, and what it is called in the price list; null where no list can know it. Pure. */
  expects(model: string, input: ImageInput): Expected | null
  /** The path (such as `input.size`) and reason for which this model cannot serve the input, or null. Pure. */
  refuses(model: string, input: ImageInput): { param: string; message: string } | null
  start(call: Call, http: Http): Promise<Outcome>
  poll(call: Call, checkpoint: Json, http: Http): Promise<Outcome>
  /** Ends a running generation, where the provider can. Best effort: it answers nothing. */
  cancel?(call: Call, checkpoint: Json, http: Http): Promise<void>
  /**
   * What became of a `start` whose answer was lost, asked of the provider's own list: `wait` with the checkpoint of the
   * generation it began, null where it certainly began none, so that starting anew pays once, or a fault where that
   * cannot be told; with `retryAfterMs` asking again then may tell. `call` has the job, attempt, model and input of that
   * `start`, and the present as `nowMs`; `sinceMs` is when it was made. Free of charge; may be repeated.
   */
  reconcile?(call: Call, http: Http, sinceMs: number): Promise<Outcome | null>
  /** For providers that tell by webhook that a generation has ended. What they tell is not believed but asked after. */
  webhook?: {
    /** The secret that signs the deliveries of this account, or null where it cannot be had now. */
    secret(account: { baseUrl: string; secret: string }, http: Http): Promise<string | null>
    /** Whether the provider sent this, lately. Never throws. */
    verify(headers: Headers, rawBody: string, secret: string, nowMs: number): Promise<boolean>
  }
}

/**
 * What the provider's limits, its 429 and its rate headers speak of: the account as a whole, or one model of it, so that the
 * others go on. The same by whatever route. Refusals for money, for a bad key and for overload are of the account always.
 */
export type CountsBy = 'account' | 'model'

/**
 * `price` is the name that a price list has for such a call: the model's own, or that of a speed or edition of it, as
 * `ideogram-3/turbo`. `usage` is what the call will report, as far as it can be told.
 */
export type Expected = { price: string; usage: Quantities }

export type ModelCard = {
  /** Without the provider: `ideogram-3`. */
  model: string
  types: 'image.generate@1'[]
  /** 1 (draft) to 5 (best): our own ranking, for `prefer: quality`. */
  qualityRank: number
  /** What a run usually takes, to draw progress where the provider reports none. Milliseconds. */
  typicalMs: number
  /** True where repeating a call whose outcome is unknown costs nothing twice. */
  idempotent: boolean
}

/** One attempt's call. The secret is in clear only here, in memory. */
export type Call = {
  job: string
  attempt: number
  type: 'image.generate@1'
  model: string
  input: ImageInput
  baseUrl: string
  secret: string
  /** The job's `max_cost_usd` in micros: with it a provider that can quote is asked first. */
  maxCostMicros: number | null
  nowMs: number
  /**
   * What a use costs by the price that the job was judged by, in micros, or null where that is not known; without it none
   * is. An adapter counts, it knows no prices.
   */
  costOf?(usage: Quantities): number | null
  /** What the job was judged to cost, in micros; null or left out where that is not known. */
  expectedMicros?: number | null
  /** Where a provider with webhooks tells that the generation has ended. It is polled all the same, but less often. */
  webhookUrl?: string
}

/**
 * A generated image before it is stored: where its bytes are, or the bytes. A provider may withhold single images as
 * unsafe; those come without a source, so that count and order stay the provider's.
 */
export type GeneratedImage =
  | { safe: true; source: { url: string } | { base64: string }; seed: number | null }
  | { safe: false; source: null; seed: number | null }

export type Done = {
  kind: 'done'
  images: GeneratedImage[]
  providerRequestId: string | null
  /** Millionths of a US dollar; null when nobody knows, never zero for unknown. */
  costMicros: number | null
  /** Where the provider bills by tokens and says how many: the price list makes the cost of them. */
  usage?: Usage
}

export type Wait = {
  kind: 'wait'
  /** Where the answer carried rate headers. */
  rate?: RateHint
  checkpoint: Json
  pollAfterMs: number
  providerRequestId: string | null
  /** 0…1 where the provider says. */
  progress: number | null
}

/** `checkpoint` on a fault: a retry goes on from there and does not call the provider anew. */
export type Failed = {
  kind: 'fault'
  code: AttemptFaultCode
  message: string
  param?: string
  retryAfterMs?: number
  providerRequestId?: string | null
  /** Known cost of the failed attempt, where the provider billed it all the same. */
  costMicros?: number | null
  checkpoint?: Json
}

export type Outcome = Done | Wait | Failed
