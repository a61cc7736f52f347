import { ok, type Result, refuse } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import type { Expected } from '../contract/foreground-rpc.ts'
import type { ImageInput } from '../contract/image.ts'
import type { JobPrice, Price, PriceRequest, PriceSnapshot, PriceView } from '../contract/price.ts'
import { estimateMicros } from '../core/cost.ts'
import { LIMITS } from '../limits.ts'
import { listedProviders } from '../prices/list.ts'
import { findModel, PROVIDERS } from '../providers/registry.ts'
import { TEXT_PROVIDERS } from '../providers/text-registry.ts'
import { upstreamOf } from '../providers/upstreams.ts'
import type { FoundPrice, PriceBook } from './price-book.ts'
import type { PriceStore } from './price-store.ts'

/** What jobs cost by the prices of this instance, and the prices themselves. */

/** With `price` where one is known but the job's use cannot be told beforehand. */
export type Priced = { micros: number; price: PriceSnapshot } | { unknown: string; price?: PriceSnapshot }

/**
 * What a job of this input will cost on `provider/model`, by the price in force at `whenMs`. The snapshot is to be kept
 * with the job: its cost is counted by it, whatever becomes of the price.
 */
export const priceOf = (books: { prices: PriceBook }, name: string, input: ImageInput, whenMs: number): Priced => {
  const found = findModel(name)
  if (!found) return { unknown: 'there is no such model' }
  const { provider, card } = found
  const expected = provider.expects(card.model, input)
  if (!expected) return { unknown: 'no list has a price for such a request' }
  const priced = books.prices.find(provider.id, [expected.price, card.model], whenMs)
  if (!priced) return { unknown: 'no price is known' }
  if (!isBilled(books.prices, priced)) return { unknown: 'the listed price is not verified' }
  const micros = estimateMicros(priced.price, expected.usage)
  const price = snapshotOf(priced, micros)
  return micros === null ? { unknown: 'the price has no rate for such a request', price } : { micros, price }
}

/** The price by which a call of text is judged, with what it is expected to come to; null where none may be billed. */
export const textPriceOf = (
  books: { prices: PriceBook },
  name: string,
  expected: Expected,
  whenMs: number,
): PriceSnapshot | null => {
  const slash = name.indexOf('/')
  const priced = books.prices.find(name.slice(0, slash), [name.slice(slash + 1)], whenMs)
  if (!priced || !isBilled(books.prices, priced)) return null
  const usage = { input_tokens: expected.inputTokens, output_tokens: expected.outputTokens }
  return snapshotOf(priced, estimateMicros(priced.price, usage))
}

/** An own price is its author's word; a listed one must be verified, or allowed. */
const isBilled = (prices: PriceBook, { price }: FoundPrice): boolean => price.verified || prices.allowUnverified

const snapshotOf = ({ price, overridden }: FoundPrice, micros: number | null): PriceSnapshot => {
  const { note: _note, ...kept } = price
  return { ...kept, overridden, estimated_micros: micros }
}

export const jobPrice = ({ estimated_micros: micros, note: _note, ...price }: PriceSnapshot): JobPrice => ({
  ...price,
  estimated_usd: micros === null ? null : microsToUsd(micros),
})

export type ModelPrice = { model: string; price: PriceView | null; micros: number | null }

/** Of every model that is listed, its price. */
export const modelPrices = (books: { prices: PriceBook }, now: number): ModelPrice[] => [
  ...imagePrices(books, now),
  ...textPrices(books, now),
]

/** Text is priced by the token: a job without a size has no price of its own. */
const textPrices = ({ prices }: { prices: PriceBook }, now: number): ModelPrice[] =>
  TEXT_PROVIDERS.flatMap(({ id, chatModels, embedModels }) =>
    [...chatModels, ...embedModels].map(({ model }) => {
      const found = prices.find(id, [model], now)
      return { model: `${id}/${model}`, price: found && viewOf(prices, found), micros: null }
    }),
  )

/** The price of a job with defaults, and what it comes to where that may be billed. */
const imagePrices = (books: { prices: PriceBook }, now: number): ModelPrice[] => {
  const input: ImageInput = { prompt: 'x' }
  return PROVIDERS.flatMap((provider) =>
    provider.models.map((card) => {
      const model = `${provider.id}/${card.model}`
      const expected = provider.expects(card.model, input)
      const found = expected && books.prices.find(provider.id, [expected.price, card.model], now)
      const priced = priceOf(books, model, input, now)
      return { model, price: found && viewOf(books.prices, found), micros: 'micros' in priced ? priced.micros : null }
    }),
  )
}

const viewOf = (prices: PriceBook, found: FoundPrice): PriceView => ({
  ...found.price,
  overridden: found.overridden,
  billed: isBilled(prices, found),
})

/** The instance's own prices. Every change runs in a transaction. */
export class Pricing {
  readonly #store: PriceStore
  readonly #prices: PriceBook

  constructor(store: PriceStore, prices: PriceBook) {
    this.#store = store
    this.#prices = prices
  }

  list(provider: string | null, now: number): Result<PriceView[]> {
    if (provider !== null && !isProvider(provider)) return noProvider(provider)
    return ok(this.#prices.all(provider, now).map((found) => viewOf(this.#prices, found)))
  }

  /** The price by which a call of the model would be judged now. */
  read(provider: string, model: string, now: number): Result<PriceView> {
    if (!isProvider(provider)) return noProvider(provider)
    const found = this.#prices.find(provider, [model], now)
    return found ? ok(viewOf(this.#prices, found)) : refuse('not_found', 'No price is known for this model.')
  }

  save(provider: string, model: string, request: PriceRequest, now: number): Result<PriceView> {
    if (!isProvider(provider)) return noProvider(provider)
    if (!this.#prices.own(provider, model) && this.#prices.ownCount() >= LIMITS.pricesPerInstance) {
      return refuse('conflict', `An instance holds at most ${LIMITS.pricesPerInstance} prices of its own.`)
    }
    const price: Price = {
      provider,
      model,
      kind: request.kind ?? this.#prices.find(provider, [model], now)?.price.kind ?? null,
      rates: request.rates,
      tiers: request.tiers ?? [],
      images: request.images ?? [],
      effective_from: request.effective_from ?? null,
      effective_to: request.effective_to ?? null,
      source: request.source ?? 'set for this instance',
      verified: true,
      ...(request.note === undefined ? {} : { note: request.note }),
    }
    this.#store.save(price, now)
    this.#prices.reload()
    return ok(viewOf(this.#prices, { price, overridden: true }))
  }

  delete(provider: string, model: string): Result<null> {
    if (!this.#store.delete(provider, model)) {
      return refuse('not_found', 'This instance has no price of its own for this model.')
    }
    this.#prices.reload()
    return ok(null)
  }
}

/** One that jobs may name, or one whose prices are listed. */
const isProvider = (id: string): boolean => upstreamOf(id) !== null || listedProviders().includes(id)

const noProvider = (id: string) => refuse('not_found', `There is no provider "${id}".`)
