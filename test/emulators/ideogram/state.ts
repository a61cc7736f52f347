import { randomBytes } from 'node:crypto'
import { assembleState, type EmulatorState } from '../base/state.ts'
import { readFaultSetting } from './faults.ts'
import { Ledger } from './ledger.ts'
import { type IdeogramControl, type IdeogramOptions, type IdeogramSettings, initialSettings } from './settings.ts'
import { createKeyRing, type KeyRing } from './webhooks.ts'

/** Everything the request handlers share. */
export interface State extends EmulatorState<IdeogramSettings, IdeogramControl> {
  ledger: Ledger
  keys: KeyRing
  /** Signs image URLs. */
  urlSecret: Buffer
}

export function createState(options: IdeogramOptions): State {
  const keys = createKeyRing()
  const state = assembleState<IdeogramSettings, IdeogramControl, Pick<State, 'ledger'>>({
    settings: () => initialSettings(options),
    memory: () => ({ ledger: new Ledger() }),
    now: options.now,
    readFaultSetting,
    acts: { rotateWebhookKey: keys.rotate },
  })
  return Object.assign(state, { keys, urlSecret: randomBytes(32) })
}
