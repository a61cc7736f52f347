import { Limiter } from '../base/calls/limiter.ts'
import { assembleState, type EmulatorState } from '../base/state.ts'
import type { Exchange as AnyExchange } from '../base/wire.ts'
import { readFaultSetting } from './directives.ts'
import { createLedger, type Ledger } from './ledger.ts'
import {
  initialSettings,
  type OpenAiControl,
  type OpenAiOptions,
  type OpenAiSettings,
  problemWithSettings,
} from './settings.ts'

/** Everything the request handlers share. */
export interface State extends EmulatorState<OpenAiSettings, OpenAiControl> {
  ledger: Ledger
  limiter: Limiter
}

/** One request and its answer, at the path below the base. */
export interface Exchange extends AnyExchange {
  path: string
  apiKey: string
  /** Through the gateway's address. */
  gateway: boolean
  /** By Ollama's own API, whose errors are of another form. */
  native?: boolean
}

export const createState = (options: OpenAiOptions): State =>
  assembleState({
    settings: () => initialSettings(options),
    memory: () => ({ ledger: createLedger(), limiter: new Limiter() }),
    now: options.now,
    readFaultSetting,
    problemWithSettings,
  })
