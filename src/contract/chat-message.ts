import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { jsonObject, record, strictObject } from './fields.ts'

/** What a conversation is made of: OpenAI's messages, tools and parts, as far as they are carried to providers. */

export const Text = v.pipe(
  v.string('must be text'),
  v.maxLength(LIMITS.chatTextCharacters, `must be at most ${LIMITS.chatTextCharacters} characters`),
)

/** A null is an absent field, as OpenAI's clients send it. */
export const optional = <const S extends v.GenericSchema>(schema: S) => v.nullish(schema)

/**
 * Text or a list: the kind of the value decides, so that an issue names the field inside the list and not the list, and
 * only one of the two is tried. `text` is what a text by itself must be.
 */
export const textOr = <const S extends v.GenericSchema>(list: S, text: v.GenericSchema<string> = Text) => {
  const union = v.union([text, list])
  return {
    ...union,
    '~run'(dataset, config) {
      const schema: v.GenericSchema = Array.isArray(dataset.value) ? list : text
      return schema['~run'](dataset, config)
    },
  } as typeof union
}

export const listOf = <const S extends v.GenericSchema>(item: S, most: number) =>
  v.pipe(
    v.array(item, 'must be a list'),
    v.minLength(1, 'must not be empty'),
    v.maxLength(most, `must hold at most ${most}`),
  )

const HTTP_URL = /^https?:\/\/[^\s]+$/i
const DATA_URI = /^data:image\/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]/

/** An address that the provider fetches, or the picture itself. */
const ImageUrl = v.pipe(
  v.string('must be text'),
  v.check(
    (text) => (text.length <= LIMITS.imageUrlCharacters ? HTTP_URL.test(text) : false) || DATA_URI.test(text),
    'must be an http(s) URL or a data URI of a PNG, JPEG, WebP or GIF in base64',
  ),
  v.maxLength(LIMITS.imageDataUriCharacters, `must be at most ${LIMITS.imageDataUriCharacters} characters`),
)

/** Where the prompt up to here should be kept in the provider's cache. */
const prompt_cache_breakpoint = v.optional(strictObject({ mode: v.literal('explicit', 'must be explicit') }))

const TextPart = strictObject({ type: v.literal('text'), text: Text, prompt_cache_breakpoint })
export type TextPart = v.InferOutput<typeof TextPart>

const ImagePart = strictObject({
  type: v.literal('image_url'),
  image_url: strictObject({
    url: ImageUrl,
    detail: v.optional(v.picklist(['auto', 'low', 'high'], 'must be auto, low or high')),
  }),
  prompt_cache_breakpoint,
})
export type ImagePart = v.InferOutput<typeof ImagePart>

const RefusalPart = strictObject({ type: v.literal('refusal'), refusal: Text })

const parts = <const S extends v.GenericSchema>(part: S) => listOf(part, LIMITS.partsPerMessage)

export const TextParts = parts(v.variant('type', [TextPart], 'must be text'))
const UserParts = parts(
  v.variant('type', [TextPart, ImagePart], 'must be text or image_url: audio and files are not taken'),
)
const AssistantParts = parts(v.variant('type', [TextPart, RefusalPart], 'must be text or refusal'))

const name = optional(
  v.pipe(
    v.string('must be text'),
    v.maxLength(LIMITS.nameCharacters, `must be at most ${LIMITS.nameCharacters} characters`),
  ),
)

/** Names of tools and schemas: the narrowest of the providers' rules. */
export const FunctionName = v.pipe(
  v.string('must be text'),
  v.regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, "_" and "-"'),
)

const CallId = v.pipe(
  v.string('must be text'),
  v.minLength(1, 'must not be empty'),
  v.maxLength(LIMITS.identifierCharacters, `must be at most ${LIMITS.identifierCharacters} characters`),
)

/**
 * State that a provider wants back with its own message, by provider: `{ "google": { "thought_signature": "…" } }`. It goes
 * to the provider that made it and is left out for every other.
 */
const ExtraContent = record(
  v.pipe(v.string(), v.maxLength(LIMITS.nameCharacters)),
  jsonObject(LIMITS.extraContentBytes),
)
export type ExtraContent = v.InferOutput<typeof ExtraContent>

/**
 * Not strict: an assistant's message is sent back as it was received, with whatever the provider or the client library had
 * added. What is not known here is left out.
 */
const ToolCall = v.object({
  id: CallId,
  type: v.literal('function', 'must be function: custom tools are not taken'),
  function: v.object({
    name: FunctionName,
    arguments: v.pipe(
      v.string('must be text'),
      v.maxLength(LIMITS.toolArgumentsCharacters, `must be at most ${LIMITS.toolArgumentsCharacters} characters`),
    ),
  }),
  extra_content: optional(ExtraContent),
})
export type ToolCall = v.InferOutput<typeof ToolCall>

const SystemMessage = strictObject({ role: v.picklist(['system', 'developer']), content: textOr(TextParts), name })
const UserMessage = strictObject({ role: v.literal('user'), content: textOr(UserParts), name })
const ToolMessage = strictObject({
  role: v.literal('tool'),
  content: textOr(TextParts),
  tool_call_id: CallId,
  /** Sent by some clients; no provider reads it. */
  name,
})
const AssistantMessage = v.pipe(
  v.object({
    role: v.literal('assistant'),
    content: optional(textOr(AssistantParts)),
    refusal: optional(Text),
    name,
    tool_calls: optional(
      v.pipe(
        v.array(ToolCall, 'must be a list'),
        v.maxLength(LIMITS.toolCallsPerMessage, `must hold at most ${LIMITS.toolCallsPerMessage}`),
      ),
    ),
    /** Thoughts that came with it: never sent on as text. */
    reasoning_content: optional(Text),
    extra_content: optional(ExtraContent),
  }),
  v.forward(
    v.check(
      (message) => (message.content ?? message.refusal ?? null) !== null || (message.tool_calls?.length ?? 0) > 0,
      'is required where there are no tool_calls',
    ),
    ['content'],
  ),
)

export const ChatMessage = v.variant(
  'role',
  [SystemMessage, UserMessage, AssistantMessage, ToolMessage],
  'must be developer, system, user, assistant or tool',
)
export type ChatMessage = v.InferOutput<typeof ChatMessage>
export type SystemMessage = v.InferOutput<typeof SystemMessage>
export type UserMessage = v.InferOutput<typeof UserMessage>
export type AssistantMessage = v.InferOutput<typeof AssistantMessage>
export type ToolMessage = v.InferOutput<typeof ToolMessage>

const description = v.optional(
  v.pipe(
    v.string('must be text'),
    v.maxLength(LIMITS.descriptionCharacters, `must be at most ${LIMITS.descriptionCharacters} characters`),
  ),
)
const strict = optional(v.boolean('must be true or false'))

export const Tool = strictObject({
  type: v.literal('function', 'must be function: custom tools are not taken'),
  function: strictObject({
    name: FunctionName,
    description,
    parameters: optional(jsonObject(LIMITS.schemaBytes)),
    strict,
  }),
})
export type Tool = v.InferOutput<typeof Tool>

const NamedTool = strictObject({
  type: v.literal('function', 'must be function'),
  function: strictObject({ name: FunctionName }),
})
const TOOL_CHOICE = 'must be none, auto, required or { "type": "function", "function": { "name" } }'

export const ToolChoice = v.union([v.picklist(['none', 'auto', 'required']), NamedTool], TOOL_CHOICE)
export type ToolChoice = v.InferOutput<typeof ToolChoice>

export const ResponseFormat = v.variant(
  'type',
  [
    strictObject({ type: v.literal('text') }),
    strictObject({ type: v.literal('json_object') }),
    strictObject({
      type: v.literal('json_schema'),
      json_schema: strictObject({
        name: FunctionName,
        description,
        schema: optional(jsonObject(LIMITS.schemaBytes)),
        strict,
      }),
    }),
  ],
  'must be text, json_object or json_schema',
)
export type ResponseFormat = v.InferOutput<typeof ResponseFormat>
