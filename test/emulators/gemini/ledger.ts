import { type Call, CallLedger, type CallStats } from '../base/calls/ledger.ts'

export type Kind = 'generate' | 'embed'

/** Tokens as the provider counts them: thoughts stand beside the candidates', the images' are parts of the others. */
export interface Tokens {
  prompt: number
  cached: number
  toolUse: number
  candidates: number
  thoughts: number
  imageIn: number
  imageOut: number
}

/** What was generated until the answer ended, was cut, or the client left. */
interface Made {
  tokens: Tokens
  images: number
}

export interface CallRecord extends Call, Made {
  kind: Kind
  apiVersion: string
  events: number
}

/** Among `rejected`, `blocked` counts prompts that were looked at and not answered. */
export type GeminiStats = CallStats<Made, CallRecord>

export type Ledger = CallLedger<Made, CallRecord>

const nothing = (): Made => ({
  tokens: { prompt: 0, cached: 0, toolUse: 0, candidates: 0, thoughts: 0, imageIn: 0, imageOut: 0 },
  images: 0,
})

export const createLedger = (): Ledger => new CallLedger<Made, CallRecord>(nothing)
