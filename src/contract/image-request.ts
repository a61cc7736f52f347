import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { optional } from './chat-message.ts'
import { integer, JsonObject, record, strictObject } from './fields.ts'
import { FOREGROUND, withoutNulls } from './foreground.ts'
import { ImageInput, isWithinSides, SIDES } from './image.ts'

/** `POST {base}/images/generations`: OpenAI's request for images, in front of the job `image.generate@1`. */

const { prompt, style } = ImageInput.entries

const Size = v.pipe(
  v.string('must be text'),
  v.regex(/^(?:auto|[1-9]\d{1,4}x[1-9]\d{1,4})$/, 'must be auto or WIDTHxHEIGHT in pixels'),
  // `auto` has no sides.
  v.check((text) => text === 'auto' || isWithinSides(text), SIDES),
)

/** OpenAI's own words for qualities, those of its older models, and ours. */
export const IMAGE_QUALITIES = {
  auto: null,
  low: 'draft',
  draft: 'draft',
  medium: 'standard',
  standard: 'standard',
  high: 'high',
  hd: 'high',
} as const

const qualities = Object.keys(IMAGE_QUALITIES) as (keyof typeof IMAGE_QUALITIES)[]

export const ImageGeneration = v.pipe(
  strictObject({
    ...FOREGROUND,
    /** Without one, the instance's models for images are asked. */
    model: optional(FOREGROUND.model),
    prompt,
    n: optional(integer(1, LIMITS.imagesPerJob)),
    size: optional(Size),
    quality: optional(v.picklist(qualities, `must be one of ${qualities.join(', ')}`)),
    output_format: optional(v.picklist(['png', 'jpeg', 'webp'], 'must be png, jpeg or webp')),
    /** As base64 in the answer, or as an address that is good for an hour. */
    response_format: optional(v.picklist(['url', 'b64_json'], 'must be url or b64_json')),
    style: optional(style.wrapped),
    background: optional(v.picklist(['auto', 'transparent', 'opaque'], 'must be auto, transparent or opaque')),
    moderation: optional(v.picklist(['auto', 'low'], 'must be auto or low')),
    output_compression: optional(integer(0, 100)),
    user: optional(v.pipe(v.string('must be text'), v.maxLength(LIMITS.identifierCharacters))),
    stream: optional(v.literal(false, 'must be false: images are not streamed')),
    provider_options: v.optional(record(v.pipe(v.string(), v.maxLength(LIMITS.nameCharacters)), JsonObject)),
  }),
  v.transform((value) => withoutNulls(value)),
)
export type ImageGeneration = v.InferOutput<typeof ImageGeneration>

export const ImageList = v.object({
  /** Unix seconds. */
  created: v.number(),
  data: v.array(v.object({ url: v.optional(v.string()), b64_json: v.optional(v.string()) })),
  output_format: v.optional(v.string()),
  size: v.optional(v.string()),
  /** The job behind it, and what it cost in US dollars; null where that is not known. */
  job: v.string(),
  cost_usd: v.nullable(v.number()),
})
export type ImageList = v.InferOutput<typeof ImageList>
