/** Where a job stands: a lower tag goes first, then a lower id. */
export type Place = { tag: number; id: string }

/**
 * The end of a queue as far as it is known: every place behind a certain one, in order. How many stand behind a job that
 * has come lately is told from it, where a database would have to count.
 */
export class QueueTail {
  readonly #max: number
  /** All places of the queue from `#from` on. */
  readonly #places: Place[] = []
  /** Null until the queue's last place was seen. */
  #from: Place | null = null

  /** `max`: places remembered. */
  constructor(max: number) {
    this.#max = max
  }

  /** Nobody stands behind this one. */
  sawLast(place: Place): void {
    this.#from = place
    this.#places.splice(0, this.#places.length, place)
  }

  entered(place: Place): void {
    if (!this.#isKnown(place)) return
    const at = this.#indexOf(place)
    if (this.#isAt(at, place)) return
    this.#places.splice(at, 0, place)
    if (this.#places.length <= this.#max) return
    this.#places.shift()
    this.#from = this.#places[0] ?? null
  }

  left(place: Place): void {
    if (!this.#isKnown(place)) return
    const at = this.#indexOf(place)
    if (this.#isAt(at, place)) this.#places.splice(at, 1)
  }

  /** How many stand behind this one; null where that is not known. */
  behind(place: Place): number | null {
    if (!this.#isKnown(place)) return null
    const at = this.#indexOf(place)
    return this.#places.length - at - (this.#isAt(at, place) ? 1 : 0)
  }

  #isAt(at: number, place: Place): boolean {
    const other = this.#places[at]
    return other !== undefined && compare(other, place) === 0
  }

  #isKnown(place: Place): boolean {
    return this.#from !== null && compare(place, this.#from) >= 0
  }

  /** Of the first place that does not stand before this one. Most have come last. */
  #indexOf(place: Place): number {
    let low = 0
    let high = this.#places.length
    while (low < high) {
      const middle = (low + high) >> 1
      const other = this.#places[middle]
      if (other && compare(other, place) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

const compare = (a: Place, b: Place): number => a.tag - b.tag || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
