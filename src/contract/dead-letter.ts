import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { ATTEMPT_FAULT_CODES } from './fault.ts'
import { integer, ModelName, Name, strictObject, Timestamp } from './fields.ts'
import { Job, type JobRecord, NODE_NAMES, NODE_TYPES } from './job.ts'

/** Which dead letters are meant: every field that is named must hold. `from` and `to` (exclusive) are about the failure. */
export const DEAD_LETTER_FILTER = {
  code: v.optional(v.picklist(ATTEMPT_FAULT_CODES, 'must be the code of a fault')),
  type: v.optional(v.picklist([...NODE_NAMES, ...NODE_TYPES], 'must be a node type')),
  model: v.optional(ModelName),
  provider: v.optional(Name),
  project: v.optional(Name),
  from: v.optional(Timestamp),
  to: v.optional(Timestamp),
}
const Filter = strictObject(DEAD_LETTER_FILTER)
export type DeadLetterFilter = v.InferOutput<typeof Filter>

export const ReplayRequest = strictObject({
  ...DEAD_LETTER_FILTER,
  rate_per_minute: v.optional(integer(1, LIMITS.replaysPerMinuteMax)),
})
export type ReplayRequest = v.InferOutput<typeof ReplayRequest>

/** Discarding cannot be taken back, so that everything must be meant in words. */
export const DiscardRequest = v.pipe(
  strictObject({ ...DEAD_LETTER_FILTER, all: v.optional(v.literal(true, 'must be true')) }),
  v.forward(
    v.check((request) => Object.keys(request).length > 0, 'must be true where no field of the filter is given'),
    ['all'],
  ),
)
export type DiscardRequest = v.InferOutput<typeof DiscardRequest>

export const Discarded = v.object({
  discarded: v.number(),
  /** True where more may match: ask again. */
  more: v.boolean(),
})
export type Discarded = v.InferOutput<typeof Discarded>

/** `complete` is false where only the oldest were counted. */
const Summary = v.object({ total: v.number(), codes: v.record(v.string(), v.number()), complete: v.boolean() })

export const DeadLetterPage = v.object({
  data: v.array(Job),
  next: v.nullable(v.string()),
  summary: v.optional(Summary),
})
export type DeadLetterRecords = {
  data: JobRecord[]
  next: string | null
  summary?: v.InferOutput<typeof Summary>
}

export const REPLAY_STATUSES = ['running', 'completed', 'canceled'] as const

/** A replay by filter, as the Instance tells it: links not yet made. */
export const ReplayRecord = v.object({
  id: v.string(),
  object: v.literal('replay'),
  instance: v.string(),
  project: v.nullable(v.string()),
  status: v.picklist(REPLAY_STATUSES),
  filter: v.object(DEAD_LETTER_FILTER),
  rate_per_minute: v.number(),
  /** Dead letters that matched when it was ordered. */
  matched: v.number(),
  /** False where only the oldest dead letters were looked at: order again for the rest, or name `from`. */
  complete: v.boolean(),
  replayed: v.number(),
  /** Jobs that no provider could take: they stay dead letters. */
  failed_to_replay: v.number(),
  request_id: v.string(),
  created_at: v.string(),
  ended_at: v.nullable(v.string()),
})
export type ReplayRecord = v.InferOutput<typeof ReplayRecord>

export const Replay = v.object({ ...ReplayRecord.entries, urls: v.object({ get: v.string(), cancel: v.string() }) })
export type Replay = v.InferOutput<typeof Replay>

export const ReplayPage = v.object({ data: v.array(Replay), next: v.nullable(v.string()) })
