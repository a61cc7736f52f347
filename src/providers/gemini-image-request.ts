import * as v from 'valibot'
import type { Json } from '../contract/fields.ts'
import { strictObject } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import type { Refusal } from './dialect.ts'
import { SafetySettings } from './gemini-request.ts'

/** A job's input in the words of `generateContent` of Gemini's image models. One function both judges and writes. */

type ImageSize = '512' | '1K' | '2K'

/** What a model makes. 4K is made too, but as PNG it is more than an answer may hold (`LIMITS.inlinePngPixels`). */
const IMAGE_SIZES: Record<string, readonly ImageSize[]> = {
  'gemini-3-pro-image-preview': ['1K', '2K'],
  'gemini-3.1-flash-image-preview': ['512', '1K', '2K'],
  'gemini-3.1-flash-lite-image': ['1K'],
  'gemini-2.5-flash-image': ['1K'],
}

const RATIOS: readonly string[] = ['1:1', '2:3', '3:2', '3:4', '4:3', '4:5', '5:4', '9:16', '16:9']

/** Only squares are of the size that their name says; other shapes are asked for by their ratio. */
const SQUARES: Record<string, ImageSize> = { '512x512': '512', '1024x1024': '1K', '2048x2048': '2K' }

const OPTIONS = 'input.provider_options.google'

const Native = strictObject({
  imageSize: v.optional(v.picklist(['512', '1K', '2K'])),
  safetySettings: v.optional(SafetySettings),
})

/** `isLarge`: of more than the usual size. */
export type GeminiImageRequest = { body: Record<string, Json>; isLarge: boolean }

type Written = { ok: true; request: GeminiImageRequest } | { ok: false; refusal: Refusal }

const refused = (param: string, message: string): Written => ({ ok: false, refusal: { param, message } })

/** Pure. `param` names the field at fault; a message never repeats what the user wrote. */
export const geminiImageRequest = (model: string, input: ImageInput): Written => {
  const sizes = IMAGE_SIZES[model]
  if (!sizes) return refused('models', 'Gemini has no such model of images here.')
  for (const field of ['negative_prompt', 'seed', 'style', 'quality'] as const)
    if (input[field] !== undefined) return refused(`input.${field}`, 'Gemini takes none.')
  if (input.format !== undefined && input.format !== 'png') return refused('input.format', 'must be png for Gemini.')
  if ((input.count ?? 1) > 1) return refused('input.count', 'Gemini makes one image a call.')
  if (input.aspect_ratio !== undefined && !RATIOS.includes(input.aspect_ratio))
    return refused('input.aspect_ratio', `must be one of ${RATIOS.join(', ')} for Gemini.`)
  const native = v.safeParse(Native, input.provider_options?.['google'] ?? {})
  if (!native.success) {
    const field = v.getDotPath(native.issues[0])
    return refused(field === null ? OPTIONS : `${OPTIONS}.${field}`, 'is not a field, or not a value, of this model.')
  }
  const square = input.size === undefined ? undefined : SQUARES[input.size]
  if (input.size !== undefined && (!square || !sizes.includes(square)))
    return refused('input.size', 'is not made by this model: ask for a square of its sizes, or by aspect_ratio.')
  const { imageSize: asked, safetySettings } = native.output
  if (asked !== undefined && (square !== undefined || !sizes.includes(asked)))
    return refused(`${OPTIONS}.imageSize`, 'is not made by this model, or stands beside size.')
  const imageSize = square ?? asked
  const aspectRatio = square === undefined ? input.aspect_ratio : '1:1'
  const imageConfig: Record<string, Json> = {
    ...(aspectRatio === undefined ? {} : { aspectRatio }),
    // The one size of a model is not to be named to it.
    ...(imageSize === undefined || sizes.length === 1 ? {} : { imageSize }),
  }
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
      isLarge: imageSize === '2K',
    },
  }
}
