import * as v from 'valibot'
import { CompletionUsage } from './usage.ts'

/** What a chat is answered with: OpenAI's completion and chunks, whoever the provider was. */

export const FINISH_REASONS = ['stop', 'length', 'tool_calls', 'content_filter'] as const
/** The older `function_call` is not made: functions are not taken. */
export type FinishReason = (typeof FINISH_REASONS)[number]

const Json = v.unknown()
const ExtraContent = v.optional(v.record(v.string(), v.record(v.string(), Json)))

/** As OpenAI has them; only it and some local servers give them. */
const Logprobs = v.nullable(
  v.object({ content: v.nullable(v.array(Json)), refusal: v.optional(v.nullable(v.array(Json))) }),
)

const Message = v.object({
  role: v.literal('assistant'),
  content: v.nullable(v.string()),
  refusal: v.nullable(v.string()),
  tool_calls: v.optional(
    v.array(
      v.object({
        id: v.string(),
        type: v.literal('function'),
        function: v.object({ name: v.string(), arguments: v.string() }),
        extra_content: ExtraContent,
      }),
    ),
  ),
  /** The model's thoughts, where the provider shows them. */
  reasoning_content: v.optional(v.string()),
  annotations: v.optional(v.array(Json)),
  extra_content: ExtraContent,
})
export type CompletionMessage = v.InferOutput<typeof Message>

/** The answer of one call. `model` is what the provider calls it, such as a dated version. */
export const Completion = v.object({
  id: v.string(),
  object: v.literal('chat.completion'),
  /** Unix seconds. */
  created: v.number(),
  model: v.string(),
  choices: v.array(
    v.object({
      index: v.number(),
      message: Message,
      logprobs: Logprobs,
      finish_reason: v.picklist(FINISH_REASONS),
    }),
  ),
  usage: v.optional(CompletionUsage),
  service_tier: v.optional(v.nullable(v.string())),
  system_fingerprint: v.optional(v.nullable(v.string())),
})
export type Completion = v.InferOutput<typeof Completion>
export type Choice = Completion['choices'][number]

const Delta = v.object({
  role: v.optional(v.literal('assistant')),
  content: v.optional(v.nullable(v.string())),
  refusal: v.optional(v.nullable(v.string())),
  tool_calls: v.optional(
    v.array(
      v.object({
        index: v.number(),
        id: v.optional(v.string()),
        type: v.optional(v.literal('function')),
        function: v.optional(v.object({ name: v.optional(v.string()), arguments: v.optional(v.string()) })),
        extra_content: ExtraContent,
      }),
    ),
  ),
  reasoning_content: v.optional(v.string()),
  extra_content: ExtraContent,
})
export type Delta = v.InferOutput<typeof Delta>

/** One `data:` of a stream. The last before `[DONE]` has no choices and the usage, where that was asked for. */
export const CompletionChunk = v.object({
  id: v.string(),
  object: v.literal('chat.completion.chunk'),
  created: v.number(),
  model: v.string(),
  choices: v.array(
    v.object({
      index: v.number(),
      delta: Delta,
      logprobs: v.optional(Logprobs),
      finish_reason: v.nullable(v.picklist(FINISH_REASONS)),
    }),
  ),
  usage: v.optional(v.nullable(CompletionUsage)),
  service_tier: v.optional(v.nullable(v.string())),
  system_fingerprint: v.optional(v.nullable(v.string())),
})
export type CompletionChunk = v.InferOutput<typeof CompletionChunk>
