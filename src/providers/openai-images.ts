import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import { quantitiesOf } from '../contract/price.ts'
import type { Usage } from '../contract/usage.ts'
import { LIMITS } from '../limits.ts'
import { type Answered, faultOf, isSuccess, networkFault, parseJson } from './answers.ts'
import type { Http } from './http.ts'
import { budgetFault, imageCard, refusedFault } from './image-call.ts'
import { bearerOf } from './openai-chat.ts'
import { eventFault, type FaultContext, problemOf, statusFault, withId } from './openai-faults.ts'
import { type OpenAiImageRequest, openAiImageRequest } from './openai-image-request.ts'
import { openAiUsage, recordOf } from './openai-usage.ts'
import type { Call, Expected, GeneratedImage, Outcome, Provider } from './provider.ts'

/**
 * OpenAI's images (https://platform.openai.com/docs/api-reference/images). The answer holds the pictures themselves, and
 * there is no asynchronous mode: a call whose answer is lost may have been paid for. Native options: `background`,
 * `output_compression`, `moderation`, `user`.
 */

export const openAi: Provider = {
  id: 'openai',
  title: 'OpenAI',
  // With the version, as the official client has it.
  defaultBaseUrl: 'https://api.openai.com/v1',
  // Limits are by account and tier: none is documented for all.
  defaultLimits: { concurrency: 50 },
  // https://platform.openai.com/docs/guides/rate-limits: by organization, project and model.
  countsBy: 'model',
  models: [
    imageCard('gpt-image-2', 5, 30_000),
    imageCard('gpt-image-1.5', 4, 25_000),
    imageCard('gpt-image-1-mini', 2, 15_000),
  ],

  expects: (model: string, input: ImageInput): Expected | null => {
    const written = openAiImageRequest(model, input)
    return written.ok ? { price: model, usage: expectedUsage(written.request) } : null
  },

  refuses: (model: string, input: ImageInput) => {
    const written = openAiImageRequest(model, input)
    return written.ok ? null : written.refusal
  },

  start: async (call: Call, http: Http): Promise<Outcome> => {
    const written = openAiImageRequest(call.model, call.input)
    if (!written.ok) return refusedFault(written.refusal)
    const tooDear = budgetFault(call, 'OpenAI may ask')
    if (tooDear) return tooDear
    const result = await http.send({
      method: 'POST',
      url: `${call.baseUrl.replace(/\/+$/, '')}/images/generations`,
      headers: bearerOf(call.secret),
      json: written.request.body,
      answerBytesMax: LIMITS.inlineImagesBytes,
    })
    if (result.kind !== 'answered') return networkFault('OpenAI', result, true)
    if (!isSuccess(result.status)) return statusFault(result, contextOf(call))
    return doneOf(call, result)
  },

  poll: async (_call: Call, _checkpoint: Json, _http: Http): Promise<Outcome> =>
    faultOf('outcome_unknown', 'OpenAI makes images in one call: there is nothing to ask after.'),
}

/** Where size or quality is the provider's choice, the dearest it can choose. A byte is a token at most, whatever the script. */
const expectedUsage = ({ images, size, quality, body }: OpenAiImageRequest): Expected['usage'] => ({
  images,
  image_size: size === 'auto' ? '1024x1536' : size,
  image_quality: quality === 'auto' ? 'high' : quality,
  input_tokens: new TextEncoder().encode(String(body['prompt'])).length,
})

const contextOf = ({ input, secret, nowMs }: Call): FaultContext => ({
  name: 'OpenAI',
  privateTexts: [input.prompt, secret],
  nowMs,
})

/** The pictures were made and will be billed: an answer that cannot be read loses them, and is not bought again blindly. */
const doneOf = (call: Call, answer: Answered): Outcome => {
  const more = withId({}, answer)
  const body = answer.cut ? null : recordOf(parseJson(answer.body))
  if (body && problemOf(body)) return { ...eventFault(body, contextOf(call)), ...more }
  const images = imagesOf(body?.['data'])
  if (!images) return faultOf('outcome_unknown', 'OpenAI took the request, but its answer cannot be read.', more)
  const told = openAiUsage(body?.['usage'])
  // Without details all that a model of images makes is images.
  const usage = told && { ...told, imageOutputTokens: told.imageOutputTokens || told.outputTokens }
  return {
    kind: 'done',
    images,
    providerRequestId: more.providerRequestId ?? null,
    costMicros: usage === null ? null : costOf(call, usage, images.length),
    ...(usage ? { usage } : {}),
  }
}

/** Output that is not told apart is images, which is what was asked for and the dearer. */
const costOf = (call: Call, usage: Usage, images: number): number | null =>
  call.costOf?.({
    ...quantitiesOf(usage),
    output_image_tokens: usage.imageOutputTokens || usage.outputTokens,
    images,
  }) ?? null

const imagesOf = (data: unknown): GeneratedImage[] | null => {
  if (!Array.isArray(data) || data.length === 0) return null
  const images: GeneratedImage[] = []
  for (const item of data) {
    const base64: unknown = item?.b64_json
    if (typeof base64 !== 'string' || base64 === '') return null
    images.push({ safe: true, source: { base64 }, seed: null })
  }
  return images
}
