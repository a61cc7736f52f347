import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { ChatMessage, listOf, optional, ResponseFormat, TextParts, Tool, ToolChoice, textOr } from './chat-message.ts'
import { integer, JsonObject, record, strictObject } from './fields.ts'
import { FOREGROUND, withoutNulls } from './foreground.ts'

/**
 * `POST {base}/chat/completions` and `text.generate@1`: OpenAI's chat request, with Switchyard's own fields beside it.
 * Fields that are not known are refused (docs/decisions/0023), a provider's own stand in `provider_options`.
 */

const flag = optional(v.boolean('must be true or false'))
const number = (low: number, high: number) =>
  v.pipe(
    v.number('must be a number'),
    v.finite('must be finite'),
    v.minValue(low, `must be at least ${low}`),
    v.maxValue(high, `must be at most ${high}`),
  )
const identifier = optional(
  v.pipe(
    v.string('must be text'),
    v.maxLength(LIMITS.identifierCharacters, `must be at most ${LIMITS.identifierCharacters} characters`),
  ),
)

const StopText = v.pipe(
  v.string('must be text'),
  v.minLength(1, 'must not be empty'),
  v.maxLength(LIMITS.stopCharacters, `must be at most ${LIMITS.stopCharacters} characters`),
)

export const REASONING_EFFORTS = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
export type ReasoningEffort = (typeof REASONING_EFFORTS)[number]

const tokenLimit = optional(integer(1, LIMITS.outputTokensMax))

const LogitBias = v.pipe(
  record(v.pipe(v.string(), v.regex(/^\d{1,7}$/, 'must be a token id')), integer(-100, 100)),
  v.check((value) => Object.keys(value).length <= LIMITS.logitBiases, `must hold at most ${LIMITS.logitBiases} tokens`),
)

/** What a model is asked, whoever asks: a chat on the line or a job. */
const INPUT = {
  messages: listOf(ChatMessage, LIMITS.messagesPerChat),
  tools: optional(listOf(Tool, LIMITS.toolsPerChat)),
  tool_choice: optional(ToolChoice),
  parallel_tool_calls: flag,
  response_format: optional(ResponseFormat),
  max_completion_tokens: tokenLimit,
  /** The older name of `max_completion_tokens`. */
  max_tokens: tokenLimit,
  n: optional(integer(1, LIMITS.choicesPerChat)),
  stop: optional(textOr(listOf(StopText, LIMITS.stopSequences), StopText)),
  seed: optional(integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)),
  temperature: optional(number(0, 2)),
  top_p: optional(number(0, 1)),
  frequency_penalty: optional(number(-2, 2)),
  presence_penalty: optional(number(-2, 2)),
  logprobs: flag,
  top_logprobs: optional(integer(0, LIMITS.topLogprobs)),
  logit_bias: optional(LogitBias),
  reasoning_effort: optional(v.picklist(REASONING_EFFORTS, `must be one of ${REASONING_EFFORTS.join(', ')}`)),
  verbosity: optional(v.picklist(['low', 'medium', 'high'], 'must be low, medium or high')),
  service_tier: optional(
    v.picklist(
      ['auto', 'default', 'flex', 'scale', 'priority', 'fast'],
      'must be auto, default, flex, scale, priority or fast',
    ),
  ),
  prediction: optional(strictObject({ type: v.literal('content', 'must be content'), content: textOr(TextParts) })),
  modalities: optional(
    v.pipe(
      v.array(v.literal('text', 'must be text: audio is not made'), 'must be a list'),
      v.minLength(1, 'must not be empty'),
      v.maxLength(1, 'must hold text alone'),
    ),
  ),
  prompt_cache_key: identifier,
  prompt_cache_options: optional(
    strictObject({
      mode: v.optional(v.picklist(['implicit', 'explicit'], 'must be implicit or explicit')),
      ttl: v.optional(v.literal('30m', 'must be 30m')),
    }),
  ),
  prompt_cache_retention: optional(v.picklist(['in_memory', '24h'], 'must be in_memory or 24h')),
  safety_identifier: identifier,
  /** The older name of `safety_identifier`. */
  user: identifier,
  store: flag,
  /** A provider's own fields, by provider; they reach that provider as they stand here. */
  provider_options: v.optional(record(v.pipe(v.string(), v.maxLength(LIMITS.nameCharacters)), JsonObject)),
}

type Limits = { max_tokens?: number | undefined; max_completion_tokens?: number | undefined }

/** Two limits that differ: which one is meant cannot be told. */
const hasOneLimit = ({ max_tokens: older, max_completion_tokens: limit }: Limits): boolean =>
  older === undefined || limit === undefined || older === limit

const ONE_LIMIT = 'and max_completion_tokens are two names of one limit, and differ'

type Called = { tools?: Tool[] | undefined; tool_choice?: ToolChoice | undefined }

/** None and auto may stand without tools: some clients always send one. */
const choosesAmongTools = ({ tools, tool_choice: choice }: Called): boolean => {
  if (choice === undefined || choice === 'none' || choice === 'auto') return true
  if (choice === 'required') return tools !== undefined
  return tools?.some((tool) => tool.function.name === choice.function.name) ?? false
}

const AMONG_TOOLS = 'must choose among the tools of the request'

/** OpenAI takes them with a stream alone: elsewhere whoever sends them waits for a chunk that never comes. */
const OF_STREAMS = 'is only taken with stream: true'

export const ChatInput = v.pipe(
  strictObject(INPUT),
  v.transform((value) => withoutNulls(value)),
  v.forward(
    v.check((value) => hasOneLimit(value), ONE_LIMIT),
    ['max_tokens'],
  ),
  v.forward(
    v.check((value) => choosesAmongTools(value), AMONG_TOOLS),
    ['tool_choice'],
  ),
)
export type ChatInput = v.InferOutput<typeof ChatInput>

export const ChatRequest = v.pipe(
  strictObject({
    ...INPUT,
    ...FOREGROUND,
    stream: flag,
    stream_options: optional(strictObject({ include_usage: flag, include_obfuscation: flag })),
  }),
  v.transform((value) => withoutNulls(value)),
  v.forward(
    v.check((value) => hasOneLimit(value), ONE_LIMIT),
    ['max_tokens'],
  ),
  v.forward(
    v.check((value) => choosesAmongTools(value), AMONG_TOOLS),
    ['tool_choice'],
  ),
  v.forward(
    v.check(({ stream, stream_options }) => stream === true || stream_options === undefined, OF_STREAMS),
    ['stream_options'],
  ),
)
export type ChatRequest = v.InferOutput<typeof ChatRequest>

/** Most tokens that one choice may generate, by either name; null where the request sets none. */
export const outputLimitOf = (input: ChatInput): number | null =>
  input.max_completion_tokens ?? input.max_tokens ?? null

/** The stop sequences as a list. */
export const stopsOf = ({ stop }: ChatInput): string[] =>
  stop === undefined ? [] : typeof stop === 'string' ? [stop] : stop

/** The text of a message's content, its parts joined as they follow each other; pictures are left out. */
export const textOf = (content: ChatMessage['content']): string => {
  if (typeof content === 'string') return content
  let text = ''
  for (const part of content ?? []) {
    if (part.type === 'text') text += part.text
    else if (part.type === 'refusal') text += part.refusal
  }
  return text
}
