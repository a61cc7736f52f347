import * as v from 'valibot'
import { type EmbedInput, inputsOf } from '../contract/embedding.ts'
import { strictObject } from '../contract/fields.ts'
import { usageOf } from '../contract/usage.ts'
import { type Answered, faultOf, isSuccess, parseJson } from './answers.ts'
import type { EmbedCall, EmbedCard, EmbedCompleted, EmbedDialect, Encoded, Refusal } from './dialect.ts'
import { geminiEventFault, geminiProblem, geminiStatusFault } from './gemini-faults.ts'
import { countOf } from './gemini-usage.ts'
import { geminiHeaders, geminiUrl, NO_RATE } from './gemini-wire.ts'
import { type FaultContext, withId } from './openai-faults.ts'
import { recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'

/**
 * `batchEmbedContents`, for one input as for many, as Google's own client does it
 * (https://ai.google.dev/api/embeddings#method:-models.batchembedcontents). Native options: `taskType`, `title`.
 */
export const geminiEmbed: EmbedDialect = {
  refuses: (card, input) => refuses(card, input),
  encode: (call) => encode(call),
  decode: (call, answer) => decode(call, answer),
  rate: () => NO_RATE,
}

const TASKS = [
  'RETRIEVAL_QUERY',
  'RETRIEVAL_DOCUMENT',
  'SEMANTIC_SIMILARITY',
  'CLASSIFICATION',
  'CLUSTERING',
  'QUESTION_ANSWERING',
  'FACT_VERIFICATION',
  'CODE_RETRIEVAL_QUERY',
] as const

const Native = strictObject({
  taskType: v.optional(v.picklist(TASKS)),
  title: v.optional(v.pipe(v.string(), v.maxLength(512))),
})

const refuses = (card: EmbedCard, input: EmbedInput): Refusal | null => {
  const inputs = inputsOf(input.input)
  if (inputs.length > card.inputsMax)
    return { param: 'input', message: `${card.model} takes at most ${card.inputsMax} inputs.` }
  if (typeof inputs[0] !== 'string') return { param: 'input', message: `${card.model} takes text, not tokens.` }
  if (input.dimensions !== undefined && card.dimensions !== null && input.dimensions > card.dimensions)
    return { param: 'dimensions', message: `${card.model} makes vectors of ${card.dimensions} at most.` }
  const native = v.safeParse(Native, input.provider_options?.['google'] ?? {})
  if (native.success) return null
  const field = v.getDotPath(native.issues[0])
  const at = 'provider_options.google'
  return { param: field === null ? at : `${at}.${field}`, message: 'is not a field, or not a value, of Gemini.' }
}

const encode = ({ card, input, baseUrl, secret }: EmbedCall): Encoded => {
  const native = v.parse(Native, input.provider_options?.['google'] ?? {})
  const { dimensions } = input
  return {
    url: geminiUrl(baseUrl, card.model, 'batchEmbedContents'),
    headers: geminiHeaders(secret),
    body: {
      requests: inputsOf(input.input).map((text) => ({
        model: `models/${card.model}`,
        content: { parts: [{ text }] },
        ...(dimensions === undefined ? {} : { outputDimensionality: dimensions }),
        ...native,
      })),
    },
    dropped: input.user === undefined ? [] : ['user'],
  }
}

const decode = (call: EmbedCall, answer: Answered): EmbedCompleted | Failed => {
  const { card, input } = call
  const inputs = inputsOf(input.input)
  const context: FaultContext = {
    name: 'Gemini',
    nowMs: call.nowMs,
    privateTexts: [call.secret, ...inputs.filter((text) => typeof text === 'string')].filter((text) => text !== ''),
  }
  const more = withId({}, answer)
  if (!isSuccess(answer.status)) return geminiStatusFault(answer, context)
  if (answer.cut) return faultOf('outcome_unknown', 'Gemini took the request, but its answer was lost.', more)
  const parsed = parseJson(answer.body)
  if (geminiProblem(parsed)) return { ...geminiEventFault(parsed, context), ...more }
  const body = recordOf(parsed)
  if (!body) return faultOf('provider_protocol_error', 'Gemini gave an answer that is not JSON.', more)
  const vectors = vectorsOf(body['embeddings'], inputs.length)
  if (!vectors) return faultOf('provider_protocol_error', 'Gemini gave embeddings that cannot be read.', more)
  const isShort = input.dimensions !== undefined && input.dimensions !== card.dimensions
  const inputTokens = countOf(recordOf(body['usageMetadata'])?.['promptTokenCount'])
  return {
    kind: 'completed',
    vectors: isShort ? vectors.map(toUnit) : vectors,
    model: card.model,
    usage: inputTokens === null ? null : usageOf({ inputTokens }),
    providerRequestId: more.providerRequestId ?? null,
  }
}

/** One vector per input, in their order, all of one length; null where the answer is anything else. */
const vectorsOf = (embeddings: unknown, count: number): Float32Array[] | null => {
  if (!Array.isArray(embeddings) || embeddings.length !== count) return null
  const vectors: Float32Array[] = []
  for (const item of embeddings) {
    const values: unknown = item?.values
    if (!Array.isArray(values) || values.length === 0 || !values.every((value) => typeof value === 'number'))
      return null
    const vector = Float32Array.from(values)
    if (vector.length !== (vectors[0] ?? vector).length || !vector.every(Number.isFinite)) return null
    vectors.push(vector)
  }
  return vectors
}

/**
 * OpenAI's vectors have a length of one, and clients count on it: a product of two is their likeness. Gemini's lose it when
 * they are shortened (https://ai.google.dev/gemini-api/docs/embeddings#quality-for-smaller-dimensions).
 */
const toUnit = (vector: Float32Array): Float32Array => {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
  return length > 0 && Number.isFinite(length) ? vector.map((value) => value / length) : vector
}
