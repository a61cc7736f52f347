import * as v from 'valibot'
import { type ChatInput, outputLimitOf, type ReasoningEffort, stopsOf } from '../contract/chat.ts'
import { integer, strictObject } from '../contract/fields.ts'
import { LIMITS } from '../limits.ts'
import { DECIDING_FIELDS, type Flavor, LEANING_FIELDS } from './chat-flavor.ts'
import type { ChatCall, ChatCard, Encoded, Refusal } from './dialect.ts'
import { conversationOf } from './gemini-messages.ts'
import { geminiHeaders, geminiUrl, generationOf } from './gemini-wire.ts'
import { refusesChat } from './openai-request.ts'

/** A chat to the body of Gemini's `generateContent`, or the reason why this model cannot be asked. */

/** Of OpenAI's dialect only what is taken counts here: the wire is another. */
export const geminiFlavor: Flavor = {
  id: 'google',
  name: 'Gemini',
  reach: ({ baseUrl, secret }) => ({ root: baseUrl, headers: geminiHeaders(secret) }),
  limitField: 'max_tokens',
  developerRole: false,
  takes: new Set<keyof ChatInput>([
    ...DECIDING_FIELDS.filter((field) => field !== 'logit_bias'),
    'temperature',
    'top_p',
    'frequency_penalty',
    'presence_penalty',
    'seed',
    'reasoning_effort',
    'service_tier',
    'modalities',
  ]),
  nativeFields: new Set(['safetySettings', 'cachedContent', 'generationConfig']),
  strictTerminator: false,
}

const CATEGORIES = [
  'HARM_CATEGORY_HARASSMENT',
  'HARM_CATEGORY_HATE_SPEECH',
  'HARM_CATEGORY_SEXUALLY_EXPLICIT',
  'HARM_CATEGORY_DANGEROUS_CONTENT',
  'HARM_CATEGORY_CIVIC_INTEGRITY',
  'HARM_CATEGORY_JAILBREAK',
] as const
const THRESHOLDS = ['BLOCK_LOW_AND_ABOVE', 'BLOCK_MEDIUM_AND_ABOVE', 'BLOCK_ONLY_HIGH', 'BLOCK_NONE', 'OFF'] as const
const RESOLUTIONS = ['MEDIA_RESOLUTION_LOW', 'MEDIA_RESOLUTION_MEDIUM', 'MEDIA_RESOLUTION_HIGH'] as const

export const SafetySettings = v.pipe(
  v.array(strictObject({ category: v.picklist(CATEGORIES), threshold: v.picklist(THRESHOLDS) })),
  v.maxLength(CATEGORIES.length),
)

/** Its search, maps and code are not here: they are billed in ways that no usage tells. */
const Native = strictObject({
  safetySettings: v.optional(SafetySettings),
  cachedContent: v.optional(v.pipe(v.string(), v.regex(/^cachedContents\/[\w-]{1,128}$/))),
  generationConfig: v.optional(
    strictObject({
      topK: v.optional(integer(1, 1_000)),
      mediaResolution: v.optional(v.picklist(RESOLUTIONS)),
      thinkingConfig: v.optional(
        strictObject({
          includeThoughts: v.optional(v.boolean()),
          thinkingBudget: v.optional(integer(-1, LIMITS.outputTokensMax)),
        }),
      ),
    }),
  ),
})

/** As Google's older API had it: more candidates than this are refused. */
const CANDIDATES_MAX = 8

export const refusesGemini = (card: ChatCard, input: ChatInput): Refusal | null => {
  const known = refusesChat(geminiFlavor, card, input) ?? refusesNative(input)
  if (known) return known
  if ((input.n ?? 1) > CANDIDATES_MAX)
    return { param: 'n', message: `${card.model} answers at most ${CANDIDATES_MAX} times.` }
  if (generationOf(card.model) < 3 && wantsJson(input) && input.tools)
    return { param: 'response_format', message: `${card.model} does not keep to a format where it has tools.` }
  const conversation = conversationOf(card.model, input.messages)
  return conversation.ok ? null : conversation.refusal
}

const refusesNative = (input: ChatInput): Refusal | null => {
  const at = 'provider_options.google'
  const native = v.safeParse(Native, input.provider_options?.['google'] ?? {})
  if (!native.success) {
    const field = v.getDotPath(native.issues[0])
    return { param: field === null ? at : `${at}.${field}`, message: 'is not a field, or not a value, of Gemini.' }
  }
  const budget = native.output.generationConfig?.thinkingConfig?.thinkingBudget
  return budget !== undefined && input.reasoning_effort !== undefined
    ? {
        param: `${at}.generationConfig.thinkingConfig.thinkingBudget`,
        message: 'and reasoning_effort ask for the same.',
      }
    : null
}

const wantsJson = ({ response_format: format }: ChatInput): boolean => format !== undefined && format.type !== 'text'

export const encodeGemini = (call: ChatCall): Encoded => {
  const { card, input, stream } = call
  const conversation = conversationOf(card.model, input.messages)
  if (!conversation.ok) throw new Error('A chat that was refused is not to be written.')
  const { system, contents, dropped } = conversation.value
  const native = v.parse(Native, input.provider_options?.['google'] ?? {})
  const tools = toolsOf(input)
  const tier = tierOf(input)
  const { config, carried } = generationConfig(card, input, native.generationConfig)
  if (tier) carried.add('service_tier')
  const body: Record<string, unknown> = {
    contents,
    ...(system.length > 0 ? { systemInstruction: { parts: system } } : {}),
    ...(tools ? { tools: [{ functionDeclarations: tools }], ...toolConfigOf(input) } : {}),
    ...(native.safetySettings ? { safetySettings: native.safetySettings } : {}),
    ...(native.cachedContent ? { cachedContent: native.cachedContent } : {}),
    ...(Object.keys(config).length > 0 ? { generationConfig: config } : {}),
    ...(tier && tier !== 'auto' ? { serviceTier: tier } : {}),
  }
  for (const field of LEANING_FIELDS) if (input[field] !== undefined && !carried.has(field)) dropped.push(field)
  // A choice of nothing, as OpenAI's clients send it along.
  if (!input.tools && input.tool_choice !== undefined && input.tool_choice !== 'none' && input.tool_choice !== 'auto')
    dropped.push('tool_choice')
  return {
    url: geminiUrl(call.baseUrl, card.model, stream ? 'streamGenerateContent?alt=sse' : 'generateContent'),
    headers: geminiHeaders(call.secret),
    body,
    dropped,
  }
}

type NativeConfig = v.InferOutput<typeof Native>['generationConfig']

/** `carried` names the fields that lean, and are in it. */
const generationConfig = (card: ChatCard, input: ChatInput, native: NativeConfig) => {
  const carried = new Set<keyof ChatInput>()
  const takes = (field: keyof ChatInput) => input[field] !== undefined && card.without?.includes(field) !== true
  const config: Record<string, unknown> = { ...native, ...formatOf(input) }
  const carry = (field: keyof ChatInput, name: string, value: unknown) => {
    carried.add(field)
    config[name] = value
  }
  const limit = outputLimitOf(input)
  if (limit !== null) config['maxOutputTokens'] = limit
  if ((input.n ?? 1) > 1) config['candidateCount'] = input.n
  const stops = stopsOf(input)
  if (stops.length > 0) config['stopSequences'] = stops
  if (input.logprobs) config['responseLogprobs'] = true
  if (input.logprobs && input.top_logprobs !== undefined) config['logprobs'] = input.top_logprobs
  for (const [field, name] of SAMPLING) if (card.sampling && takes(field)) carry(field, name, input[field])
  // 32 bits there: another number would be another seed.
  if (takes('seed') && input.seed === ((input.seed ?? 0) | 0)) carry('seed', 'seed', input.seed)
  if (takes('modalities')) carry('modalities', 'responseModalities', ['TEXT'])
  const effort = input.reasoning_effort
  if (effort && card.reasoning.includes(effort))
    carry('reasoning_effort', 'thinkingConfig', { ...native?.thinkingConfig, ...thinkingOf(card.model, effort) })
  return { config, carried }
}

const SAMPLING = [
  ['temperature', 'temperature'],
  ['top_p', 'topP'],
  ['frequency_penalty', 'frequencyPenalty'],
  ['presence_penalty', 'presencePenalty'],
] as const

/** What Google's own OpenAI-compatible door makes of an effort (https://ai.google.dev/gemini-api/docs/openai#thinking). */
const BUDGETS: Partial<Record<ReasoningEffort, number>> = {
  none: 0,
  minimal: 1_024,
  low: 1_024,
  medium: 8_192,
  high: 24_576,
}

/** The third generation thinks by levels, the one before by a budget of tokens. */
const thinkingOf = (model: string, effort: ReasoningEffort) =>
  generationOf(model) < 3 ? { thinkingBudget: BUDGETS[effort] } : { thinkingLevel: effort.toUpperCase() }

const formatOf = ({ response_format: format }: ChatInput): Record<string, unknown> => {
  if (!format || format.type === 'text') return {}
  const json = { responseMimeType: 'application/json' }
  if (format.type === 'json_object' || !format.json_schema.schema) return json
  const { description, schema } = format.json_schema
  return { ...json, responseJsonSchema: { ...(description ? { description } : {}), ...schema } }
}

const toolsOf = ({ tools }: ChatInput): unknown[] | null =>
  tools?.map(({ function: { name, description, parameters } }) => ({
    name,
    ...(description ? { description } : {}),
    // A function without parameters has no schema there.
    ...(parameters && Object.keys(parameters).length > 0 ? { parametersJsonSchema: parameters } : {}),
  })) ?? null

/** `strict` asks that a call keep to its schema: where the model may choose, that is a mode of its own. */
const toolConfigOf = ({ tools, tool_choice: choice }: ChatInput): Record<string, unknown> => {
  const config = (mode: string, more = {}) => ({ toolConfig: { functionCallingConfig: { mode, ...more } } })
  if (choice === 'none') return config('NONE')
  if (choice === 'required') return config('ANY')
  if (typeof choice === 'object' && choice !== null)
    return config('ANY', { allowedFunctionNames: [choice.function.name] })
  if (tools?.some(({ function: called }) => called.strict)) return config('VALIDATED')
  return choice === 'auto' ? config('AUTO') : {}
}

const TIERS: Record<string, string> = { auto: 'auto', default: 'standard', flex: 'flex', priority: 'priority' }

const tierOf = ({ service_tier: tier }: ChatInput): string | null => (tier ? (TIERS[tier] ?? null) : null)
