import { type CommonOptions, type CommonSettings, commonSettings } from '../settings.ts'

/** Of the emulators where a request starts a job, which runs, may be asked after, and leaves pictures to fetch. */

export interface JobOptions extends CommonOptions {
  /** How long what a job left can be fetched after its end. Default one hour. */
  urlLifetimeMs?: number
  /** false gives flat pictures in the right size, which cost next to nothing. */
  draw?: boolean
}

export interface JobSettings extends CommonSettings {
  /** Up to this much is added to the latency, evenly spread. */
  latencyJitterMs: number
  urlLifetimeMs: number
  draw: boolean
  /** The wire takes public HTTPS hosts only; tests receive webhooks on this machine. */
  allowLoopbackWebhooks: boolean
}

export const jobSettings = (options: JobOptions): JobSettings => ({
  ...commonSettings(options),
  latencyJitterMs: 0,
  urlLifetimeMs: options.urlLifetimeMs ?? 3_600_000,
  draw: options.draw ?? true,
  allowLoopbackWebhooks: false,
})
