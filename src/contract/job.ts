import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { ChatInput } from './chat.ts'
import { EmbedInput } from './embedding.ts'
import { ATTEMPT_FAULT_CODES } from './fault.ts'
import { integer, Metadata, ModelName, Name, refusingLists, strictObject, Timestamp, Usd } from './fields.ts'
import { ImageInput, ImageOutput } from './image.ts'
import { JobPrice } from './price.ts'
import { ChatOutput, EmbedOutput } from './text-output.ts'

export const STATUSES = ['scheduled', 'queued', 'running', 'succeeded', 'failed', 'canceled'] as const
export type Status = (typeof STATUSES)[number]
export type FinalStatus = 'succeeded' | 'failed' | 'canceled'

export const isFinal = (status: Status): status is FinalStatus =>
  status === 'succeeded' || status === 'failed' || status === 'canceled'

export const NODE_TYPES = ['image.generate@1', 'text.generate@1', 'text.embed@1'] as const
export type NodeType = (typeof NODE_TYPES)[number]

/** Without a version it is the newest. */
export const NODE_NAMES = ['image.generate', 'text.generate', 'text.embed'] as const
type NodeName = (typeof NODE_NAMES)[number]

const nodeType = <const N extends NodeName>(name: N) =>
  v.pipe(
    v.picklist([name, `${name}@1`]),
    v.transform((): `${N}@1` => `${name}@1`),
  )

/** What jobs of every type may say beside their input. */
const WISHES = {
  project: v.optional(v.nullable(Name)),
  models: v.optional(
    v.pipe(
      v.array(ModelName),
      v.minLength(1, 'must name a model'),
      v.maxLength(LIMITS.modelsPerJob, `must name at most ${LIMITS.modelsPerJob} models`),
    ),
  ),
  prefer: v.optional(v.picklist(['cost', 'speed', 'quality'], 'must be cost, speed or quality')),
  fallback: v.optional(v.boolean('must be true or false')),
  priority: v.optional(integer(0, LIMITS.priorityMax)),
  not_before: v.optional(v.nullable(Timestamp)),
  deadline_s: v.optional(integer(1, LIMITS.deadlineMaxSeconds)),
  max_attempts: v.optional(integer(1, LIMITS.attemptsMax)),
  max_cost_usd: v.optional(v.nullable(Usd)),
  on_content_rejected: v.optional(v.picklist(['fail', 'fallback'], 'must be fail or fallback')),
  on_outcome_unknown: v.optional(v.picklist(['fail', 'retry'], 'must be fail or retry')),
  bucket: v.optional(v.literal('default', 'must be default: other buckets are not configured')),
  metadata: v.optional(Metadata),
}

/**
 * `POST {base}/jobs`. The type decides what the input is. Unknown fields are refused, so that a misspelt one is never
 * silently ignored.
 */
export const JobRequest = refusingLists(
  v.variant(
    'type',
    [
      strictObject({ type: nodeType('image.generate'), input: ImageInput, ...WISHES }),
      strictObject({ type: nodeType('text.generate'), input: ChatInput, ...WISHES }),
      strictObject({ type: nodeType('text.embed'), input: EmbedInput, ...WISHES }),
    ],
    `must be one of ${NODE_NAMES.join(', ')}`,
  ),
)
export type JobRequest = v.InferOutput<typeof JobRequest>
export type ImageJobRequest = Extract<JobRequest, { type: 'image.generate@1' }>
export type TextJobRequest = Exclude<JobRequest, ImageJobRequest>

/** What a job came to: pictures, a completion, or embeddings. */
const JobOutput = v.union([ImageOutput, ChatOutput, EmbedOutput])
export type JobOutput = v.InferOutput<typeof JobOutput>

export const JobError = v.object({
  type: v.string(),
  code: v.picklist(ATTEMPT_FAULT_CODES),
  message: v.string(),
  param: v.nullable(v.string()),
  source: v.picklist(['switchyard', 'provider']),
})
export type JobError = v.InferOutput<typeof JobError>

const AttemptView = v.object({
  number: v.number(),
  model: v.string(),
  /** Why this model, and why again. */
  reason: v.string(),
  started_at: v.string(),
  ended_at: v.nullable(v.string()),
  outcome: v.nullable(v.picklist(['done', ...ATTEMPT_FAULT_CODES])),
  provider_request_id: v.nullable(v.string()),
  error: v.nullable(JobError),
})
export type AttemptView = v.InferOutput<typeof AttemptView>

const WAITING_FOR = ['provider_rate', 'concurrency', 'budget', 'breaker', 'not_before', 'order'] as const
export type WaitingFor = (typeof WAITING_FOR)[number]

const QueueView = v.object({
  position: v.nullable(v.number()),
  waiting_for: v.picklist(WAITING_FOR),
  /** Name of the limit that holds it, such as `instance:prod:provider:ideogram`. */
  limit: v.nullable(v.string()),
  estimated_start_at: v.nullable(v.string()),
})

/** The job as the Instance tells it: artifacts without their URLs, links not yet made. */
export const JobRecord = v.object({
  id: v.string(),
  object: v.literal('job'),
  type: v.picklist(NODE_TYPES),
  status: v.picklist(STATUSES),
  instance: v.string(),
  project: v.nullable(v.string()),
  priority: v.number(),
  /** Null where a client waited on the line: what it asked passed the Worker only. */
  input: v.nullable(v.union([ImageInput, ChatInput, EmbedInput])),
  output: v.nullable(JobOutput),
  error: v.nullable(JobError),
  model: v.nullable(v.string()),
  progress: v.number(),
  attempts: v.array(AttemptView),
  /** Attempts that were made and are not shown: a rate limit met again and again. */
  attempts_left_out: v.number(),
  /** Models that could have been asked and were not, with the reason. */
  skipped: v.array(v.object({ model: v.string(), reason: v.string() })),
  cost_usd: v.nullable(v.number()),
  /** Held of the budgets now; null where nothing is. */
  held_usd: v.nullable(v.number()),
  /** Expected price of the attempt under way or next; null where nobody knows. */
  estimate_usd: v.nullable(v.number()),
  /** What the job was judged by on `model`; null where no price is known. */
  price: v.nullable(JobPrice),
  /** `images`, or tokens by kind, such as `input_tokens`. */
  usage: v.nullable(v.record(v.string(), v.number())),
  /** True where the provider of a text told no usage and it was counted here. */
  usage_estimated: v.boolean(),
  timing: v.object({
    queued_ms: v.nullable(v.number()),
    provider_ms: v.nullable(v.number()),
    store_ms: v.nullable(v.number()),
    total_ms: v.nullable(v.number()),
  }),
  queue: v.nullable(QueueView),
  /** The batch it was submitted with, or null. */
  batch: v.nullable(v.string()),
  /** How often it was replayed. */
  replays: v.number(),
  /** When it was taken off the dead letters, or null. */
  discarded_at: v.nullable(v.string()),
  metadata: v.record(v.string(), v.string()),
  request_id: v.string(),
  created_at: v.string(),
  started_at: v.nullable(v.string()),
  ended_at: v.nullable(v.string()),
  /** From when on it is no longer kept, or only in the archive; null while it has not ended. */
  expires_at: v.nullable(v.string()),
  /** From when on its pictures are gone; null where it has none. */
  artifacts_expire_at: v.nullable(v.string()),
  /** Read from the archive: it can only be read any more. */
  archived: v.boolean(),
})
export type JobRecord = v.InferOutput<typeof JobRecord>

const Urls = v.object({ get: v.string(), cancel: v.string(), replay: v.string(), events: v.string() })

const ShownImages = v.object({
  ...ImageOutput.entries,
  images: v.array(v.object({ ...ImageOutput.entries.images.item.entries, url: v.nullable(v.string()) })),
})

/** The job as a client sees it. */
export const Job = v.object({
  ...JobRecord.entries,
  output: v.nullable(v.union([ShownImages, ChatOutput, EmbedOutput])),
  urls: Urls,
})
export type AnyJob = v.InferOutput<typeof Job>
export type ShownOutput = NonNullable<AnyJob['output']>
/** For one who knows what was asked for. */
export type Job<O = v.InferOutput<typeof ShownImages>, I = ImageInput> = Omit<AnyJob, 'input' | 'output'> & {
  input: I | null
  output: O | null
}

export const JobPage = v.object({ data: v.array(Job), next: v.nullable(v.string()) })
