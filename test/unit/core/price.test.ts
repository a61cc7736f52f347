import { describe, expect, test } from 'vitest'
import type { Price } from '../../../src/contract/price.ts'
import { indexPrices, type Listed, namesOf, priceAt } from '../../../src/core/price.ts'

const price = (model: string, more: Partial<Price> = {}): Price => ({
  ...{ provider: 'p', model, kind: null, rates: {}, tiers: [], images: [] },
  ...{ effective_from: null, effective_to: null, source: 'a test', verified: true },
  ...more,
})
const at = (prices: Listed[], model: string, when = '2026-11-21T00:00:00Z'): Price | null =>
  priceAt(indexPrices(prices), namesOf('p', model), Date.parse(when))

describe('a model is listed', () => {
  test.each([
    ['m', 'm'],
    ['p/m', 'm'],
    ['models/m', 'm'],
    ['m-2026-09-01', 'm'],
    ['m-20260901', 'm'],
    ['m@20260901', 'm'],
    ['p/m-20260901', 'm'],
    ['m-latest', 'm'],
    ['also-m', 'm'],
    ['also-m-2026-09-01', 'm'],
    ['m/turbo', 'm/turbo'],
  ])('as %s under %s', (asked, model) => {
    const list = [{ price: price('m'), aliases: ['also-m'] }, { price: price('m/turbo') }]
    expect(at(list, asked)?.model).toBe(model)
  })

  test.each(['m2', 'm-mini', 'm-2026', 'm-2026-09', 'm-2026-99-01', 'm-2026-0901', 'm/quality', 'q/m', 'M', ''])(
    'but not as %j',
    (asked) => {
      expect(at([{ price: price('m') }], asked)).toBeNull()
    },
  )

  test('with the day of its edition where that has a price of its own', () => {
    const list = [{ price: price('m') }, { price: price('m-2026-09-01') }]
    expect(at(list, 'm-2026-09-01')?.model).toBe('m-2026-09-01')
    expect(at(list, 'm-2026-10-01')?.model).toBe('m')
  })

  test('by its own name even where that is the alias of another', () => {
    const list = [{ price: price('one'), aliases: ['two'] }, { price: price('two') }]
    expect(at(list, 'two')?.model).toBe('two')
  })
})

describe('a price holds', () => {
  const list: Listed[] = [
    { price: price('m', { effective_to: '2026-08-21', source: 'old' }) },
    { price: price('m', { effective_from: '2026-08-21', effective_to: '2027-01-01', source: 'new' }) },
  ]

  test.each([
    ['2020-01-01T00:00:00Z', 'old'],
    ['2026-08-20T23:59:59.999Z', 'old'],
    ['2026-08-21T00:00:00.000Z', 'new'],
    ['2026-12-31T23:59:59.999Z', 'new'],
    ['2027-01-01T00:00:00.000Z', undefined],
  ])('at %s: %s', (when, source) => {
    expect(at(list, 'm', when)?.source).toBe(source)
  })
})
