import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { integer, strictObject } from './fields.ts'

const age = v.optional(v.nullable(integer(1, LIMITS.retentionMaxSeconds)))

/** How long an instance keeps what is over, in seconds. What is absent or null has its default. */
export const RetentionConfig = strictObject({
  /** Jobs with their attempts, from their end on; batches, replays by filter. */
  jobs_s: age,
  /** Failed jobs that were neither replayed nor discarded. */
  dead_letters_s: age,
  events_s: age,
  /** Lines of the log that are no job's event. */
  logs_s: age,
  /** Pictures, from the end of their job on. */
  artifacts_s: age,
  /** Single lines of the ledger, before they are added up by day and project. */
  ledger_s: age,
  /** Usage by the hour; by the day it stays. */
  usage_hours_s: v.optional(v.nullable(integer(3_600, LIMITS.usageHoursKeepMs / 1000))),
  /** Jobs are written to the bucket before they are deleted. */
  archive: v.optional(v.boolean('must be true or false')),
  /** What was archived, from then on. */
  archive_s: age,
})
export type RetentionConfig = v.InferOutput<typeof RetentionConfig>
