import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { Metadata, Name, strictObject } from './fields.ts'
import { JobRequest } from './job.ts'

/** `POST {base}/batches`. `project` is that of every job; one that names another is refused. */
export const BatchRequest = strictObject({
  jobs: v.pipe(
    v.array(JobRequest),
    v.minLength(1, 'must hold a job'),
    v.maxLength(LIMITS.jobsPerBatch, `must hold at most ${LIMITS.jobsPerBatch} jobs`),
  ),
  project: v.optional(v.nullable(Name)),
  metadata: v.optional(Metadata),
})
export type BatchRequest = v.InferOutput<typeof BatchRequest>

/** `partial`: some jobs succeeded and some did not. `failed`: all ended, none succeeded, and not all were canceled. */
const BATCH_STATUSES = ['queued', 'running', 'succeeded', 'partial', 'failed', 'canceled'] as const
export type BatchStatus = (typeof BATCH_STATUSES)[number]

/** Jobs by status. */
const BatchCounts = v.object({
  scheduled: v.number(),
  queued: v.number(),
  running: v.number(),
  succeeded: v.number(),
  failed: v.number(),
  canceled: v.number(),
})
export type BatchCounts = v.InferOutput<typeof BatchCounts>

/** The batch as the Instance tells it: links not yet made. */
export const BatchRecord = v.object({
  id: v.string(),
  object: v.literal('batch'),
  instance: v.string(),
  project: v.nullable(v.string()),
  status: v.picklist(BATCH_STATUSES),
  counts: BatchCounts,
  progress: v.number(),
  /** Null while it goes on, and where the cost of an ended job is unknown. */
  cost_usd: v.nullable(v.number()),
  /** The part of the cost that is known. */
  cost_known_usd: v.number(),
  /** In the order of the request. */
  jobs: v.array(v.string()),
  metadata: v.record(v.string(), v.string()),
  request_id: v.string(),
  created_at: v.string(),
  ended_at: v.nullable(v.string()),
})
export type BatchRecord = v.InferOutput<typeof BatchRecord>

export const Batch = v.object({
  ...BatchRecord.entries,
  urls: v.object({ get: v.string(), cancel: v.string(), jobs: v.string(), events: v.string() }),
})
export type Batch = v.InferOutput<typeof Batch>

export const BatchPage = v.object({ data: v.array(Batch), next: v.nullable(v.string()) })
