import { type Call, CallLedger, type CallStats } from '../base/calls/ledger.ts'

export type Kind = 'chat' | 'embedding' | 'image'

/** Tokens as the provider bills them: cached and written are parts of `prompt`, reasoning is a part of `completion`. */
interface Tokens {
  prompt: number
  cached: number
  written: number
  completion: number
  reasoning: number
}

/** What was generated until the answer ended, was cut, or the client left. */
interface Made {
  tokens: Tokens
  images: number
}

export interface CallRecord extends Call, Made {
  kind: Kind
  chunks: number
}

export type OpenAiStats = CallStats<Made, CallRecord>

export type Ledger = CallLedger<Made, CallRecord>

const nothing = (): Made => ({
  tokens: { prompt: 0, cached: 0, written: 0, completion: 0, reasoning: 0 },
  images: 0,
})

export const createLedger = (): Ledger => new CallLedger<Made, CallRecord>(nothing)
