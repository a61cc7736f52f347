import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  admit,
  initialLoad,
  nextRequestAt,
  type ProviderLoad,
  type ProviderRules,
  release,
  slow,
} from '../../../src/core/admission.ts'

const NOW = 1_790_000_000_000
const rules = (more: Partial<ProviderRules> = {}): ProviderRules => ({
  enabled: true,
  concurrency: 100,
  rates: [{ limit: 1_000, windowMs: 60_000 }],
  ...more,
})
const load = (more: Partial<ProviderLoad> = {}): ProviderLoad => ({ ...initialLoad(), ...more })

const admitted = (from: ProviderLoad, by: ProviderRules, now: number): ProviderLoad => {
  const admission = admit(from, by, now)
  if (!admission.admitted) throw new Error(`waits for ${admission.waitingFor}`)
  return admission.load
}

describe('admission', () => {
  test('takes a slot and a token of every rate together', () => {
    const two = rules({
      rates: [
        { limit: 1, windowMs: 1_000 },
        { limit: 1, windowMs: 60_000 },
      ],
    })
    const after = admitted(initialLoad(), two, NOW)
    expect(after).toEqual({ running: 1, blockedUntilMs: 0, fullAtMs: [NOW + 1_000, NOW + 60_000] })
  })

  test('takes nothing where one rate of several is used up, and names the time at which all let a call out', () => {
    const two = rules({
      rates: [
        { limit: 1, windowMs: 1_000 },
        { limit: 1, windowMs: 60_000 },
      ],
    })
    const used = load({ fullAtMs: [0, NOW + 5_000] })
    expect(admit(used, two, NOW)).toEqual({ admitted: false, waitingFor: 'provider_rate', untilMs: NOW + 5_000 })
    expect(used).toEqual(load({ fullAtMs: [0, NOW + 5_000] }))
    // The first rate was not charged for the refusal: both are there at the named time.
    expect(admit(used, two, NOW + 4_999).admitted).toBe(false)
    expect(admit(used, two, NOW + 5_000).admitted).toBe(true)
  })

  test('takes no token where every slot is used', () => {
    const full = load({ running: 2 })
    expect(admit(full, rules({ concurrency: 2 }), NOW)).toEqual({
      admitted: false,
      waitingFor: 'concurrency',
      untilMs: null,
    })
    expect(admit(release(full), rules({ concurrency: 2 }), NOW).admitted).toBe(true)
  })

  test('admits nothing while the provider is switched off, without a time to wait for', () => {
    expect(admit(initialLoad(), rules({ enabled: false }), NOW)).toEqual({
      admitted: false,
      waitingFor: 'order',
      untilMs: null,
    })
  })

  test('leaves a provider alone for exactly as long as it asked', () => {
    const asked = slow(initialLoad(), NOW, 2_500)
    expect(admit(asked, rules(), NOW + 2_499)).toEqual({
      admitted: false,
      waitingFor: 'provider_rate',
      untilMs: NOW + 2_500,
    })
    expect(admit(asked, rules(), NOW + 2_500).admitted).toBe(true)
  })

  test('a shorter wish for silence does not shorten a longer one, a longer one lengthens it', () => {
    const asked = slow(initialLoad(), NOW, 10_000)
    expect(slow(asked, NOW + 1_000, 1_000).blockedUntilMs).toBe(NOW + 10_000)
    expect(slow(asked, NOW + 1_000, 20_000).blockedUntilMs).toBe(NOW + 21_000)
  })

  test('a slot given back twice does not become two', () => {
    const once = release(load({ running: 1 }))
    expect(release(once).running).toBe(0)
  })

  test('a rate that was added later starts full', () => {
    const two = rules({
      rates: [
        { limit: 1, windowMs: 1_000 },
        { limit: 1, windowMs: 60_000 },
      ],
    })
    expect(nextRequestAt(load({ fullAtMs: [NOW - 1] }), two, NOW)).toBe(NOW)
  })

  test('admission agrees with the time it announces', () => {
    const rates = fc.array(
      fc.record({ limit: fc.integer({ min: 1, max: 50 }), windowMs: fc.constantFrom(1_000, 60_000) }),
      {
        maxLength: 3,
      },
    )
    const state = fc.record({
      fullIn: fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { maxLength: 3 }),
      blockedUntilMs: fc.integer({ min: NOW - 10_000, max: NOW + 10_000 }),
    })
    fc.assert(
      fc.property(rates, state, (of, { fullIn, blockedUntilMs }) => {
        // A bucket is full within one window, unless the clock was set back.
        const fullAtMs = fullIn.map((part, i) => NOW + Math.floor(part * (of[i]?.windowMs ?? 1)))
        const start = load({ fullAtMs, blockedUntilMs })
        const at = nextRequestAt(start, rules({ rates: of }), NOW)
        expect(admit(start, rules({ rates: of }), NOW).admitted).toBe(at === NOW)
        expect(admit(start, rules({ rates: of }), at).admitted).toBe(true)
      }),
    )
  })

  test('over any history of calls and ends, no more run at once than allowed and no rate is exceeded', () => {
    const event = fc.oneof(
      fc.record({ type: fc.constant('call' as const), wait: fc.constant(0) }),
      fc.record({ type: fc.constant('call' as const), wait: fc.nat({ max: 3_000 }) }),
      fc.record({ type: fc.constant('end' as const), wait: fc.nat({ max: 500 }) }),
      fc.record({ type: fc.constant('slow' as const), wait: fc.nat({ max: 2_000 }) }),
    )
    const setting = fc.record({
      concurrency: fc.integer({ min: 1, max: 5 }),
      perSecond: fc.integer({ min: 1, max: 30 }),
    })
    fc.assert(
      fc.property(setting, fc.array(event, { maxLength: 200 }), ({ concurrency, perSecond }, events) => {
        const by = rules({
          concurrency,
          rates: [
            { limit: perSecond, windowMs: 1_000 },
            { limit: 20, windowMs: 60_000 },
          ],
        })
        let state = initialLoad()
        let now = NOW
        let running = 0
        let silentUntil = 0
        const calls: number[] = []
        for (const { type, wait } of events) {
          now += wait
          if (type === 'end' && running > 0) {
            running -= 1
            state = release(state)
          }
          if (type === 'slow') {
            state = slow(state, now, wait)
            silentUntil = Math.max(silentUntil, now + wait)
          }
          if (type !== 'call') continue
          const admission = admit(state, by, now)
          if (!admission.admitted) continue
          expect(now).toBeGreaterThanOrEqual(silentUntil)
          running += 1
          calls.push(now)
          state = admission.load
          expect(running).toBeLessThanOrEqual(concurrency)
          expect(state.running).toBe(running)
        }
        for (const [limit, windowMs] of [
          [perSecond, 1_000],
          [20, 60_000],
        ] as const)
          for (const from of calls)
            expect(calls.filter((at) => at >= from && at < from + windowMs).length).toBeLessThanOrEqual(limit)
      }),
    )
  })
})
