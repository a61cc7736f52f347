import { type JobOptions, type JobSettings, jobSettings } from '../base/jobs/settings.ts'
import type { ControlOf } from '../base/settings.ts'

/** The provider documents no lifetime of its URLs. */
export interface IdeogramOptions extends JobOptions {
  /** Generations at once per key; the provider's own default is 10. */
  maxInflight?: number
}

export interface IdeogramSettings extends JobSettings {
  maxInflight: number
  /** Account of a key, as after a rotation, where several keys open the same one. A key that is not named has its own. */
  accounts: Record<string, string>
}

export type IdeogramControl = ControlOf<IdeogramSettings> & {
  /** Signs with a new key from here on; the key set serves it and the one before. */
  rotateWebhookKey?: boolean
}

export const initialSettings = (options: IdeogramOptions): IdeogramSettings => ({
  ...jobSettings(options),
  maxInflight: options.maxInflight ?? 10,
  accounts: {},
})
