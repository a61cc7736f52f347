import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import { quantitiesOf } from '../contract/price.ts'
import type { Usage } from '../contract/usage.ts'
import { LIMITS } from '../limits.ts'
import { type Answered, faultOf, isSuccess, networkFault, parseJson } from './answers.ts'
import { blockFault } from './gemini-answer.ts'
import { geminiEventFault, geminiProblem, geminiStatusFault } from './gemini-faults.ts'
import { geminiImageRequest } from './gemini-image-request.ts'
import { geminiUsage } from './gemini-usage.ts'
import { geminiHeaders, geminiUrl } from './gemini-wire.ts'
import type { Http } from './http.ts'
import { budgetFault, imageCard, refusedFault } from './image-call.ts'
import { idIn, textIn } from './openai-answer.ts'
import { type FaultContext, withId } from './openai-faults.ts'
import { recordOf } from './openai-usage.ts'
import type { Call, Expected, Failed, GeneratedImage, Outcome, Provider } from './provider.ts'

/**
 * Images of Gemini's (https://ai.google.dev/gemini-api/docs/image-generation). The answer holds the picture itself, one a
 * call, and there is no asynchronous mode: a call whose answer is lost may have been paid for. Native options: `imageSize`,
 * `safetySettings`.
 */

export const gemini: Provider = {
  id: 'google',
  title: 'Google Gemini',
  // Without a version: see gemini-wire.ts.
  defaultBaseUrl: 'https://generativelanguage.googleapis.com',
  // Limits are by project, model and tier: none is documented for all.
  defaultLimits: { concurrency: 50 },
  // https://ai.google.dev/gemini-api/docs/rate-limits: by project and model.
  countsBy: 'model',
  models: [
    imageCard('gemini-3-pro-image-preview', 5, 25_000),
    imageCard('gemini-3.1-flash-image-preview', 4, 12_000),
    imageCard('gemini-2.5-flash-image', 3, 10_000),
    imageCard('gemini-3.1-flash-lite-image', 2, 6_000),
  ],

  expects: (model: string, input: ImageInput): Expected | null => {
    const written = geminiImageRequest(model, input)
    // Lists have an estimate of each model's usual size; larger ones take more tokens, and nobody says how many.
    if (!written.ok || written.request.isLarge) return null
    // A byte is a token at most, whatever the script.
    return { price: model, usage: { images: 1, input_tokens: new TextEncoder().encode(input.prompt).length } }
  },

  refuses: (model: string, input: ImageInput) => {
    const written = geminiImageRequest(model, input)
    return written.ok ? null : written.refusal
  },

  start: async (call: Call, http: Http): Promise<Outcome> => {
    const written = geminiImageRequest(call.model, call.input)
    if (!written.ok) return refusedFault(written.refusal)
    const tooDear = budgetFault(call, 'Gemini may ask')
    if (tooDear) return tooDear
    const result = await http.send({
      method: 'POST',
      url: geminiUrl(call.baseUrl, call.model, 'generateContent'),
      headers: geminiHeaders(call.secret),
      json: written.request.body,
      answerBytesMax: LIMITS.inlineImagesBytes,
    })
    if (result.kind !== 'answered') return networkFault('Gemini', result, true)
    if (!isSuccess(result.status)) return geminiStatusFault(result, contextOf(call))
    return doneOf(call, result)
  },

  poll: async (_call: Call, _checkpoint: Json, _http: Http): Promise<Outcome> =>
    faultOf('outcome_unknown', 'Gemini makes images in one call: there is nothing to ask after.'),
}

const contextOf = ({ input, secret, nowMs }: Call): FaultContext => ({
  name: 'Gemini',
  privateTexts: [input.prompt, secret],
  nowMs,
})

/** The picture was made and will be billed: an answer that cannot be read loses it, and is not bought again blindly. */
const doneOf = (call: Call, answer: Answered): Outcome => {
  const parsed = answer.cut ? null : parseJson(answer.body)
  if (geminiProblem(parsed)) return withId(geminiEventFault(parsed, contextOf(call)), answer)
  const body = recordOf(parsed)
  const more = { providerRequestId: idIn(body?.['responseId']) ?? withId({}, answer).providerRequestId ?? null }
  const candidates: unknown = body?.['candidates']
  if (!body || !Array.isArray(candidates) || candidates.length === 0)
    return { ...((body && blockFault(body)) ?? unreadable()), ...more }
  const images = candidates.flatMap((candidate) => imagesOf(recordOf(candidate)?.['content']))
  if (images.length === 0) return { ...emptyFault(recordOf(candidates[0])?.['finishReason']), ...more }
  const usage = geminiUsage(body['usageMetadata'])
  const costMicros = usage === null ? null : costOf(call, usage, images.length)
  return { kind: 'done', images, ...more, costMicros, ...(usage ? { usage } : {}) }
}

/** Where the details are missing, all but the thoughts is the picture, which is the dearer. */
const costOf = (call: Call, usage: Usage, images: number): number | null =>
  call.costOf?.({
    ...quantitiesOf(usage),
    output_image_tokens: usage.imageOutputTokens || usage.outputTokens - usage.reasoningTokens,
    images,
  }) ?? null

const unreadable = (): Failed => faultOf('outcome_unknown', 'Gemini took the request, but its answer cannot be read.')

/** Pictures that it drew while it thought are drafts, and not the answer. */
const imagesOf = (content: unknown): GeneratedImage[] => {
  const parts: unknown = recordOf(content)?.['parts']
  const images: GeneratedImage[] = []
  for (const value of Array.isArray(parts) ? parts : []) {
    const part = recordOf(value)
    const base64 = textIn(recordOf(part?.['inlineData'])?.['data'])
    if (base64 !== null && part?.['thought'] !== true) images.push({ safe: true, source: { base64 }, seed: null })
  }
  return images
}

const REFUSED =
  /^(SAFETY|RECITATION|BLOCKLIST|PROHIBITED_CONTENT|SPII|ESCALATION|IMAGE_SAFETY|IMAGE_PROHIBITED_CONTENT|IMAGE_RECITATION)$/

/** An answer that ended without a picture. */
const emptyFault = (value: unknown): Failed => {
  const reason = textIn(value) ?? ''
  if (REFUSED.test(reason))
    return faultOf('content_rejected', `The safety system of Gemini held the picture back (${reason}).`)
  if (/^(NO_IMAGE|IMAGE_OTHER|OTHER|MAX_TOKENS|LANGUAGE)$/.test(reason))
    return faultOf('provider_protocol_error', `Gemini made no picture (${reason}).`)
  return unreadable()
}
