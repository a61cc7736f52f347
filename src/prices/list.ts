import type { Price } from '../contract/price.ts'
import { indexPrices, type Listed, type PriceIndex } from '../core/price.ts'
import { PRICE_SOURCES, PRICE_TABLE } from './table.ts'

/**
 * The built-in list: what providers publish, made by a command (docs/prices.md) and read here when a provider is first
 * asked for, so that a Worker's start parses none of it.
 */

/** A row of the table: what is usual is left out, the provider is that of its text, the source a key of the sources. */
export type Row = Omit<Partial<Price>, 'provider' | 'source'> &
  Pick<Price, 'model'> & { source: string; aliases?: string[] }

const indexes = new Map<string, PriceIndex>()

export const listedPrices = (provider: string): PriceIndex => {
  const known = indexes.get(provider)
  if (known) return known
  const index = indexPrices(readTable(provider))
  indexes.set(provider, index)
  return index
}

export const listedProviders = (): string[] => Object.keys(PRICE_TABLE)

export const readTable = (provider: string): Listed[] => {
  const text = Object.hasOwn(PRICE_TABLE, provider) ? PRICE_TABLE[provider] : undefined
  return (JSON.parse(text ?? '[]') as Row[]).map(({ aliases, source, ...row }) => {
    const price: Price = {
      provider,
      kind: null,
      rates: {},
      tiers: [],
      images: [],
      effective_from: null,
      effective_to: null,
      verified: true,
      ...row,
      source: PRICE_SOURCES[source] ?? source,
    }
    return aliases ? { price, aliases } : { price }
  })
}
