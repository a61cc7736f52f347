import { type Call, CallLedger, type CallStats } from '../base/calls/ledger.ts'

/** Tokens as the provider bills them: the kinds of input stand beside each other, thoughts are a part of `output`. */
export interface Tokens {
  input: number
  cacheRead: number
  cacheWrite5m: number
  cacheWrite1h: number
  output: number
  thinking: number
}

/** What was generated until the answer ended, was cut, or the client left. */
interface Made {
  tokens: Tokens
}

export interface CallRecord extends Call, Made {
  version: string
  events: number
}

export type AnthropicStats = CallStats<Made, CallRecord>

export type Ledger = CallLedger<Made, CallRecord>

const nothing = (): Made => ({
  tokens: { input: 0, cacheRead: 0, cacheWrite5m: 0, cacheWrite1h: 0, output: 0, thinking: 0 },
})

export const createLedger = (): Ledger => new CallLedger<Made, CallRecord>(nothing)
