import * as v from 'valibot'

export const DURABLE_EVENTS = [
  'job.queued',
  'job.started',
  'job.retrying',
  'job.fallback',
  'job.succeeded',
  'job.failed',
  'job.canceled',
  'job.replayed',
  'credential.disabled',
  'credential.cooled',
  'credential.restored',
  'budget.alert',
  'batch.completed',
] as const
export type DurableEvent = (typeof DURABLE_EVENTS)[number]
const EVENT_TYPES = [...DURABLE_EVENTS, 'job.progress', 'stream.gap'] as const
export type EventType = (typeof EVENT_TYPES)[number]

export const endsJob = (type: EventType): boolean =>
  type === 'job.succeeded' || type === 'job.failed' || type === 'job.canceled'

/**
 * One line of the instance's story: of a job, of one in a batch, or of the batch itself, where `job` is null. Durable events
 * are numbered without gaps from 1. `job.progress` is not durable: it bears the `seq` of the last durable event.
 * `stream.gap` says that what was asked for is no longer kept. What concerns no job, such as a credential, has none, and
 * belongs to no project.
 */
export const Event = v.object({
  seq: v.number(),
  type: v.picklist(EVENT_TYPES),
  job: v.nullable(v.string()),
  batch: v.optional(v.string()),
  at: v.string(),
  data: v.record(v.string(), v.any()),
})
export type Event = {
  seq: number
  type: EventType
  job: string | null
  /** The batch of the job, where it has one. */
  batch?: string
  at: string
  data: { [key: string]: unknown }
}
