import * as v from 'valibot'
import type { Json } from '../contract/fields.ts'
import { strictObject } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import type { Refusal } from './dialect.ts'
import { SafetySettings } from './gemini-request.ts'

/** A job's input in the words of `generateContent` of Gemini's image models. One function both judges and writes. */

type ImageSize = '512' | '1K' | '2K'

/**
 * What a model makes, and what that costs in millionths of a US dollar as far as lists know it (2026-11-20). 4K is made too,
 * but as PNG it is more than an answer may hold (`LIMITS.inlinePngPixels`).
 */
type ImageModel = {
  sizes: readonly ImageSize[]
  micros: Partial<Record<ImageSize, number>>
  microsPerPromptToken: number
}

const IMAGE_MODELS: Record<string, ImageModel> = {
  'gemini-3-pro-image-preview': { sizes: ['1K', '2K'], micros: { '1K': 134_000 }, microsPerPromptToken: 2 },
  'gemini-3.1-flash-image-preview': {
    sizes: ['512', '1K', '2K'],
    micros: { '512': 45_000, '1K': 67_200 },
    microsPerPromptToken: 0.5,
  },
  'gemini-3.1-flash-lite-image': { sizes: ['1K'], micros: {}, microsPerPromptToken: 0.25 },
  'gemini-2.5-flash-image': { sizes: ['1K'], micros: { '1K': 39_000 }, microsPerPromptToken: 0.3 },
}

const RATIOS: readonly string[] = ['1:1', '2:3', '3:2', '3:4', '4:3', '4:5', '5:4', '9:16', '16:9']

/** Only squares are of the size that their name says; other shapes are asked for by their ratio. */
const SQUARES: Record<string, ImageSize> = { '512x512': '512', '1024x1024': '1K', '2048x2048': '2K' }

const OPTIONS = 'input.provider_options.gemini'

const Native = strictObject({
  imageSize: v.optional(v.picklist(['512', '1K', '2K'])),
  safetySettings: v.optional(SafetySettings),
})

export type GeminiImageRequest = { body: Record<string, Json>; listedMicros: number | null }

type Written = { ok: true; request: GeminiImageRequest } | { ok: false; refusal: Refusal }

const refused = (param: string, message: string): Written => ({ ok: false, refusal: { param, message } })

/** Pure. `param` names the field at fault; a message never repeats what the user wrote. */
export const geminiImageRequest = (model: string, input: ImageInput): Written => {
  const known = IMAGE_MODELS[model]
  if (!known) return refused('models', 'Gemini has no such model of images here.')
  for (const field of ['negative_prompt', 'seed', 'style', 'quality'] as const)
    if (input[field] !== undefined) return refused(`input.${field}`, 'Gemini takes none.')
  if (input.format !== undefined && input.format !== 'png') return refused('input.format', 'must be png for Gemini.')
  if ((input.count ?? 1) > 1) return refused('input.count', 'Gemini makes one image a call.')
  if (input.aspect_ratio !== undefined && !RATIOS.includes(input.aspect_ratio))
    return refused('input.aspect_ratio', `must be one of ${RATIOS.join(', ')} for Gemini.`)
  const native = v.safeParse(Native, input.provider_options?.['gemini'] ?? {})
  if (!native.success) {
    const field = v.getDotPath(native.issues[0])
    return refused(field === null ? OPTIONS : `${OPTIONS}.${field}`, 'is not a field, or not a value, of this model.')
  }
  const square = input.size === undefined ? undefined : SQUARES[input.size]
  if (input.size !== undefined && (!square || !known.sizes.includes(square)))
    return refused('input.size', 'is not made by this model: ask for a square of its sizes, or by aspect_ratio.')
  const { imageSize: asked, safetySettings } = native.output
  if (asked !== undefined && (square !== undefined || !known.sizes.includes(asked)))
    return refused(`${OPTIONS}.imageSize`, 'is not made by this model, or stands beside size.')
  const imageSize = square ?? asked
  const aspectRatio = square === undefined ? input.aspect_ratio : '1:1'
  const imageConfig: Record<string, Json> = {
    ...(aspectRatio === undefined ? {} : { aspectRatio }),
    // The one size of a model is not to be named to it.
    ...(imageSize === undefined || known.sizes.length === 1 ? {} : { imageSize }),
  }
  const each = known.micros[imageSize ?? '1K']
  return {
    ok: true,
    request: {
      body: {
        contents: [{ role: 'user', parts: [{ text: input.prompt }] }],
        generationConfig: {
          responseModalities: ['IMAGE'],
          ...(Object.keys(imageConfig).length > 0 ? { imageConfig } : {}),
        },
        ...(safetySettings ? { safetySettings } : {}),
      },
      // A character is a token at most.
      listedMicros: each === undefined ? null : Math.ceil(each + input.prompt.length * known.microsPerPromptToken),
    },
  }
}
