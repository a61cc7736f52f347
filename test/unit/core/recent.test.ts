import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Recent } from '../../../src/core/recent.ts'

const MAX = 1000
const recentTexts = () => new Recent<string>(MAX, (text) => text.length)
const text = (length: number) => 'x'.repeat(length)

describe('values asked for lately', () => {
  test('are kept until there is no room for all, and then those that were not asked for longest go', () => {
    const recent = recentTexts()
    for (let i = 0; i < 100; i += 1) recent.set(`key ${i}`, text(10))
    expect(recent.get('key 0')).toBe(text(10))
    recent.set('one more', text(10))
    expect(recent.get('key 0')).toBe(text(10))
    expect(recent.get('key 1')).toBeUndefined()
    expect(recent.get('key 2')).toBe(text(10))
  })

  test('are not driven out by one that is large', () => {
    const recent = recentTexts()
    for (let i = 0; i < 100; i += 1) recent.set(`key ${i}`, text(10))
    recent.set('large', text(11))
    expect(recent.get('large')).toBeUndefined()
    expect(recent.get('key 0')).toBe(text(10))
  })

  test('are gone where a larger one took their place that is not kept', () => {
    const recent = recentTexts()
    recent.set('key', text(10))
    recent.set('key', text(11))
    expect(recent.get('key')).toBeUndefined()
  })

  test('are what was set last, or nothing, and never weigh more than they may', () => {
    const keys = Array.from({ length: 150 }, (_, i) => `key ${i}`)
    const key = fc.constantFrom(...keys)
    const step = fc.oneof(
      {
        weight: 20,
        arbitrary: fc.record({ kind: fc.constant('set' as const), key, length: fc.integer({ min: 0, max: 12 }) }),
      },
      { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('get' as const, 'delete' as const), key }) },
      { weight: 1, arbitrary: fc.constant({ kind: 'clear' as const }) },
    )
    fc.assert(
      fc.property(fc.array(step, { minLength: 200, maxLength: 600 }), (steps) => {
        const recent = recentTexts()
        const model = new Map<string, string>()
        for (const item of steps) {
          if (item.kind === 'set') {
            recent.set(item.key, text(item.length))
            model.set(item.key, text(item.length))
          } else if (item.kind === 'delete') {
            recent.delete(item.key)
            model.delete(item.key)
          } else if (item.kind === 'clear') {
            recent.clear()
            model.clear()
          } else {
            expect([undefined, model.get(item.key)]).toContain(recent.get(item.key))
          }
        }
        const kept = keys.map((name) => recent.get(name)?.length ?? 0)
        expect(kept.reduce((sum, length) => sum + length, 0)).toBeLessThanOrEqual(MAX)
      }),
      { numRuns: 50 },
    )
  })
})
