import * as v from 'valibot'
import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import { LIMITS } from '../limits.ts'
import type { Refusal } from './dialect.ts'

/** A job's input in the words of OpenAI's `POST /images/generations`. One function both judges and writes. */

export type OpenAiImageRequest = {
  model: string
  body: Record<string, Json>
  images: number
  quality: 'low' | 'medium' | 'high' | 'auto'
  /** `WIDTHxHEIGHT`, or `auto`. */
  size: string
}

/** What a model makes: only three sizes, or any in steps of 16. */
export const OPENAI_IMAGE_MODELS: Record<string, { sizes: 'three' | 'any' }> = {
  'gpt-image-2': { sizes: 'any' },
  'gpt-image-1.5': { sizes: 'three' },
  'gpt-image-1-mini': { sizes: 'three' },
}

const OPTIONS = 'input.provider_options.openai'

const Native = v.strictObject({
  background: v.optional(v.picklist(['auto', 'transparent', 'opaque'], 'must be auto, transparent or opaque')),
  output_compression: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100))),
  moderation: v.optional(v.picklist(['auto', 'low'], 'must be auto or low')),
  user: v.optional(v.pipe(v.string(), v.maxLength(LIMITS.identifierCharacters))),
})

const QUALITY = { draft: 'low', standard: 'medium', high: 'high' } as const

type Written = { ok: true; request: OpenAiImageRequest } | { ok: false; refusal: Refusal }

/** Pure. `param` names the field at fault; a message never repeats what the user wrote. */
export const openAiImageRequest = (model: string, input: ImageInput): Written => {
  const known = OPENAI_IMAGE_MODELS[model]
  if (!known) return refused('models', 'OpenAI has no such model of images here.')
  if (input.negative_prompt !== undefined) return refused('input.negative_prompt', 'OpenAI takes none.')
  if (input.seed !== undefined) return refused('input.seed', 'OpenAI takes none.')
  if (input.style !== undefined) return refused('input.style', 'OpenAI takes none.')
  const native = v.safeParse(Native, input.provider_options?.['openai'] ?? {})
  if (!native.success) {
    const field = v.getDotPath(native.issues[0])
    return refused(field === null ? OPTIONS : `${OPTIONS}.${field}`, 'is not a field, or not a value, of this model.')
  }
  const format = input.format ?? 'png'
  if (native.output.background === 'transparent' && format === 'jpeg')
    return refused(`${OPTIONS}.background`, 'needs png or webp.')
  if (native.output.output_compression !== undefined && format === 'png')
    return refused(`${OPTIONS}.output_compression`, 'needs jpeg or webp.')
  const size = sizeOf(known.sizes, input)
  if (typeof size !== 'string') return { ok: false, refusal: size }
  const images = input.count ?? 1
  if (pixelsOf(size) * images > (format === 'png' ? LIMITS.inlinePngPixels : LIMITS.inlinePixels))
    return refused('input.count', 'So many pixels are more than one answer can hold: ask for fewer, or for jpeg.')
  const quality = input.quality ? QUALITY[input.quality] : 'auto'
  const body: Record<string, Json> = {
    model,
    prompt: input.prompt,
    n: images,
    size,
    quality,
    output_format: format,
  }
  for (const [field, value] of Object.entries(native.output)) if (value !== undefined) body[field] = value
  return { ok: true, request: { model, images, size, quality, body } }
}

const refused = (param: string, message: string): Written => ({ ok: false, refusal: { param, message } })

const THREE_SIZES: Record<string, string> = { '1:1': '1024x1024', '3:2': '1536x1024', '2:3': '1024x1536' }

const sizeOf = (sizes: 'three' | 'any', { size, aspect_ratio: ratio }: ImageInput): string | Refusal => {
  if (size !== undefined) return judgeSize(sizes, size)
  if (ratio === undefined) return 'auto'
  if (sizes === 'any') return sizeOfRatio(ratio)
  return THREE_SIZES[ratio] ?? { param: 'input.aspect_ratio', message: 'must be 1:1, 3:2 or 2:3 for this model.' }
}

const judgeSize = (sizes: 'three' | 'any', size: string): string | Refusal => {
  const refuse = (message: string): Refusal => ({ param: 'input.size', message })
  if (sizes === 'three') {
    const known = Object.values(THREE_SIZES)
    return known.includes(size) ? size : refuse(`must be ${known.join(', ')} for this model.`)
  }
  const [width = 0, height = 0] = size.split('x').map(Number)
  const isStep = width % 16 === 0 && height % 16 === 0
  const fits = Math.max(width, height) <= 3_840 && Math.min(width, height) <= 2_160
  if (isStep && fits && Math.max(width / height, height / width) <= 3) return size
  return refuse('must be in steps of 16, from 1:3 to 3:1, and at most 3840x2160 for this model.')
}

/** As large as the provider's own wide and tall sizes, and exactly of that shape. */
const sizeOfRatio = (ratio: string): string => {
  const [wide = 1, tall = 1] = ratio.split(':').map(Number)
  const shared = sharedDivisor(wide, tall)
  const [width, height] = [(16 * wide) / shared, (16 * tall) / shared]
  const scale = Math.floor(Math.sqrt((1_536 * 1_024) / (width * height)))
  return `${width * scale}x${height * scale}`
}

const sharedDivisor = (a: number, b: number): number => (b === 0 ? a : sharedDivisor(b, a % b))

/** The largest that `auto` chooses is one of the wide ones. */
const pixelsOf = (size: string): number => {
  const [width = 0, height = 0] = (size === 'auto' ? '1536x1024' : size).split('x').map(Number)
  return width * height
}
