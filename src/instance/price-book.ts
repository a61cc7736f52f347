import type { Price } from '../contract/price.ts'
import { indexPrices, isInForce, namesOf, type PriceIndex, priceAt } from '../core/price.ts'
import { listedPrices, listedProviders } from '../prices/list.ts'
import type { PriceStore } from './price-store.ts'

export type FoundPrice = { price: Price; overridden: boolean }

/** What models cost in this instance: its own prices before those of the list. In memory, made from the database. */
export class PriceBook {
  /** Whether prices that nobody has confirmed may be billed here. */
  allowUnverified = false
  readonly #store: PriceStore
  readonly #own = new Map<string, PriceIndex>()

  constructor(store: PriceStore) {
    this.#store = store
    this.reload()
  }

  /** After every change, and after a transaction that was rolled back. */
  reload(): void {
    const prices = Map.groupBy(this.#store.prices(), (price) => price.provider)
    this.#own.clear()
    for (const [provider, own] of prices) this.#own.set(provider, indexPrices(own.map((price) => ({ price }))))
  }

  /**
   * The price in force for the first of `models` that has one. An own price of any of them wins over the list, where only
   * the first counts, as it is the most exact; `*`, what a provider's other models cost, comes after both.
   */
  find(provider: string, models: readonly string[], whenMs: number): FoundPrice | null {
    const list = listedPrices(provider)
    const [exact = ''] = models
    const listed = priceAt(list, namesOf(provider, exact), whenMs)
    const own = this.#own.get(provider)
    if (own) {
      // The list may know the model by another name, and so may the instance.
      const names = [...models.flatMap((model) => namesOf(provider, model)), ...(listed ? [listed.model] : [])]
      const price = ownPrice(own, names, whenMs)
      if (price) return { price, overridden: true }
    }
    if (listed) return { price: listed, overridden: false }
    const others = own && priceAt(own, ['*'], whenMs)
    if (others) return { price: others, overridden: true }
    const any = priceAt(list, ['*'], whenMs)
    return any && { price: any, overridden: false }
  }

  /** Own ones, whether in force or not. */
  own(provider: string, model: string): Price | null {
    return this.#own.get(provider)?.get(model)?.[0] ?? null
  }

  ownCount(): number {
    let count = 0
    for (const index of this.#own.values()) count += index.size
    return count
  }

  /** Own prices, and those of the list in force, of one provider or of all: in the order of their names. */
  all(provider: string | null, whenMs: number): FoundPrice[] {
    const providers = provider === null ? [...new Set([...this.#own.keys(), ...listedProviders()])].sort() : [provider]
    return providers.flatMap((id) => {
      const own = [...(this.#own.get(id)?.values() ?? [])].flat()
      const hidden = new Set(own.filter((price) => isInForce(price, whenMs)).map((price) => price.model))
      const listed = [...new Set([...listedPrices(id).values()].flat())].filter(
        (price) => isInForce(price, whenMs) && !hidden.has(price.model),
      )
      return [
        ...own.map((price) => ({ price, overridden: true })),
        ...listed.map((price) => ({ price, overridden: false })),
      ].sort((one, other) => (one.price.model < other.price.model ? -1 : 1))
    })
  }
}

/** Unlike in the list, a name whose price is not in force gives way to the next. */
const ownPrice = (own: PriceIndex, names: readonly string[], whenMs: number): Price | null => {
  for (const name of names) {
    const price = priceAt(own, [name], whenMs)
    if (price) return price
  }
  return null
}
