import type { Price, Quantities, Rates, TokenRate } from '../contract/price.ts'

/**
 * What a use costs by a price, exactly: decimals are multiplied and added as whole numbers, and the sum of one attempt is
 * rounded once, half a micro up. Null is unknown, and never zero: something used has no rate, something that is charged
 * for was not reported, or the report contradicts itself.
 *
 * A tier holds for the whole request. A part is charged at its own rate instead of that of its whole. Where a list has
 * none for it, reasoning is charged as output, a token of an image as input and one read from a cache as one that was
 * not: providers name these only where they differ. Cache writes, sound and images made have no such stand-in.
 */
export const costMicros = (price: Price, usage: Quantities): number | null => charge(price, usage, false)

/** The same before a call, with the list's estimates for images that are billed by tokens. */
export const estimateMicros = (price: Price, usage: Quantities): number | null => charge(price, usage, true)

const charge = (price: Price, usage: Quantities, beforehand: boolean): number | null => {
  if (!isPlausible(usage)) return null
  if (usage.images === undefined && price.images.some(({ estimate }) => !estimate)) return null
  const rates = ratesFor(price, usage.input_tokens ?? 0)
  // Tokens that are known need no estimate.
  const image = imageRate(price, rates, usage, beforehand && usage.output_tokens === undefined)
  const tokens = chargedTokens(rates, usage, image?.estimate ?? false)
  const units = chargedUnits(rates, usage, image)
  if (!tokens || !units) return null
  if (!isPaidFor(usage, rates, image)) return null
  const micros = quickMicros(tokens, units) ?? exactMicros(tokens, units)
  return Number.isSafeInteger(micros) ? micros : null
}

/** Whether a provider's service tier is billed by its list. Null: it has none, or did not say. */
export const isListTier = (serviceTier: string | null): boolean => serviceTier === null || LIST_TIERS.has(serviceTier)

const LIST_TIERS = new Set(['default', 'auto', 'standard', 'on_demand'])

/** How many, and what one of them costs. */
type Line = [count: number, usd: number]

const isPlausible = (usage: Quantities): boolean =>
  Object.values(usage).every((value) => typeof value !== 'number' || (Number.isFinite(value) && value >= 0))

const ratesFor = ({ rates, tiers }: Price, inputTokens: number): Rates => {
  const [tier] = tiers
    .filter(({ above_input_tokens: above }) => inputTokens > above)
    .sort((one, other) => other.above_input_tokens - one.above_input_tokens)
  return tier ? { ...rates, ...tier.rates } : rates
}

type ImageRate = { usd: number; estimate: boolean }

const imageRate = ({ images }: Price, rates: Rates, usage: Quantities, estimates: boolean): ImageRate | null => {
  const fits = images.find(
    ({ size, quality, estimate = false }) =>
      (estimates || !estimate) &&
      (size === undefined || size === usage.image_size) &&
      (quality === undefined || quality === usage.image_quality),
  )
  if (fits) return { usd: fits.usd, estimate: fits.estimate ?? false }
  return rates.per_image_usd === undefined ? null : { usd: rates.per_image_usd, estimate: false }
}

/** `outputEstimated`: what comes out is charged for by an estimate per image, so its tokens need not be known. */
const chargedTokens = (rates: Rates, usage: Quantities, outputEstimated: boolean): Line[] | null => {
  if (isOwing(rates.input_per_mtok, usage.input_tokens)) return null
  if (isOwing(rates.output_per_mtok, usage.output_tokens) && !outputEstimated) return null
  const lines: Line[] = []
  for (const [count, usd] of [...inputParts(rates, usage), ...outputParts(rates, usage)]) {
    if (count < 0 || (count > 0 && usd === undefined)) return null
    if (count > 0 && usd) lines.push([count, usd])
  }
  return lines
}

/** Something is charged for that nobody counted. */
const isOwing = (usd: number | undefined, count: number | undefined): boolean =>
  usd !== undefined && usd > 0 && count === undefined

type Part = [count: number, usd: Rates[TokenRate]]

const inputParts = (rates: Rates, usage: Quantities): Part[] => {
  const { input_tokens: all = 0, cached_input_tokens: cached = 0 } = usage
  const { cache_write_5m_tokens: short = 0, cache_write_1h_tokens: long = 0 } = usage
  const { input_image_tokens: images = 0, cached_input_image_tokens: cachedImages = 0 } = usage
  const { input_audio_tokens: sound = 0, cached_input_audio_tokens: cachedSound = 0 } = usage
  const freshImages = images - cachedImages
  const freshSound = sound - cachedSound
  const input = rates.input_per_mtok
  const cachedInput = rates.cached_input_per_mtok ?? input
  const image = rates.input_image_per_mtok
  const audio = rates.input_audio_per_mtok
  return [
    [all - cached - short - long - freshImages - freshSound, input],
    [cached - cachedImages - cachedSound, cachedInput],
    [short, rates.cache_write_per_mtok],
    [long, rates.cache_write_1h_per_mtok],
    [freshImages, image ?? input],
    [cachedImages, rates.cached_input_image_per_mtok ?? image ?? cachedInput],
    [freshSound, audio],
    [cachedSound, rates.cached_input_audio_per_mtok ?? audio],
  ]
}

const outputParts = (rates: Rates, usage: Quantities): Part[] => {
  const { output_tokens: all = 0, reasoning_tokens: reasoning = 0 } = usage
  const { output_image_tokens: images = 0, output_audio_tokens: sound = 0 } = usage
  return [
    [all - reasoning - images - sound, rates.output_per_mtok],
    [reasoning, rates.reasoning_per_mtok ?? rates.output_per_mtok],
    [images, rates.output_image_per_mtok],
    [sound, rates.output_audio_per_mtok],
  ]
}

const chargedUnits = (rates: Rates, usage: Quantities, image: ImageRate | null): Line[] | null => {
  const searches = usage.web_searches ?? 0
  if (searches > 0 && rates.per_web_search_usd === undefined) return null
  const lines: Line[] = [[searches, rates.per_web_search_usd ?? 0]]
  for (const [count, usd] of [
    [usage.requests ?? 1, rates.per_request_usd],
    [usage.images, image?.usd],
    [usage.megapixels, rates.per_megapixel_usd],
    [usage.tiles, rates.per_tile_usd],
    [usage.steps, rates.per_step_usd],
    [usage.seconds, rates.per_second_usd],
    [usage.neurons, rates.per_neuron_usd],
  ]) {
    if (isOwing(usd, count)) return null
    if (count && usd) lines.push([count, usd])
  }
  return lines
}

/**
 * Images, pixels, time and neurons are measures of the same thing: the price says which of them counts, and the others are
 * not charged for. But one of them, or the tokens that came out, must be.
 */
const isPaidFor = (usage: Quantities, rates: Rates, image: ImageRate | null): boolean => {
  const { images = 0, megapixels = 0, tiles = 0, steps = 0, seconds = 0, neurons = 0 } = usage
  if (images + megapixels + tiles + steps + seconds + neurons === 0) return true
  if ((usage.output_tokens ?? 0) > 0 || image !== null) return true
  const { per_megapixel_usd, per_tile_usd, per_step_usd, per_second_usd, per_neuron_usd } = rates
  const { per_request_usd } = rates
  return [per_megapixel_usd, per_tile_usd, per_step_usd, per_second_usd, per_neuron_usd, per_request_usd].some(
    (usd) => usd !== undefined,
  )
}

/** Of a token that costs a dollar a million, and of a unit that costs a dollar, in trillionths of a dollar. */
const TOKEN = 6
const UNIT = 12
const MICRO = 1_000_000

/** Far enough below 2⁵³ that neither the products nor their sum lose a digit. */
const EXACT_MAX = 2 ** 50

/** In whole trillionths of a dollar as long as they fit into a number; null where they do not, or a count is a fraction. */
const quickMicros = (tokens: Line[], units: Line[]): number | null => {
  let sum = 0
  for (const [lines, places] of [[tokens, 10 ** TOKEN] as const, [units, 10 ** UNIT] as const]) {
    for (const [count, usd] of lines) {
      const each = Math.round(usd * places)
      sum += each * count
      if (!Number.isInteger(count) || each > EXACT_MAX || sum > EXACT_MAX) return null
    }
  }
  return Math.floor((sum + MICRO / 2) / MICRO)
}

const exactMicros = (tokens: Line[], units: Line[]): number => {
  const terms = [
    ...tokens.map(([count, usd]) => times(decimal(count), decimal(usd), TOKEN)),
    ...units.map(([count, usd]) => times(decimal(count), decimal(usd), UNIT)),
  ]
  const scale = Math.max(0, ...terms.map((term) => term.scale))
  const sum = terms.reduce((total, term) => total + term.digits * tenTo(scale - term.scale), 0n)
  const micro = tenTo(scale + TOKEN)
  return Number((2n * sum + micro) / (2n * micro))
}

/** `digits` divided by ten to the `scale`: the number as it is written, without the error of its binary form. */
type Decimal = { digits: bigint; scale: number }

const decimal = (value: number): Decimal => {
  const [mantissa = '0', exponent = '0'] = String(value).split('e')
  const [whole = '0', part = ''] = mantissa.split('.')
  const scale = part.length - Number(exponent)
  const digits = BigInt(whole + part)
  return scale < 0 ? { digits: digits * tenTo(-scale), scale: 0 } : { digits, scale }
}

const tenTo = (power: number): bigint => 10n ** BigInt(power)

/** The product, times ten to the `places`. */
const times = (one: Decimal, other: Decimal, places: number): Decimal => ({
  digits: one.digits * other.digits * tenTo(places),
  scale: one.scale + other.scale,
})
