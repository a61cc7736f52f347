import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { integer, JsonObject, record, strictObject } from './fields.ts'

/** `image.generate@1`: what every image model is asked for in the same words. The rest goes through `provider_options`. */

export const ASPECT_RATIOS = [
  '1:1',
  '1:2',
  '2:1',
  '1:3',
  '3:1',
  '2:3',
  '3:2',
  '3:4',
  '4:3',
  '4:5',
  '5:4',
  '9:16',
  '16:9',
  '10:16',
  '16:10',
] as const

const flag = v.boolean('must be true or false')

const Prompt = v.pipe(
  v.string('must be text'),
  v.minLength(1, 'must not be empty'),
  v.maxLength(LIMITS.promptCharacters, `must be at most ${LIMITS.promptCharacters} characters`),
)

/** What is looked at before a picture is stored. Only what is named is checked. */
const NamedChecks = strictObject({
  /** The bytes are a whole picture. */
  decode: v.optional(flag),
  /** It shows something. */
  not_blank: v.optional(flag),
  /** It has the asked `size`, or about the asked `aspect_ratio`. */
  dimensions: v.optional(flag),
  /** It has the asked `format`. */
  format: v.optional(flag),
  min_bytes: v.optional(integer(1, LIMITS.checkedBytes)),
  /** Pixels. */
  min_width: v.optional(integer(1, LIMITS.imageSideMax)),
  min_height: v.optional(integer(1, LIMITS.imageSideMax)),
})
export type NamedChecks = v.InferOutput<typeof NamedChecks>

const eitherChecks = v.union([flag, NamedChecks])

/** `true` is everything that needs no number. What is wrong with an object is told by its field, which a union cannot. */
export const ImageChecks: typeof eitherChecks = {
  ...eitherChecks,
  '~run'(dataset, config) {
    const isNamed = typeof dataset.value === 'object' && dataset.value !== null
    return isNamed ? NamedChecks['~run'](dataset, config) : eitherChecks['~run'](dataset, config)
  },
}
export type ImageChecks = v.InferOutput<typeof ImageChecks>

export const isWithinSides = (size: string): boolean =>
  size.split('x').every((side) => Number(side) <= LIMITS.imageSideMax)

export const SIDES = `sides must be at most ${LIMITS.imageSideMax}`

export const ImageInput = v.pipe(
  strictObject({
    prompt: v.pipe(
      Prompt,
      v.check((text) => text.trim() !== '', 'must not be blank'),
    ),
    negative_prompt: v.optional(Prompt),
    aspect_ratio: v.optional(v.picklist(ASPECT_RATIOS, `must be one of ${ASPECT_RATIOS.join(', ')}`)),
    size: v.optional(
      v.pipe(
        v.string(),
        v.regex(/^[1-9]\d{1,4}x[1-9]\d{1,4}$/, 'must be WIDTHxHEIGHT in pixels'),
        v.check(isWithinSides, SIDES),
      ),
    ),
    count: v.optional(integer(1, LIMITS.imagesPerJob)),
    seed: v.optional(integer(0, LIMITS.seedMax)),
    format: v.optional(v.picklist(['png', 'jpeg', 'webp'], 'must be png, jpeg or webp')),
    quality: v.optional(v.picklist(['draft', 'standard', 'high'], 'must be draft, standard or high')),
    style: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.nameCharacters))),
    checks: v.optional(ImageChecks),
    provider_options: v.optional(record(v.pipe(v.string(), v.maxLength(LIMITS.nameCharacters)), JsonObject)),
  }),
  v.forward(
    v.check((input) => !(input.size && input.aspect_ratio), 'size and aspect_ratio exclude each other'),
    ['size'],
  ),
)
export type ImageInput = v.InferOutput<typeof ImageInput>

export const CONTENT_TYPES = ['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif'] as const

/** What was checked of a stored picture: `true` where it held, null where it could not be judged. */
const CheckResults = v.object({
  decode: v.exactOptional(v.nullable(v.literal(true))),
  not_blank: v.exactOptional(v.nullable(v.literal(true))),
  dimensions: v.exactOptional(v.nullable(v.literal(true))),
  format: v.exactOptional(v.nullable(v.literal(true))),
  min_bytes: v.exactOptional(v.literal(true)),
  min_width: v.exactOptional(v.literal(true)),
  min_height: v.exactOptional(v.literal(true)),
})
export type CheckResults = v.InferOutput<typeof CheckResults>

/** One stored picture. `sha256` is lower-case hex of the bytes; width and height are read from them. */
export const ImageArtifact = v.object({
  artifact: v.string(),
  content_type: v.picklist(CONTENT_TYPES),
  width: v.number(),
  height: v.number(),
  bytes: v.number(),
  sha256: v.string(),
  seed: v.nullable(v.number()),
  safe: v.boolean(),
  checks: v.exactOptional(CheckResults),
})
export type ImageArtifact = v.InferOutput<typeof ImageArtifact>

/** A picture that was paid for and left out, by its place in the provider's answer, counted from 0. */
const LeftOut = v.object({ index: v.number(), code: v.literal('content_rejected'), message: v.string() })
export type LeftOut = v.InferOutput<typeof LeftOut>

export const ImageOutput = v.object({ images: v.array(ImageArtifact), left_out: v.exactOptional(v.array(LeftOut)) })
export type ImageOutput = v.InferOutput<typeof ImageOutput>
