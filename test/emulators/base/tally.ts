/** How often something happened, by name. */
export type Tally = Record<string, number>

export function count(tally: Tally, name: string | number): void {
  tally[name] = (tally[name] ?? 0) + 1
}

/** Prompts that have been seen, in bounded room: the oldest are forgotten. */
export class Sights {
  readonly #seen = new Set<string>()
  readonly #max: number

  constructor(max: number) {
    this.#max = max
  }

  isFirst(prompt: string): boolean {
    if (this.#seen.has(prompt)) return false
    if (this.#seen.size >= this.#max) this.#seen.delete(this.#seen.keys().next().value as string)
    this.#seen.add(prompt)
    return true
  }
}

/** All of a list but what is older than the newest `limit`. */
export const newest = <Item>(list: readonly Item[], limit: number): Item[] => (limit === 0 ? [] : list.slice(-limit))
