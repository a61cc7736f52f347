import * as v from 'valibot'
import type { GeneratedImage } from './provider.ts'

/** Ideogram's answers, read and never trusted. Unknown fields are let through: the provider may add some. */

const Micros = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const GenerationId = v.pipe(v.string(), v.regex(/^[\w.-]{1,200}$/))

const Image = v.looseObject({
  url: v.nullish(v.string()),
  is_image_safe: v.boolean(),
  seed: v.nullish(v.pipe(v.number(), v.safeInteger())),
})
const Images = v.pipe(v.array(Image), v.minLength(1))

/** v2, synchronous. */
export const Generated = v.looseObject({ generation_id: GenerationId, data: Images })
/** v2, asynchronous: the same without images. */
export const Accepted = v.looseObject({ generation_id: GenerationId })
export const GeneratedV1 = v.looseObject({ data: Images })

export const Generation = v.variant('status', [
  v.looseObject({ generation_id: GenerationId, status: v.literal('pending') }),
  v.looseObject({
    generation_id: GenerationId,
    status: v.literal('completed'),
    usage_cost_usd_micros: v.nullish(Micros),
    data: Images,
  }),
  v.looseObject({
    generation_id: GenerationId,
    status: v.literal('failed'),
    usage_cost_usd_micros: v.nullish(Micros),
    failure_reason: v.nullish(v.string()),
  }),
])

/** `upper_bound_usd_micros` stands where the price is an estimate, as for `auto`. */
export const PriceQuote = v.looseObject({
  object: v.literal('price_quote'),
  usd_micros: Micros,
  upper_bound_usd_micros: v.nullish(Micros),
})

export const Problem = v.looseObject({ error: v.optional(v.string()), reject_reason: v.optional(v.string()) })

/** What a running generation is known by between polls: small, and readable by other versions of this code. */
export const Checkpoint = v.object({
  generation_id: GenerationId,
  quoted_micros: v.nullable(Micros),
  /** Answered polls so far: they set the pace. */
  polls: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  /** Failed polls in a row. */
  poll_errors: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
})
export type Checkpoint = v.InferOutput<typeof Checkpoint>

/** An image that failed the safety check has no URL; one without a URL is treated as such. */
export const imagesOf = (data: v.InferOutput<typeof Images>): GeneratedImage[] =>
  data.map(({ url, is_image_safe: safe, seed = null }) =>
    safe && url ? { safe: true, source: { url }, seed } : { safe: false, source: null, seed },
  )
