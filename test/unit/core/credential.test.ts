import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pickByWeight } from '../../../src/core/credential.ts'

const anyItems = fc.array(fc.record({ name: fc.string(), weight: fc.integer({ min: 0, max: 1_000 }) }), {
  maxLength: 8,
})
const anyRandom = fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 1, 1 - Number.EPSILON))

describe('choosing a credential', () => {
  test('follows the weights exactly over evenly spread chances', () => {
    const items = [
      { name: 'one', weight: 1 },
      { name: 'none', weight: 0 },
      { name: 'three', weight: 3 },
      { name: 'six', weight: 6 },
    ]
    const chosen: Record<string, number> = {}
    for (let i = 0; i < 1_000; i += 1) {
      const name = pickByWeight(items, (i + 0.5) / 1_000)?.name ?? 'nobody'
      chosen[name] = (chosen[name] ?? 0) + 1
    }
    expect(chosen).toEqual({ one: 100, three: 300, six: 600 })
  })

  test('gives each its share of any set, within one part of the grid', () => {
    fc.assert(
      fc.property(anyItems, (items) => {
        const total = items.reduce((sum, { weight }) => sum + weight, 0)
        fc.pre(total > 0)
        const draws = 500
        const picks = Array.from({ length: draws }, (_, i) => pickByWeight(items, (i + 0.5) / draws))
        for (const item of items) {
          const share = picks.filter((pick) => pick === item).length / draws
          expect(Math.abs(share - item.weight / total)).toBeLessThanOrEqual(1 / draws + 1e-9)
        }
      }),
    )
  })

  test('never takes one of weight zero, at the edges of chance neither', () => {
    fc.assert(
      fc.property(anyItems, anyRandom, (items, random) => {
        const picked = pickByWeight(items, random)
        if (picked) expect(picked.weight).toBeGreaterThan(0)
      }),
    )
    expect(pickByWeight([{ weight: 0 }, { weight: 5 }, { weight: 0 }], 0)).toEqual({ weight: 5 })
    expect(pickByWeight([{ weight: 0 }, { weight: 5 }, { weight: 0 }], 1)).toEqual({ weight: 5 })
  })

  test('gives nothing only where there is none with a weight', () => {
    fc.assert(
      fc.property(anyItems, anyRandom, (items, random) => {
        expect(pickByWeight(items, random) === null).toBe(items.every(({ weight }) => weight === 0))
      }),
    )
    expect(pickByWeight([], 0.5)).toBeNull()
  })
})
