import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { integer, strictObject } from './fields.ts'
import type { Usage } from './usage.ts'

/** What models cost, and what is counted of a call to know its cost. Money is in US dollars, as the providers list it. */

/** Places behind the point of a number as it is written: `0.075` has three, `1e-7` seven. */
export const decimalsOf = (value: number): number => {
  const [digits = '', exponent = '0'] = String(value).split('e')
  return Math.max(0, (digits.split('.')[1]?.length ?? 0) - Number(exponent))
}

/** Of a million tokens six, of any other unit twelve: one token or unit then costs a whole number of trillionths. */
const rate = (decimals: number) =>
  v.optional(
    v.pipe(
      v.number('must be a number'),
      v.finite(),
      v.minValue(0, 'must not be negative'),
      v.maxValue(LIMITS.rateMaxUsd, `must be at most ${LIMITS.rateMaxUsd}`),
      v.check((usd) => decimalsOf(usd) <= decimals, `must have at most ${decimals} decimals`),
    ),
  )
const perMtok = rate(6)
const perUnit = rate(12)

const tokenRates = {
  input_per_mtok: perMtok,
  /** Read from a cache. */
  cached_input_per_mtok: perMtok,
  /** Written to a cache that lives for five minutes, or for as long as the provider's only kind does. */
  cache_write_per_mtok: perMtok,
  cache_write_1h_per_mtok: perMtok,
  output_per_mtok: perMtok,
  reasoning_per_mtok: perMtok,
  input_image_per_mtok: perMtok,
  cached_input_image_per_mtok: perMtok,
  output_image_per_mtok: perMtok,
  input_audio_per_mtok: perMtok,
  cached_input_audio_per_mtok: perMtok,
  output_audio_per_mtok: perMtok,
}
const rateEntries = {
  ...tokenRates,
  per_request_usd: perUnit,
  per_web_search_usd: perUnit,
  per_image_usd: perUnit,
  per_megapixel_usd: perUnit,
  /** Of 512 × 512 pixels. */
  per_tile_usd: perUnit,
  per_step_usd: perUnit,
  /** Of the model's time, or of the recording where it listens to one. */
  per_second_usd: perUnit,
  per_neuron_usd: perUnit,
}
/** US dollars. A rate that is not there is not known; free of charge is 0. */
export const Rates = v.object(rateEntries)
export type Rates = v.InferOutput<typeof Rates>
export type TokenRate = keyof typeof tokenRates

/** In a request of more input tokens than this, all tokens cost these rates; the others stay as they are. */
const tierEntries = { above_input_tokens: integer(0, LIMITS.tierTokensMax) }

const imageEntries = {
  /** Both as the provider writes them; left out, it is good for any. */
  size: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.nameCharacters))),
  quality: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.nameCharacters))),
  usd: v.nonOptional(perUnit),
  /** What an image usually comes to where the provider bills something else: good to judge by, never to bill. */
  estimate: v.optional(v.boolean('must be true or false')),
}

export const PRICE_KINDS = ['chat', 'embedding', 'image', 'audio'] as const

/** From and to (not included) are days that begin at 00:00 UTC; null is open. */
const Day = v.nullable(v.string())

/** What one model costs for a time, and who says so. */
export const Price = v.object({
  provider: v.string(),
  /** As the list names it: a model, one of its speeds or editions (`ideogram-3/turbo`), or `*` for all without one of their own. */
  model: v.string(),
  kind: v.nullable(v.picklist(PRICE_KINDS)),
  rates: Rates,
  tiers: v.array(v.object({ ...tierEntries, rates: Rates })),
  /** By size and quality; the first that fits counts. */
  images: v.array(v.object(imageEntries)),
  effective_from: Day,
  effective_to: Day,
  source: v.string(),
  /** False: nobody has confirmed it, so it is not billed unless the instance allows that. */
  verified: v.boolean(),
  note: v.optional(v.string()),
})
export type Price = v.InferOutput<typeof Price>

const calendarDay = v.optional(
  v.nullable(
    v.pipe(
      v.string(),
      v.regex(/^\d{4}-\d{2}-\d{2}$/, 'must be a day such as 2026-01-31'),
      v.check((day) => new Date(day).toJSON()?.slice(0, 10) === day, 'must be a day that exists'),
    ),
  ),
)

/** An instance's own price of a model. Its author vouches for it. */
export const PriceRequest = v.pipe(
  strictObject({
    kind: v.optional(v.nullable(v.picklist(PRICE_KINDS, `must be one of ${PRICE_KINDS.join(', ')}`))),
    rates: strictObject(rateEntries),
    tiers: v.optional(
      v.pipe(
        v.array(strictObject({ ...tierEntries, rates: strictObject(tokenRates) })),
        v.maxLength(LIMITS.tiersPerPrice, `must be at most ${LIMITS.tiersPerPrice}`),
      ),
    ),
    images: v.optional(
      v.pipe(
        v.array(strictObject(imageEntries)),
        v.maxLength(LIMITS.imageRatesPerPrice, `must be at most ${LIMITS.imageRatesPerPrice}`),
      ),
    ),
    effective_from: calendarDay,
    effective_to: calendarDay,
    source: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.priceSourceCharacters))),
    note: v.optional(v.pipe(v.string(), v.maxLength(LIMITS.priceSourceCharacters))),
  }),
  v.forward(
    v.check(
      ({ rates, images }) => Object.keys(rates).length + (images?.length ?? 0) > 0,
      'must hold at least one rate',
    ),
    ['rates'],
  ),
  v.forward(
    v.check(
      ({ effective_from: from, effective_to: to }) => !from || !to || from < to,
      'must be later than effective_from',
    ),
    ['effective_to'],
  ),
)
export type PriceRequest = v.InferOutput<typeof PriceRequest>

/** A price as it is in force in an instance. */
export const PriceView = v.object({
  ...Price.entries,
  /** True where it is the instance's own and not that of the list. */
  overridden: v.boolean(),
  /** False: known, but neither verified nor allowed here, so it counts as unknown. */
  billed: v.boolean(),
})
export type PriceView = v.InferOutput<typeof PriceView>

/** The price a job was judged by, kept with it. Micros are null where the job's usage cannot be told beforehand. */
export const PriceSnapshot = v.object({
  ...Price.entries,
  overridden: v.boolean(),
  estimated_micros: v.nullable(v.number()),
})
export type PriceSnapshot = v.InferOutput<typeof PriceSnapshot>

const { note: _note, ...listed } = Price.entries
/** The same as a client sees it in its job. */
export const JobPrice = v.object({ ...listed, overridden: v.boolean(), estimated_usd: v.nullable(v.number()) })
export type JobPrice = v.InferOutput<typeof JobPrice>

/**
 * What a call used of anything that has a price, in the same words for every provider and price list. Left out: not reported. A part is contained in its whole: the
 * input tokens are all tokens of the prompt, cached, written, of images and of sound; the output tokens are all that came,
 * reasoning included. What an adapter cannot know is left out and never set to 0.
 */
export type Quantities = {
  input_tokens?: number
  cached_input_tokens?: number
  cache_write_5m_tokens?: number
  cache_write_1h_tokens?: number
  /** Cached ones included; those are named apart too, and counted in `cached_input_tokens`. */
  input_image_tokens?: number
  cached_input_image_tokens?: number
  input_audio_tokens?: number
  cached_input_audio_tokens?: number
  output_tokens?: number
  reasoning_tokens?: number
  output_image_tokens?: number
  output_audio_tokens?: number
  images?: number
  image_size?: string
  image_quality?: string
  /** Of all images together, as the provider counts them. */
  megapixels?: number
  /** Of 512 × 512 pixels, of all images together. */
  tiles?: number
  steps?: number
  seconds?: number
  neurons?: number
  /** One, where it is left out. */
  requests?: number
  web_searches?: number
}

/** Of a text model's call. What is counted otherwise, such as images or searches, is added beside. */
export const quantitiesOf = (usage: Usage): Quantities => ({
  input_tokens: usage.inputTokens,
  cached_input_tokens: usage.cachedInputTokens,
  cache_write_5m_tokens: usage.cacheWrite5mTokens,
  cache_write_1h_tokens: usage.cacheWrite1hTokens,
  input_image_tokens: usage.imageInputTokens,
  input_audio_tokens: usage.audioInputTokens,
  ...(usage.cachedImageInputTokens ? { cached_input_image_tokens: usage.cachedImageInputTokens } : {}),
  ...(usage.cachedAudioInputTokens ? { cached_input_audio_tokens: usage.cachedAudioInputTokens } : {}),
  output_tokens: usage.outputTokens,
  reasoning_tokens: usage.reasoningTokens,
  output_image_tokens: usage.imageOutputTokens,
  output_audio_tokens: usage.audioOutputTokens,
})
