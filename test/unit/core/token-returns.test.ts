import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { admit, initialLoad, type Limiter, returnTokens, tokenCharge } from '../../../src/core/admission.ts'
import { TokenReturns } from '../../../src/core/token-returns.ts'

const WINDOW_MS = 60_000
const LIMIT = 10_000
const rules: Limiter['rules'] = {
  concurrency: null,
  rates: [{ id: 'tokens_per_minute', limit: LIMIT, windowMs: WINDOW_MS }],
}

/** A limit in tokens, and calls that are charged with what they are expected to use when they begin. */
const line = () => {
  const returns = new TokenReturns()
  let load = initialLoad()
  const calls: { at: number; tokens: number }[] = []
  return {
    begin: (expected: number, now: number) => {
      const limiter = { name: 'limit', rules, load }
      const admission = admit([limiter], expected, now)
      const charge = tokenCharge(limiter, now)
      if (!admission.admitted || !charge) return null
      load = admission.loads[0] ?? load
      const call = { at: now, tokens: expected }
      calls.push(call)
      const number = returns.charged(charge.missingMs)
      return (used: number) => {
        call.tokens = used
        load = returnTokens(load, returns.giveBack(number, (expected - used) * charge.msPerToken))
      }
    },
    fullAtMs: () => load.fullAtMs.tokens_per_minute ?? 0,
    busiest: () =>
      Math.max(
        0,
        ...calls.map(({ at: from }) =>
          calls.reduce((sum, { at, tokens }) => sum + (at >= from && at < from + WINDOW_MS ? tokens : 0), 0),
        ),
      ),
  }
}

describe('what calls did not use of their tokens', () => {
  test('comes back, so that others may begin', () => {
    const { begin } = line()
    const end = begin(1_000, 0)
    expect(begin(100, 1)).toBe(null)
    end?.(10)
    expect(begin(100, 1)).not.toBe(null)
  })

  test('exceeds no limit where calls last longer than the window and their charge is long forgotten', () => {
    const { begin, busiest } = line()
    const slow: { endsAt: number; end: (used: number) => void }[] = []
    for (let now = 0; now < 90_000; now += 10) {
      const end = begin(100, now)
      if (end) slow.push({ endsAt: now + 90_000, end })
    }
    for (let now = 90_000; now < 200_000; now += 10) {
      while (slow[0] && slow[0].endsAt <= now) slow.shift()?.end(10)
      begin(100, now)
    }
    expect(busiest()).toBeLessThanOrEqual(LIMIT)
    expect(busiest()).toBeGreaterThan(LIMIT * 0.9)
  })

  test('leaves the bucket as if they had been charged with what they used, whatever the order they end in', () => {
    const call = fc.record({
      waitMs: fc.integer({ min: 0, max: 9_000 }),
      expected: fc.integer({ min: 1, max: 900 }),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      endsBehind: fc.integer({ min: 0, max: 6 }),
    })
    fc.assert(
      fc.property(fc.array(call, { minLength: 1, maxLength: 30 }), (calls) => {
        const charged = line()
        const open: { left: number; end: () => void }[] = []
        const ideal: { at: number; used: number }[] = []
        let now = 1_000_000
        const rateMs = tokenCharge({ name: 'limit', rules, load: initialLoad() }, now)?.msPerToken ?? 0
        for (const { waitMs, expected, share, endsBehind } of calls) {
          now += waitMs
          const used = Math.floor(expected * share)
          const end = charged.begin(expected, now)
          if (end) {
            open.push({ left: endsBehind, end: () => end(used) })
            ideal.push({ at: now, used })
          }
          for (const one of open) one.left -= 1
          for (const one of open.filter(({ left }) => left < 0)) one.end()
          open.splice(0, open.length, ...open.filter(({ left }) => left >= 0))
        }
        for (const { end } of open) end()
        const fullAtMs = ideal.reduce((full, { at, used }) => Math.max(full, at) + used * rateMs, 0)
        expect(Math.abs(charged.fullAtMs() - fullAtMs)).toBeLessThan(1)
        expect(charged.busiest()).toBeLessThanOrEqual(LIMIT)
      }),
    )
  })

  test('is remembered within bounds, and what is forgotten comes back to nobody', () => {
    const returns = new TokenReturns()
    const first = returns.charged(0)
    const charges = Array.from({ length: 5_000 }, (_, i) => returns.charged(i + 1))
    expect(returns.giveBack(first, 10)).toBeLessThanOrEqual(1)
    expect(returns.giveBack(charges.at(-1) ?? 0, 10)).toBe(10)
    expect(returns.giveBack(charges[0] ?? 0, 10_000)).toBeLessThanOrEqual(1)
  })
})
