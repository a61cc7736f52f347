import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { listOf, optional, Text } from './chat-message.ts'
import { integer, JsonObject, record, strictObject } from './fields.ts'
import { FOREGROUND, withoutNulls } from './foreground.ts'

/** `POST {base}/embeddings` and `text.embed@1`: OpenAI's request, with Switchyard's own fields beside it. */

const InputText = v.pipe(Text, v.minLength(1, 'must not be empty'))
const TokenId = integer(0, LIMITS.seedMax)
const Texts = listOf(InputText, LIMITS.embeddingInputs)
const Tokens = listOf(TokenId, LIMITS.embeddingTokens)
const TokenLists = listOf(Tokens, LIMITS.embeddingInputs)

const KINDS = v.union([InputText, Texts, Tokens, TokenLists], 'must be text, a list of texts, or tokens')

/** The first item of a list decides what the whole list must be, so that an issue names the item at fault. */
const EmbeddingInputs = {
  ...KINDS,
  '~run'(dataset, config) {
    const { value } = dataset
    if (!Array.isArray(value)) return InputText['~run'](dataset, config)
    const [first]: unknown[] = value
    const list: v.GenericSchema = typeof first === 'number' ? Tokens : Array.isArray(first) ? TokenLists : Texts
    return list['~run'](dataset, config)
  },
} as typeof KINDS

const INPUT = {
  /** One text, several, or their token ids: one embedding each, in this order. */
  input: EmbeddingInputs,
  /** Of each embedding, where the model can shorten its own. */
  dimensions: optional(integer(1, LIMITS.embeddingDimensions)),
  user: optional(v.pipe(v.string('must be text'), v.maxLength(LIMITS.identifierCharacters))),
  provider_options: v.optional(record(v.pipe(v.string(), v.maxLength(LIMITS.nameCharacters)), JsonObject)),
}

const FORMATS = ['float', 'base64'] as const

export const EmbedInput = v.pipe(
  strictObject(INPUT),
  v.transform((value) => withoutNulls(value)),
)
export type EmbedInput = v.InferOutput<typeof EmbedInput>

export const EmbedRequest = v.pipe(
  strictObject({
    ...INPUT,
    ...FOREGROUND,
    /** `base64` is little-endian float32; OpenAI's clients ask for it unless told otherwise. */
    encoding_format: optional(v.picklist(FORMATS, 'must be float or base64')),
  }),
  v.transform((value) => withoutNulls(value)),
)
export type EmbedRequest = v.InferOutput<typeof EmbedRequest>
export type EncodingFormat = (typeof FORMATS)[number]

/** The inputs one by one, as many as there will be embeddings. */
export const inputsOf = (input: EmbedInput['input']): (string | number[])[] => {
  if (typeof input === 'string') return [input]
  return typeof input[0] === 'number' ? [input as number[]] : (input as string[] | number[][])
}

export const EmbeddingList = v.object({
  object: v.literal('list'),
  data: v.array(
    v.object({
      object: v.literal('embedding'),
      index: v.number(),
      embedding: v.union([v.array(v.number()), v.string()]),
    }),
  ),
  model: v.string(),
  usage: v.object({
    prompt_tokens: v.number(),
    total_tokens: v.number(),
    /** US dollars; null where no price is known. */
    cost_usd: v.optional(v.nullable(v.number())),
    estimated: v.optional(v.boolean()),
  }),
})
export type EmbeddingList = v.InferOutput<typeof EmbeddingList>
