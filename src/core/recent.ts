/** Values asked for lately, up to a weight of all together: whatever was not asked for longest goes first. */
export class Recent<V> {
  readonly #maxWeight: number
  readonly #weigh: (value: V) => number
  /** The one asked for last stands last. */
  readonly #values = new Map<string, V>()
  #weight = 0

  constructor(maxWeight: number, weigh: (value: V) => number) {
    this.#maxWeight = maxWeight
    this.#weigh = weigh
  }

  get(key: string): V | undefined {
    const value = this.#values.get(key)
    if (value === undefined) return undefined
    this.#values.delete(key)
    this.#values.set(key, value)
    return value
  }

  /** One that is heavier than a hundredth of all is not kept: it would drive out many for itself. */
  set(key: string, value: V): void {
    this.delete(key)
    const weight = this.#weigh(value)
    if (weight > this.#maxWeight / 100) return
    this.#values.set(key, value)
    this.#weight += weight
    for (const oldest of this.#values.keys()) {
      if (this.#weight <= this.#maxWeight) break
      this.delete(oldest)
    }
  }

  delete(key: string): void {
    const value = this.#values.get(key)
    if (value === undefined) return
    this.#values.delete(key)
    this.#weight -= this.#weigh(value)
  }

  clear(): void {
    this.#values.clear()
    this.#weight = 0
  }
}
