import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Adaptive, inForce, initialAdaptive, narrow, widen } from '../../../src/core/adaptive.ts'
import { LIMITS } from '../../../src/limits.ts'

const NOW = 1_790_000_000_000

const many = (times: number, change: (from: Adaptive) => Adaptive, from: Adaptive): Adaptive =>
  Array.from({ length: times }).reduce<Adaptive>(change, from)

describe('a limit learned from the provider', () => {
  test('begins as configured', () => {
    expect(inForce(100, initialAdaptive())).toBe(100)
  })

  test('is halved by "too fast" and grows back by a fiftieth of the whole per success', () => {
    const narrowed = narrow(initialAdaptive(), NOW)
    expect(inForce(100, narrowed)).toBe(50)
    expect(inForce(100, widen(narrowed))).toBe(52)
    expect(inForce(100, many(24, widen, narrowed))).toBe(98)
    expect(inForce(100, many(25, widen, narrowed))).toBe(100)
  })

  test('never grows beyond what is configured', () => {
    expect(inForce(100, many(500, widen, narrow(initialAdaptive(), NOW)))).toBe(100)
  })

  test('is halved once by a burst of refusals, and again by one that comes after the burst', () => {
    const once = narrow(initialAdaptive(), NOW)
    const burst = [0, 1, 500, LIMITS.adaptiveQuietMs - 1].reduce((at, wait) => narrow(at, NOW + wait), once)
    expect(burst).toBe(once)
    expect(inForce(100, narrow(burst, NOW + LIMITS.adaptiveQuietMs))).toBe(25)
  })

  test('is never narrowed below a tenth, and never below one call', () => {
    let adaptive = initialAdaptive()
    for (let i = 0; i < 20; i += 1) adaptive = narrow(adaptive, NOW + i * 5_000)
    expect(inForce(100, adaptive)).toBe(10)
    expect(inForce(3, adaptive)).toBe(1)
  })

  test('is still narrowed after the clock was set back by a year', () => {
    const once = narrow(initialAdaptive(), NOW)
    expect(inForce(100, narrow(once, NOW - 365 * 86_400_000))).toBe(25)
  })

  test('stays between one and the configured limit over any history', () => {
    const history = fc.array(fc.oneof(fc.constant('success' as const), fc.nat({ max: 5_000 })), { maxLength: 200 })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000 }), history, (limit, events) => {
        let adaptive = initialAdaptive()
        let now = NOW
        for (const event of events) {
          const before = inForce(limit, adaptive)
          if (event === 'success') {
            adaptive = widen(adaptive)
            expect(inForce(limit, adaptive)).toBeGreaterThanOrEqual(before)
          } else {
            now += event
            adaptive = narrow(adaptive, now)
            expect(inForce(limit, adaptive)).toBeLessThanOrEqual(before)
          }
          expect(inForce(limit, adaptive)).toBeGreaterThanOrEqual(1)
          expect(inForce(limit, adaptive)).toBeLessThanOrEqual(limit)
          expect(adaptive.share).toBeGreaterThanOrEqual(LIMITS.adaptiveShareMin)
        }
      }),
    )
  })

  test('settles near what a provider really bears, below the limit that was configured too high', () => {
    // The provider bears 30 of 100 at once and refuses a turn with more.
    let adaptive = initialAdaptive()
    const inUse: number[] = []
    for (let turn = 0; turn < 600; turn += 1) {
      const limit = inForce(100, adaptive)
      inUse.push(limit)
      adaptive = limit > 30 ? narrow(adaptive, NOW + turn * 2_000) : widen(adaptive)
    }
    const steady = inUse.slice(100)
    expect(Math.max(...steady)).toBeLessThanOrEqual(32)
    expect(steady.reduce((sum, limit) => sum + limit, 0) / steady.length).toBeGreaterThan(20)
  })
})
