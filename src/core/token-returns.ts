/**
 * What calls may give back to a bucket of tokens: they were charged with what they were expected to use, and some use less.
 * A bucket that has filled up meanwhile has forgotten that charge, and owes nothing for it any more. So of each charge as much
 * comes back as if less had been charged at the time, and the bucket stays strict: no window sees more than its limit.
 *
 * Amounts are in ms, as the bucket's own: what they put off the time at which it is full.
 */
export class TokenReturns {
  /** Charges so far: each has its number. */
  #charges = 0
  /** The least that was missing from the bucket before any charge from this number on; ascending in both. */
  readonly #lows: { from: number; ms: number }[] = []

  /** A charge, before which `missingMs` were missing from the bucket. Returns its number. */
  charged(missingMs: number): number {
    this.#charges += 1
    this.#drop(this.#lows.length, missingMs)
    this.#lows.push({ from: this.#charges, ms: missingMs })
    const [first, second] = this.#lows
    // Forgetting where the first low lay leaves less to come back, never more.
    if (first && second && this.#lows.length > LOWS_MAX) {
      second.ms = first.ms
      this.#lows.shift()
    }
    return this.#charges
  }

  /** What comes back of a charge that was too high by `ms`, each told once. */
  giveBack(charge: number, ms: number): number {
    const at = this.#lows.findIndex(({ from }) => from > charge)
    if (at < 0) return ms
    const back = Math.min(ms, this.#lows[at]?.ms ?? 0)
    // Whoever came behind met that much less.
    for (const low of this.#lows.slice(at)) low.ms -= back
    this.#drop(at, this.#lows[at]?.ms ?? 0)
    return back
  }

  /** Lows before this place that are no lower than what came later say nothing. */
  #drop(before: number, ms: number): void {
    let from = before
    while (from > 0 && (this.#lows[from - 1]?.ms ?? 0) >= ms) from -= 1
    this.#lows.splice(from, before - from)
  }
}

const LOWS_MAX = 256
