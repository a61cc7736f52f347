import { Limiter } from '../base/calls/limiter.ts'
import { type CallOptions, type CallSettings, callSettings } from '../base/calls/settings.ts'
import type { ControlOf } from '../base/settings.ts'
import { assembleState, type EmulatorState } from '../base/state.ts'
import type { Exchange as AnyExchange } from '../base/wire.ts'
import { readFaultSetting } from './directives.ts'
import { createLedger, type Ledger } from './ledger.ts'
import type { Version } from './spec.ts'

export type AnthropicOptions = CallOptions
export type AnthropicSettings = CallSettings
export type AnthropicControl = ControlOf<AnthropicSettings>

/** Everything the request handlers share. */
export interface State extends EmulatorState<AnthropicSettings, AnthropicControl> {
  ledger: Ledger
  limiter: Limiter
}

/** One request and its answer, at the path below the base. */
export interface Exchange extends AnyExchange {
  path: string
  apiKey: string
  version: Version
  /** The id of this request, in a header and in every error. */
  requestId: string
}

export const createState = (options: AnthropicOptions): State =>
  assembleState({
    settings: () => callSettings(options),
    memory: () => ({ ledger: createLedger(), limiter: new Limiter() }),
    now: options.now,
    readFaultSetting,
  })
