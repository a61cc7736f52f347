import { type EmbedInput, inputsOf } from '../contract/embedding.ts'
import { LIMITS } from '../limits.ts'
import { type Answered, faultOf, isSuccess, parseJson } from './answers.ts'
import type { Flavor } from './chat-flavor.ts'
import { cloudflareCode } from './cloudflare-faults.ts'
import type { EmbedCall, EmbedCard, EmbedCompleted, EmbedDialect, Encoded, Refusal } from './dialect.ts'
import { textIn } from './openai-answer.ts'
import { eventFault, type FaultContext, problemOf, statusFault, withId } from './openai-faults.ts'
import { openAiRate } from './openai-rate.ts'
import { openAiUsage, recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'

/**
 * `POST /embeddings` in OpenAI's manner. Vectors are asked for in base64 where the server knows it: a third of the bytes of
 * written numbers, and nothing to parse. Either form is read.
 */
export const embedDialect = (flavor: Flavor, wire: { base64: boolean; user: boolean }): EmbedDialect => ({
  refuses: (card, input) => refuses(flavor, card, input) ?? refusesLong(wire, card, input),
  encode: (call) => encode(flavor, wire, call),
  decode: (call, answer) => decode(flavor, call, answer),
  rate: openAiRate,
})

const refuses = (flavor: Flavor, card: EmbedCard, input: EmbedInput): Refusal | null => {
  const inputs = inputsOf(input.input)
  if (inputs.length > card.inputsMax)
    return { param: 'input', message: `${card.model} takes at most ${card.inputsMax} inputs.` }
  if (!card.takesTokens && typeof inputs[0] !== 'string')
    return { param: 'input', message: `${card.model} takes text, not tokens.` }
  const { dimensions } = input
  const own = card.dimensions
  if (dimensions !== undefined && dimensions !== own && !card.shortens)
    return { param: 'dimensions', message: `${card.model} does not shorten its vectors.` }
  if (dimensions !== undefined && own !== null && dimensions > own)
    return { param: 'dimensions', message: `${card.model} makes vectors of ${own} at most.` }
  const native = Object.keys(input.provider_options?.[flavor.id] ?? {})[0]
  return native === undefined
    ? null
    : {
        param: `provider_options.${flavor.id}.${native}`,
        message: `${native} is not a field of ${flavor.name} that is passed on.`,
      }
}

/** What stands around a vector in an answer. */
const AROUND_VECTOR_BYTES = 128

/** An answer that would be longer than what is read of one would be paid for and lost. */
const refusesLong = (wire: { base64: boolean }, card: EmbedCard, { input, dimensions }: EmbedInput): Refusal | null => {
  const length = dimensions ?? card.dimensions
  if (!wire.base64 || length === null) return null
  const most = Math.floor(LIMITS.textAnswerBytes / (Math.ceil((length * 4) / 3) * 4 + AROUND_VECTOR_BYTES))
  return inputsOf(input).length <= most
    ? null
    : { param: 'input', message: `Vectors of ${length} numbers come for at most ${most} inputs a call.` }
}

const encode = (flavor: Flavor, wire: { base64: boolean; user: boolean }, call: EmbedCall): Encoded => {
  const { card, input } = call
  const { root, headers } = flavor.reach(call)
  const shortened = input.dimensions !== undefined && card.shortens
  const hasUser = input.user !== undefined
  return {
    url: `${root}/embeddings`,
    headers,
    body: {
      model: card.model,
      input: input.input,
      ...(wire.base64 ? { encoding_format: 'base64' } : {}),
      ...(shortened ? { dimensions: input.dimensions } : {}),
      ...(hasUser && wire.user ? { user: input.user } : {}),
    },
    dropped: hasUser && !wire.user ? ['user'] : [],
  }
}

const decode = (flavor: Flavor, call: EmbedCall, answer: Answered): EmbedCompleted | Failed => {
  const { name } = flavor
  const inputs = inputsOf(call.input.input)
  const context: FaultContext = {
    name,
    nowMs: call.nowMs,
    privateTexts: [call.secret, ...inputs.filter((input) => typeof input === 'string')].filter((text) => text !== ''),
  }
  const more = withId({}, answer)
  if (!isSuccess(answer.status)) return statusFault(answer, context)
  if (answer.cut) return faultOf('outcome_unknown', `${name} took the request, but its answer was lost.`, more)
  const body = recordOf(parseJson(answer.body))
  if (!body) return faultOf('provider_protocol_error', `${name} gave an answer that is not JSON.`, more)
  if (problemOf(body) || cloudflareCode(body) !== null) return { ...eventFault(body, context), ...more }
  const vectors = vectorsOf(body['data'], inputs.length)
  if (!vectors) return faultOf('provider_protocol_error', `${name} gave embeddings that cannot be read.`, more)
  return {
    kind: 'completed',
    vectors,
    model: textIn(body['model']) ?? call.card.model,
    usage: openAiUsage(body['usage']),
    providerRequestId: more.providerRequestId ?? null,
  }
}

/** One vector per input in their order, all of one length; null where the answer is anything else. */
const vectorsOf = (data: unknown, count: number): Float32Array[] | null => {
  if (!Array.isArray(data) || data.length !== count) return null
  const vectors = new Array<Float32Array | undefined>(count)
  for (const [at, item] of data.entries()) {
    const index = typeof item?.index === 'number' ? item.index : at
    // Bare in the answers of Workers AI by its binding.
    const vector = vectorOf(Array.isArray(item) ? item : item?.embedding)
    if (!vector || !Number.isInteger(index) || index < 0 || index >= count || vectors[index]) return null
    vectors[index] = vector
  }
  const length = vectors[0]?.length
  return vectors.every((vector) => vector && vector.length === length) ? (vectors as Float32Array[]) : null
}

const vectorOf = (value: unknown): Float32Array | null => {
  const vector = typeof value === 'string' ? fromBase64(value) : fromNumbers(value)
  return vector && vector.length > 0 && vector.every(Number.isFinite) ? vector : null
}

const fromNumbers = (value: unknown): Float32Array | null =>
  Array.isArray(value) && value.every((number) => typeof number === 'number') ? Float32Array.from(value) : null

/** Little-endian float32, as the machines this runs on have it. */
const fromBase64 = (text: string): Float32Array | null => {
  try {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
    return bytes.length % 4 === 0 ? new Float32Array(bytes.buffer) : null
  } catch {
    return null
  }
}

/** A vector as clients ask for it in base64. */
export const toBase64 = (vector: Float32Array): string => {
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)
  let text = ''
  for (let at = 0; at < bytes.length; at += 8_192) text += String.fromCharCode(...bytes.subarray(at, at + 8_192))
  return btoa(text)
}
