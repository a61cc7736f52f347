import { randomBytes } from 'node:crypto'
import { assembleState, type EmulatorState } from '../base/state.ts'
import { readFaultSetting } from '../ideogram/faults.ts'
import { Ledger } from './ledger.ts'
import { RateLimiter } from './limits.ts'
import {
  initialSettings,
  problemWithSettings,
  type ReplicateControl,
  type ReplicateOptions,
  type ReplicateSettings,
} from './settings.ts'

/** What a reset forgets. */
interface Memory {
  ledger: Ledger
  limiter: RateLimiter
}

/** Everything the request handlers share. */
export interface State extends EmulatorState<ReplicateSettings, ReplicateControl>, Memory {
  /** `whsec_` and base64. */
  webhookSecret: string
}

const newSecret = () => `whsec_${randomBytes(24).toString('base64')}`

export function createState(options: ReplicateOptions): State {
  const common = assembleState<ReplicateSettings, ReplicateControl, Memory>({
    settings: () => initialSettings(options),
    memory: () => ({ ledger: new Ledger(), limiter: new RateLimiter() }),
    now: options.now,
    readFaultSetting,
    acts: {
      rotateWebhookSecret: () => {
        state.webhookSecret = newSecret()
      },
    },
    problemWithSettings,
  })
  const state: State = Object.assign(common, { webhookSecret: newSecret() })
  return state
}
