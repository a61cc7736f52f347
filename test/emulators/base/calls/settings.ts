import { type CommonOptions, type CommonSettings, commonSettings } from '../settings.ts'

/** Of the emulators whose answer to a call is what was asked for, whole or as a stream. */

export interface CallOptions extends CommonOptions {
  /** Between the events of a stream. Default 0. */
  chunkDelayMs?: number
}

export interface CallSettings extends CommonSettings {
  chunkDelayMs: number
  /** Pieces of text in an answer whose prompt asks for no number of them. */
  chunks: number
  /** Checks requests against the reference; off for runs that measure something else. */
  validate: boolean
  /** A sliding minute per key and model; 0 is no limit. */
  requestsPerMinute: number
  tokensPerMinute: number
}

export const callSettings = (options: CallOptions): CallSettings => ({
  ...commonSettings(options),
  chunkDelayMs: options.chunkDelayMs ?? 0,
  chunks: 8,
  validate: true,
  requestsPerMinute: 0,
  tokensPerMinute: 0,
})
