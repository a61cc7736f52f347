import * as v from 'valibot'
import { ATTEMPT_FAULT_CODES, type AttemptFaultCode, type Fault } from '../contract/fault.ts'
import { NODE_TYPES, STATUSES, type Status } from '../contract/job.ts'
import type { PriceSnapshot } from '../contract/price.ts'
import type { ModelHold } from '../core/call-bound.ts'
import { JSON_COLUMNS } from './unreadable.ts'

/** Rows of jobs and attempts as the database has them, and what is read out of them. */

const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const time = v.nullable(count)
const text = v.nullable(v.string())
/** Rows of an earlier version may hold one below zero, of a clock that was set back. */
const duration = v.nullable(
  v.pipe(
    v.number(),
    v.integer(),
    v.transform((ms) => Math.max(0, ms)),
  ),
)

/** A job's money: what its next or present attempt should cost, what is held for it and since which day, what is booked. */
const moneyOfRow = {
  estimate_micros: time,
  held_micros: time,
  held_day: text,
  spent_micros: count,
  /** The budget that it waits for. */
  budget_scope: text,
}
export type MoneyOfRow = v.InferOutput<v.ObjectSchema<typeof moneyOfRow, undefined>>

export const JobRow = v.object({
  id: v.string(),
  status: v.picklist(STATUSES),
  due_at_ms: time,
  provider: v.string(),
  model: v.string(),
  tag: v.number(),
  queued_at_ms: count,
  tokens: count,
  lane: v.nullable(count),
  attempt: count,
  counted: count,
  deadline_at_ms: count,
  created_at_ms: count,
  started_at_ms: time,
  ended_at_ms: time,
  provider_ms: duration,
  store_ms: duration,
  cost_micros: time,
  type: v.picklist(NODE_TYPES),
  project: text,
  priority: count,
  request_id: v.string(),
  input: v.string(),
  wishes: v.string(),
  metadata: v.string(),
  resume: text,
  output: text,
  fault: text,
  open_attempt: text,
  ...moneyOfRow,
  /** While it waits for a budget its deadline stands still: what was left of it. */
  deadline_left_ms: time,
  batch: text,
  replays: count,
  /** Attempts up to this one belong to what was before the last replay. */
  round_after: count,
  /** The replay by filter that replayed it last. */
  replayed_by: text,
  discarded_at_ms: time,
  /** 1 where a client waits on the line and the Worker drives the attempts. */
  foreground: count,
  /** JSON of the `Usage` of the attempt that served it. */
  usage: text,
})
export type JobRow = v.InferOutput<typeof JobRow>
/** Where the JSON columns are looked into, too. */
export const CarefulRow = v.object({ ...JobRow.entries, ...JSON_COLUMNS })

export const AttemptRow = v.object({
  number: count,
  model: v.string(),
  credential: v.string(),
  /** The number of the secret with which it began. */
  secret: count,
  reason: v.string(),
  started_at_ms: count,
  ended_at_ms: time,
  outcome: v.nullable(v.picklist(['done', ...ATTEMPT_FAULT_CODES])),
  provider_request_id: text,
  cost_micros: time,
  fault: text,
})
export type AttemptRow = v.InferOutput<typeof AttemptRow>

/** The attempt that runs, as it stands on its job's row until it ends: its intent costs no row of its own. */
const OpenAttempt = v.object({
  number: count,
  model: v.string(),
  credential: v.string(),
  secret: count,
  reason: v.string(),
  started_at_ms: count,
})

export type OpenAttempt = v.InferOutput<typeof OpenAttempt>

/** How an attempt ended. `costMicros` is null where nobody knows. */
export type AttemptClose = {
  at: number
  outcome: 'done' | AttemptFaultCode
  providerRequestId: string | null
  costMicros: number | null
  fault: Fault | null
}

/** A running job as far as its lane and its credential go. */
export type RunningJob = {
  id: string
  attempt: number
  /** Null where a Worker drives it on the line. */
  lane: number | null
  model: string
  credential: string
  started_at_ms: number
}

/** What the job asked for beyond its input, as one JSON column. */
export type Wishes = {
  models: string[]
  fallback: boolean
  maxAttempts: number
  onContentRejected: 'fail' | 'fallback'
  onOutcomeUnknown: 'fail' | 'retry'
  maxCostMicros: number | null
  prefer: 'cost' | 'speed' | 'quality' | null
  /** Why the first model was chosen, and which were not. */
  reason: string
  skipped: { model: string; reason: string }[]
  /** The whole length of the deadline, for a replay; rows of an earlier version have none. */
  deadlineMs?: number
  /** What the job was judged by, per model that has a price; left out in jobs of versions that kept none. */
  prices?: Record<string, PriceSnapshot>
  /** Of calls of text, what is held for them by model that has a price; left out by versions that held what was expected. */
  holds?: Record<string, ModelHold>
}

export type NewJob = Omit<
  JobRow,
  | 'lane'
  | 'attempt'
  | 'counted'
  | 'started_at_ms'
  | 'ended_at_ms'
  | 'provider_ms'
  | 'store_ms'
  | 'cost_micros'
  | 'resume'
  | 'output'
  | 'fault'
  | 'open_attempt'
  | 'deadline_left_ms'
  | keyof MoneyOfRow
  | 'batch'
  | 'replays'
  | 'round_after'
  | 'replayed_by'
  | 'discarded_at_ms'
  | 'foreground'
  | 'usage'
> & { batch?: string | null; foreground?: number }

export const SetAside = v.object({
  id: v.string(),
  project: text,
  request_id: v.string(),
  provider: v.string(),
  attempt: count,
  open_attempt: text,
})
/** A job that was ended without being read. */
export type SetAside = v.InferOutput<typeof SetAside>

export type JobFilter = {
  status?: Status
  type?: string
  project?: string
  batch?: string
  before?: string
  limit: number
}

export const COLUMNS = Object.keys(JobRow.entries) as (keyof JobRow)[]
/** What a job is asked for does not change, and is the longest part of its row. */
const FIXED: (keyof JobRow)[] = [
  'id',
  'type',
  'project',
  'request_id',
  'input',
  'wishes',
  'metadata',
  'batch',
  'foreground',
  'created_at_ms',
]
export const CHANGING = COLUMNS.filter((column) => !FIXED.includes(column))
export const NOTHING_YET = {
  lane: null,
  attempt: 0,
  counted: 0,
  started_at_ms: null,
  ended_at_ms: null,
  provider_ms: null,
  store_ms: null,
  cost_micros: null,
  resume: null,
  output: null,
  fault: null,
  open_attempt: null,
  deadline_left_ms: null,
  batch: null,
  replays: 0,
  round_after: 0,
  replayed_by: null,
  discarded_at_ms: null,
  foreground: 0,
  usage: null,
} as const

export const readOpenAttempt = (text: string | null): OpenAttempt | null => {
  const parsed = text === null ? null : v.safeParse(v.pipe(v.string(), v.parseJson(), OpenAttempt), text)
  return parsed?.success ? parsed.output : null
}

export const openAttemptOf = (row: JobRow | null): AttemptRow | null => {
  const open = readOpenAttempt(row?.open_attempt ?? null)
  return (
    open && {
      ...open,
      ended_at_ms: null,
      outcome: null,
      provider_request_id: null,
      cost_micros: null,
      fault: null,
    }
  )
}
