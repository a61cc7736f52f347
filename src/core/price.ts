import type { Price } from '../contract/price.ts'

/** Which price of a list a model goes by at a time. */

/** By the names a list knows; several prices of one name hold at different times. */
export type PriceIndex = ReadonlyMap<string, readonly Price[]>

/** A price with the other names its list has for the model. */
export type Listed = { price: Price; aliases?: readonly string[] }

/** A name of its own wins over the alias of another. */
export const indexPrices = (listed: readonly Listed[]): PriceIndex => {
  const own = new Map<string, Price[]>()
  for (const { price } of listed) own.set(price.model, [...(own.get(price.model) ?? []), price])
  const all = new Map<string, readonly Price[]>(own)
  for (const { price, aliases = [] } of listed) {
    for (const alias of aliases) if (!own.has(alias)) all.set(alias, own.get(price.model) ?? [])
  }
  return all
}

/** `-2026-09-01`, `-20260901` or `@20260901`: providers' ways to name the edition of a day. */
const DAY = /[-@]20\d{2}(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])$/

/**
 * The names under which a model may be listed, the most special first: its own, without the day of its edition, without
 * `-latest`. A prefix that names the provider is not part of a name. Nothing else is cut off: a name that merely begins
 * like another is another model.
 */
export const namesOf = (provider: string, model: string): string[] => {
  const prefix = [`${provider}/`, 'models/'].find((start) => model.startsWith(start)) ?? ''
  const name = model.slice(prefix.length)
  const dateless = name.replace(DAY, '')
  if (dateless === name && !name.endsWith('-latest')) return [name]
  return [...new Set([name, dateless, dateless.replace(/-latest$/, '')])]
}

/** The price in force for the first of the names that the list knows, or null. */
export const priceAt = (index: PriceIndex, names: readonly string[], whenMs: number): Price | null => {
  const known = names.find((name) => index.has(name))
  const prices = known === undefined ? [] : (index.get(known) ?? [])
  return prices.find((price) => isInForce(price, whenMs)) ?? null
}

export const isInForce = ({ effective_from: from, effective_to: to }: Price, whenMs: number): boolean =>
  (from === null || whenMs >= Date.parse(from)) && (to === null || whenMs < Date.parse(to))
