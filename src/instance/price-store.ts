import * as v from 'valibot'
import { Price } from '../contract/price.ts'

/** All SQL about an instance's own prices. */

const Row = v.object({ price: v.pipe(v.string(), v.parseJson(), Price) })

export class PriceStore {
  readonly #sql: SqlStorage

  constructor(sql: SqlStorage) {
    this.#sql = sql
  }

  prices(): Price[] {
    return this.#sql
      .exec('SELECT price FROM prices ORDER BY provider, model')
      .toArray()
      .map((row) => v.parse(Row, row).price)
  }

  save(price: Price, now: number): void {
    this.#sql.exec(
      'INSERT OR REPLACE INTO prices (provider, model, price, updated_at_ms) VALUES (?, ?, ?, ?)',
      price.provider,
      price.model,
      JSON.stringify(price),
      now,
    )
  }

  /** False where there was none. */
  delete(provider: string, model: string): boolean {
    return (
      this.#sql.exec('DELETE FROM prices WHERE provider = ? AND model = ? RETURNING model', provider, model).toArray()
        .length > 0
    )
  }
}
