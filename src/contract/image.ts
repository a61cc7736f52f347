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

const Prompt = v.pipe(
  v.string('must be text'),
  v.minLength(1, 'must not be empty'),
  v.maxLength(LIMITS.promptCharacters, `must be at most ${LIMITS.promptCharacters} characters`),
)

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
        v.check(
          (text) => text.split('x').every((side) => Number(side) <= LIMITS.imageSideMax),
          `sides must be at most ${LIMITS.imageSideMax}`,
        ),
      ),
    ),
    count: v.optional(integer(1, LIMITS.imagesPerJob)),
    seed: v.optional(integer(0, LIMITS.seedMax)),
    format: v.optional(v.picklist(['png', 'jpeg', 'webp'], 'must be png, jpeg or webp')),
    quality: v.optional(v.picklist(['draft', 'standard', 'high'], 'must be draft, standard or high')),
    style: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.nameCharacters))),
    provider_options: v.optional(record(v.pipe(v.string(), v.maxLength(LIMITS.nameCharacters)), JsonObject)),
  }),
  v.forward(
    v.check((input) => !(input.size && input.aspect_ratio), 'size and aspect_ratio exclude each other'),
    ['size'],
  ),
)
export type ImageInput = v.InferOutput<typeof ImageInput>

export const CONTENT_TYPES = ['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/avif'] as const

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
})
export type ImageArtifact = v.InferOutput<typeof ImageArtifact>

export const ImageOutput = v.object({ images: v.array(ImageArtifact) })
export type ImageOutput = v.InferOutput<typeof ImageOutput>
