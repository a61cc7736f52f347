import type { ConditionalPrice, MatchLogic, ModelInfo, ModelPrice } from '@pydantic/genai-prices'
import * as v from 'valibot'
import { PRICE_KINDS, Price, type Rates } from '../contract/price.ts'
import type { Listed } from '../core/price.ts'

/**
 * Makes the table of prices from two sources: `prices.json`, kept by hand, and the models of @pydantic/genai-prices.
 * An entry of the file that names another source than the library was looked up by hand and stays; every other model that
 * the library covers costs what the library says. What the library has no word for (images made, estimates per image) is
 * taken from the file for those too.
 */

export type Library = {
  version: string
  /** By our name of the provider. */
  models: Record<string, ModelInfo[]>
  /** The id of the model that the library itself would take for a name, or null. */
  find(provider: string, name: string): string | null
}

const amount = v.optional(v.number())
const fileRates = {
  input_per_mtok: amount,
  cached_input_per_mtok: amount,
  cache_write_per_mtok: amount,
  cache_write_1h_per_mtok: amount,
  output_per_mtok: amount,
  input_image_per_mtok: amount,
  output_image_per_mtok: amount,
  per_image_usd: amount,
  per_tile_512_usd: amount,
  per_step_usd: amount,
}
const FileEntry = v.looseObject({
  provider: v.string(),
  model: v.string(),
  kind: v.picklist(PRICE_KINDS),
  currency: v.literal('USD'),
  ...fileRates,
  tiers: v.optional(v.array(v.looseObject({ above_input_tokens: v.number(), ...fileRates }))),
  scheduled_change: v.optional(v.looseObject({ from: v.string(), ...fileRates })),
  per_image_usd_estimate: v.optional(v.record(v.string(), v.union([v.string(), v.record(v.string(), v.number())]))),
  effective_from: v.optional(v.string()),
  unit: v.optional(v.string()),
  source: v.string(),
  verified: v.boolean(),
  note: v.optional(v.string()),
})
type FileEntry = v.InferOutput<typeof FileEntry>
const PriceFile = v.looseObject({ as_of: v.string(), models: v.array(FileEntry) })

/** Every price with the other names of its model, by provider and name. Throws where a source holds what is not understood. */
export const makeListing = (fileText: string, library: Library): { asOf: string; listed: Listed[] } => {
  const file = v.parse(PriceFile, JSON.parse(fileText))
  const entries = new Map(file.models.map((entry) => [`${entry.provider} ${entry.model}`, entry]))
  const fromLibrary = Object.entries(library.models).flatMap(([provider, models]) =>
    models.flatMap((model) => {
      const entry = entries.get(`${provider} ${model.id}`) ?? null
      return entry && !isOfLibrary(entry) ? [] : libraryListing(provider, model, entry, library)
    }),
  )
  const covered = new Set(fromLibrary.map(({ price }) => `${price.provider} ${price.model}`))
  const fromFile = file.models
    .filter(({ provider, model }) => !covered.has(`${provider} ${model}`))
    .flatMap((entry) => fileListing(entry))
  const listed = [...fromLibrary, ...fromFile].sort((one, other) => compare(orderOf(one), orderOf(other)))
  for (const { price } of listed) v.parse(Price, price)
  return { asOf: file.as_of, listed }
}

const isOfLibrary = ({ source }: FileEntry): boolean => source.startsWith('genai-prices@')

const orderOf = ({ price }: Listed): string => [price.provider, price.model, price.effective_from ?? ''].join(' ')
const compare = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0)

// ------------------------------------------------------------------------------------------------------ the file

const fileListing = (entry: FileEntry): Listed[] => {
  const rates = ratesOfFile(entry)
  const images = imagesOf(entry)
  // A name without a price is as unknown as one that is not there.
  if (Object.keys(rates).length === 0 && images.length === 0) return []
  const change = entry.scheduled_change
  const now: Price = {
    provider: entry.provider,
    // An edition that the provider sells on, under the name by which it is asked for.
    model: entry.model.replace(/ \(resold\)$/, ''),
    kind: entry.kind,
    rates,
    tiers: (entry.tiers ?? []).map((tier) => ({
      above_input_tokens: tier.above_input_tokens,
      rates: ratesOfFile({ ...entry, ...cleared, ...tier }),
    })),
    images,
    effective_from: entry.effective_from ?? null,
    effective_to: change?.from ?? null,
    source: entry.source,
    // A price by a unit that nobody confirmed is not a confirmed price.
    verified: entry.verified && !entry.unit?.includes('unverified'),
    ...(entry.note === undefined ? {} : { note: entry.note }),
  }
  if (!change) return [{ price: now }]
  const then = { ...now, rates: { ...rates, ...ratesOfFile({ ...entry, ...cleared, ...change }) } }
  return [{ price: now }, { price: { ...then, effective_from: change.from, effective_to: null } }]
}

const cleared = Object.fromEntries(Object.keys(fileRates).map((name) => [name, undefined]))

const ratesOfFile = (entry: FileEntry): Rates => {
  const perMegapixel = entry.unit?.startsWith('megapixel') ?? false
  const tokens = entry.output_per_mtok !== undefined
  return defined({
    input_per_mtok: entry.input_per_mtok,
    cached_input_per_mtok: entry.cached_input_per_mtok,
    cache_write_per_mtok: entry.cache_write_per_mtok,
    cache_write_1h_per_mtok: entry.cache_write_1h_per_mtok,
    output_per_mtok: entry.output_per_mtok,
    input_image_per_mtok: entry.input_image_per_mtok,
    output_image_per_mtok: entry.output_image_per_mtok,
    // Beside a price of tokens, that of an image is what its tokens usually come to.
    per_image_usd: perMegapixel || tokens ? undefined : entry.per_image_usd,
    per_megapixel_usd: perMegapixel ? entry.per_image_usd : undefined,
    per_tile_usd: entry.per_tile_512_usd,
    per_step_usd: entry.per_step_usd,
  })
}

const imagesOf = (entry: FileEntry): Price['images'] => {
  const bySize = Object.entries(entry.per_image_usd_estimate ?? {}).flatMap(([size, qualities]) =>
    typeof qualities === 'string'
      ? []
      : Object.entries(qualities).map(([quality, usd]) => ({ size, quality, usd, estimate: true })),
  )
  const each = entry.output_per_mtok === undefined ? undefined : entry.per_image_usd
  return each === undefined ? bySize : [...bySize, { usd: each, estimate: true }]
}

// --------------------------------------------------------------------------------------------------- the library

/** Keys of the library whose unit is ours. */
const TOKEN_RATES: Record<string, keyof Rates> = {
  input_mtok: 'input_per_mtok',
  cache_read_mtok: 'cached_input_per_mtok',
  cache_write_mtok: 'cache_write_per_mtok',
  cache_write_1h_mtok: 'cache_write_1h_per_mtok',
  output_mtok: 'output_per_mtok',
  input_image_mtok: 'input_image_per_mtok',
  cache_image_read_mtok: 'cached_input_image_per_mtok',
  output_image_mtok: 'output_image_per_mtok',
  input_audio_mtok: 'input_audio_per_mtok',
  cache_audio_read_mtok: 'cached_input_audio_per_mtok',
  output_audio_mtok: 'output_audio_per_mtok',
}
const UNIT_RATES: Record<string, (usd: number) => Rates> = {
  web_searches_kcount: (usd) => ({ per_web_search_usd: divided(usd, 1_000) }),
  input_audio_hours: (usd) => ({ per_second_usd: divided(usd, 3_600) }),
}
/** Not counted here: video that is read, searches in files, and the hours that are listed a second time. */
const UNCOUNTED = ['input_video_mtok', 'storage_searches_kcount', 'audio_hours']

/** To the trillionth, where the quotient of two decimals of a price list ends. */
const divided = (usd: number, by: number): number => Number((usd / by).toFixed(12))

/** Tuned models and what other companies make are priced by rules of their own, not by a name. */
const isForeign = (provider: string, { id }: ModelInfo): boolean =>
  /^ft:|\.ft-/.test(id) || (provider === 'google' && id.startsWith('claude'))

/** The library's own doubts, as its maintainers write them. */
const DOUBT = /verify against|seen on openrouter|can't find|not sure/i

const libraryListing = (provider: string, model: ModelInfo, entry: FileEntry | null, library: Library): Listed[] => {
  const terms: ConditionalPrice[] = Array.isArray(model.prices) ? model.prices : [{ prices: model.prices }]
  const isKnown = terms.every(({ prices }) => Object.keys(prices).length > 0 && !('output_video_mtok' in prices))
  if (isForeign(provider, model) || !isKnown) return []
  const aliases = aliasesOf(provider, model, library)
  const starts = terms.map(({ constraint }) => startOf(model, constraint))
  return terms.map(({ prices }, at) => {
    const kind = entry?.kind ?? kindOf(model.id)
    const price: Price = {
      provider,
      model: model.id,
      kind,
      rates: completed(provider, kind, ratesOfLibrary(prices, null), entry),
      tiers: thresholds(prices).map((above) => ({
        above_input_tokens: above,
        rates: completedTier(provider, kind, ratesOfLibrary(prices, above)),
      })),
      images: entry ? imagesOf(entry) : [],
      effective_from: starts[at] ?? null,
      effective_to: starts[at + 1] ?? null,
      source: `@pydantic/genai-prices ${library.version}`,
      verified: !DOUBT.test(model.price_comments ?? ''),
      ...(entry?.note === undefined ? {} : { note: entry.note }),
    }
    return aliases.length === 0 ? { price } : { price, aliases }
  })
}

const startOf = ({ id }: ModelInfo, constraint: ConditionalPrice['constraint']): string | null => {
  if (constraint === undefined) return null
  if (constraint.type === 'start_date') return constraint.start_date
  throw new Error(`${id} is priced by the time of day, which is not understood here`)
}

const thresholds = (prices: ModelPrice): number[] => {
  const starts = Object.values(prices).flatMap((price) =>
    typeof price === 'object' ? price.tiers.map(({ start }) => start) : [],
  )
  return [...new Set(starts)].sort((one, other) => one - other)
}

/** Above a threshold only what is tiered; null is the base. */
const ratesOfLibrary = (prices: ModelPrice, above: number | null): Rates => {
  const rates: Rates = {}
  for (const [key, price] of Object.entries(prices)) {
    if (price === undefined || UNCOUNTED.includes(key)) continue
    const tier =
      typeof price === 'object' ? price.tiers.filter(({ start }) => start <= (above ?? -1)).at(-1) : undefined
    const usd = above === null ? (typeof price === 'object' ? price.base : price) : tier?.price
    if (usd === undefined) continue
    const name = TOKEN_RATES[key]
    const unit = UNIT_RATES[key]
    if (name) rates[name] = usd
    else if (unit) Object.assign(rates, unit(usd))
    else throw new Error(`the library has a unit that is not understood here: ${key}`)
  }
  return rates
}

/** What stands for an image made, or for sound, where the library leaves it to its more general unit. */
const completed = (provider: string, kind: Price['kind'], rates: Rates, entry: FileEntry | null): Rates =>
  completedTier(provider, kind, { ...(entry ? pick(ratesOfFile(entry), ['output_image_per_mtok']) : {}), ...rates })

const completedTier = (provider: string, kind: Price['kind'], rates: Rates): Rates => {
  const { input_per_mtok: input, output_per_mtok: output } = rates
  return {
    ...rates,
    // What an image model puts out is images, unless they are listed apart.
    ...(kind === 'image' && rates.output_image_per_mtok === undefined
      ? defined({ output_image_per_mtok: output })
      : {}),
    // Google lists one rate for text, images and sound, and sound apart only where it differs.
    ...(provider === 'google' && kind === 'chat' && rates.input_audio_per_mtok === undefined
      ? defined({ input_audio_per_mtok: input })
      : {}),
  }
}

const kindOf = (id: string): Price['kind'] => {
  if (/embed|bge-/.test(id)) return 'embedding'
  if (/image/.test(id)) return 'image'
  return /audio|realtime|transcribe|tts|whisper|live/.test(id) ? 'audio' : 'chat'
}

/**
 * Other names of a model: what the library compares whole, and what it takes for the beginning of a name, as a name. Only
 * those that the library itself would take for this model.
 */
const aliasesOf = (provider: string, { id, match }: ModelInfo, library: Library): string[] => {
  const names = literalsOf(match).filter((name) => /[a-z0-9]$/i.test(name) && !/^ft:|-20\d\d$/.test(name))
  const whole = [...new Set([...names, id.replace(/-latest$/, '')])]
  return whole.filter((name) => name !== id && library.find(provider, name) === id).sort()
}

const literalsOf = (match: MatchLogic): string[] => {
  if ('or' in match) return match.or.flatMap(literalsOf)
  if ('equals' in match) return [match.equals]
  return 'starts_with' in match ? [match.starts_with] : []
}

const defined = (rates: { [Name in keyof Rates]: number | undefined }): Rates =>
  Object.fromEntries(Object.entries(rates).filter(([, usd]) => usd !== undefined))

const pick = (rates: Rates, names: (keyof Rates)[]): Rates =>
  defined(Object.fromEntries(names.map((name) => [name, rates[name]])))
