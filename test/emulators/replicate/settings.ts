import { type JobOptions, type JobSettings, jobSettings } from '../base/jobs/settings.ts'
import type { ControlOf } from '../base/settings.ts'

/** The provider keeps inputs, outputs and files for an hour after the end. */
export interface ReplicateOptions extends JobOptions {
  /** Creates a minute per token; the provider's own default is 600. */
  createsPerMinute?: number
}

export interface ReplicateSettings extends JobSettings {
  /** How long a prediction is `starting` before it is `processing`. */
  bootMs: number
  createsPerMinute: number
  /** Creates that may come at once; the provider names it for accounts of little credit: 1, at 6 a minute. */
  createsBurst: number
  /** All other calls. */
  requestsPerMinute: number
  /** What `Prefer: wait` answers when the output is there: as recorded (processing, data URIs), or the final object. */
  waitAnswer: 'recorded' | 'final'
  /** Whether predictions show their webhook; the reference does not list the field, the official client's types do. */
  showWebhook: boolean
  /** Predictions to a page of the list. */
  pageSize: number
  /** How long a prediction is missing from the list. */
  listLagMs: number
  /** Lists that are answered with a 500 from here on. */
  listFailures: number
  /** Between deliveries of a webhook that was not taken; three are made in all. */
  webhookRetryMs: number
}

export type ReplicateControl = ControlOf<ReplicateSettings> & {
  /** Signs with a new secret from here on. */
  rotateWebhookSecret?: boolean
}

export const initialSettings = (options: ReplicateOptions): ReplicateSettings => ({
  ...jobSettings(options),
  bootMs: 0,
  createsPerMinute: options.createsPerMinute ?? 600,
  createsBurst: options.createsPerMinute ?? 600,
  requestsPerMinute: 3_000,
  waitAnswer: 'recorded',
  showWebhook: true,
  pageSize: 100,
  listLagMs: 0,
  listFailures: 0,
  webhookRetryMs: 500,
})

export const problemWithSettings = ({ waitAnswer }: Partial<ReplicateSettings>): string | undefined =>
  waitAnswer === undefined || waitAnswer === 'recorded' || waitAnswer === 'final'
    ? undefined
    : 'waitAnswer must be recorded or final'
