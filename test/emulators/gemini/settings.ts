import { type CallOptions, type CallSettings, callSettings } from '../base/calls/settings.ts'
import type { ControlOf } from '../base/settings.ts'

export interface GeminiOptions extends CallOptions {
  /** false gives flat pictures, which cost next to nothing. */
  draw?: boolean
}

export interface GeminiSettings extends CallSettings {
  draw: boolean
}

export type GeminiControl = ControlOf<GeminiSettings>

export const initialSettings = (options: GeminiOptions): GeminiSettings => ({
  ...callSettings(options),
  draw: options.draw ?? true,
})
