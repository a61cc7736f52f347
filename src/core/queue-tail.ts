/** Where a job stands: a lower tag goes first, then a lower id. */
export type Place = { tag: number; id: string }

/**
 * The end of a queue as far as it is known: every place behind a certain one, in order. How many stand behind a job that
 * has come lately is told from it, where a database would have to count; and a queue that is not long is known whole.
 */
export class QueueTail {
  readonly #max: number
  /** All places of the queue from `#from` on. */
  readonly #places: Place[] = []
  /** Null until the queue's last place, or all of it, was seen. */
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

  /** These, in order, are the whole queue. */
  sawAll(places: readonly Place[]): void {
    this.#places.splice(0, this.#places.length, ...places.slice(-this.#max))
    this.#from = places.length > this.#max ? (this.#places[0] ?? null) : BEFORE_ALL
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

  /** The first places of a queue of `count`, behind `after` where that is given; null where not the whole of it is known. */
  heads(count: number, limit: number, after: Place | null): Place[] | null {
    if (this.#from === null || this.#places.length !== count) return null
    const from = after === null ? 0 : this.#indexOf(after)
    const first = after !== null && this.#isAt(from, after) ? from + 1 : from
    return this.#places.slice(first, first + limit)
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

const BEFORE_ALL: Place = { tag: Number.NEGATIVE_INFINITY, id: '' }

const compare = (a: Place, b: Place): number => a.tag - b.tag || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
