import { Limiter } from '../base/calls/limiter.ts'
import { assembleState, type EmulatorState } from '../base/state.ts'
import type { Exchange as AnyExchange } from '../base/wire.ts'
import { readFaultSetting } from './directives.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { type GeminiControl, type GeminiOptions, type GeminiSettings, initialSettings } from './settings.ts'

/** Everything the request handlers share. */
export interface State extends EmulatorState<GeminiSettings, GeminiControl> {
  ledger: Ledger
  limiter: Limiter
}

/** One request and its answer: `/{version}/models/{model}:{method}`. */
export interface Exchange extends AnyExchange {
  apiVersion: string
  model: string
  method: string
  apiKey: string
  /** `alt=sse`: events instead of a list. */
  sse: boolean
}

export const createState = (options: GeminiOptions): State =>
  assembleState({
    settings: () => initialSettings(options),
    memory: () => ({ ledger: createLedger(), limiter: new Limiter() }),
    now: options.now,
    readFaultSetting,
  })
