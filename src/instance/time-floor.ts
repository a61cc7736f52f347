/**
 * A time before which nothing in a table is due, so that the table is asked only when it has been reached. It may lie lower than
 * the earliest that is there, where that one is gone meanwhile; null where there is none.
 */
export class TimeFloor {
  /** Undefined where nothing is known. */
  #atMs: number | null | undefined

  /** What is not known may have been reached. */
  isReached(now: number): boolean {
    return this.#atMs === undefined || (this.#atMs !== null && this.#atMs <= now)
  }

  /** Something is due at this time from now on. */
  lower(atMs: number | null): void {
    if (this.#atMs === undefined || atMs === null) return
    this.#atMs = this.#atMs === null ? atMs : Math.min(this.#atMs, atMs)
  }

  /** Asks where it is not known. */
  read(ask: () => number | null): number | null {
    if (this.#atMs === undefined) this.#atMs = ask()
    return this.#atMs
  }

  forget(): void {
    this.#atMs = undefined
  }
}
