import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  admit,
  initialLoad,
  type Limiter,
  type LimiterLoad,
  type LimiterRate,
  type LimiterRules,
  limitInForce,
  paceOf,
  pause,
  readyAt,
  relax,
  release,
  requestQuota,
  slotsOf,
  slow,
  underRules,
  withinReach,
} from '../../../src/core/admission.ts'
import { LIMITS } from '../../../src/limits.ts'

const NOW = 1_790_000_000_000
const MINUTE = 60_000
const DAY = 86_400_000
const YEAR = 365 * DAY
/** As a window is kept: longer by what two calls may differ on their way. */
const MINUTE_KEPT = MINUTE + 600
const DAY_KEPT = DAY + 1000

const perMinute = (limit: number): LimiterRate => ({ id: 'per_minute', limit, windowMs: MINUTE })
const perDay = (limit: number): LimiterRate => ({ id: 'per_day', limit, windowMs: DAY })
const tokensPerMinute = (limit: number): LimiterRate => ({ id: 'tokens_per_minute', limit, windowMs: MINUTE })

const limiter = (rules: Partial<LimiterRules>, load: Partial<LimiterLoad> = {}, name = 'provider'): Limiter => ({
  name,
  rules: { concurrency: null, rates: [], ...rules },
  load: { ...initialLoad(), ...load },
})

const admitted = (limiters: readonly Limiter[], now: number, tokens = 0): Limiter[] => {
  const admission = admit(limiters, tokens, now)
  if (!admission.admitted) throw new Error(`waits for ${admission.limit}`)
  return limiters.map((item, i) => ({ ...item, load: admission.loads[i] ?? initialLoad() }))
}

describe('admission by one limiter', () => {
  test('takes a slot and a token of every rate together', () => {
    const [after] = admitted([limiter({ concurrency: 2, rates: [perMinute(1), perDay(1)] })], NOW)
    expect(after?.load).toMatchObject({
      running: 1,
      fullAtMs: { per_minute: NOW + MINUTE_KEPT, per_day: NOW + DAY_KEPT },
    })
  })

  test('takes nothing where one rate of several is used up, and names the time at which all let a call out', () => {
    const used = limiter({ rates: [perMinute(1), perDay(1)] }, { fullAtMs: { per_day: NOW + 5_000 } })
    expect(admit([used], 0, NOW)).toEqual({
      admitted: false,
      waitingFor: 'provider_rate',
      limit: 'provider',
      untilMs: NOW + 5_000,
    })
    expect(used.load).toEqual({ ...initialLoad(), fullAtMs: { per_day: NOW + 5_000 } })
    expect(admit([used], 0, NOW + 4_999).admitted).toBe(false)
    expect(admit([used], 0, NOW + 5_000).admitted).toBe(true)
  })

  test('refuses where every slot is used, and lets a call in as soon as one is free', () => {
    const full = limiter({ concurrency: 2 }, { running: 2 })
    expect(admit([full], 0, NOW)).toEqual({
      admitted: false,
      waitingFor: 'concurrency',
      limit: 'provider',
      untilMs: null,
    })
    expect(admit([{ ...full, load: release(full.load) }], 0, NOW).admitted).toBe(true)
  })

  test('a limiter without limits lets everything out', () => {
    expect(admit([limiter({}, { running: 1_000_000 })], 1_000_000, NOW).admitted).toBe(true)
    expect(admit([], 5, NOW)).toEqual({ admitted: true, loads: [] })
  })

  test('a slot given back twice does not become two', () => {
    expect(release(release({ ...initialLoad(), running: 1 })).running).toBe(0)
  })

  test('a rate that was added later starts full', () => {
    expect(readyAt(limiter({ rates: [perMinute(1), perDay(1)] }, { fullAtMs: { per_minute: NOW } }), 0, NOW)).toBe(NOW)
  })

  test('a call counts its tokens against rates in tokens and one against rates in requests', () => {
    const [after] = admitted([limiter({ rates: [perMinute(60), tokensPerMinute(60)] })], NOW, 6)
    const { per_minute = 0, tokens_per_minute = 0 } = after?.load.fullAtMs ?? {}
    expect(tokens_per_minute - NOW).toBe(6 * (per_minute - NOW))
  })

  test('a call of few tokens goes out where one of many has to wait', () => {
    const half = limiter({ rates: [tokensPerMinute(100)] }, { fullAtMs: { tokens_per_minute: NOW + 5 * 660 } })
    expect(admit([half], 4, NOW).admitted).toBe(true)
    expect(admit([half], 9, NOW)).toMatchObject({ admitted: false, waitingFor: 'provider_rate' })
  })
})

describe('several limiters', () => {
  const provider = limiter({ concurrency: 5, rates: [perMinute(100)] }, {}, 'provider')

  test('are charged together', () => {
    const after = admitted([provider, limiter({ concurrency: 1, rates: [perDay(1)] }, {}, 'model')], NOW)
    expect(after.map(({ load }) => load.running)).toEqual([1, 1])
    expect(after.map(({ load }) => Object.keys(load.fullAtMs))).toEqual([['per_minute'], ['per_day']])
  })

  test.each([
    ['a slot', limiter({ concurrency: 1 }, { running: 1 }, 'model'), 'concurrency'],
    ['a rate', limiter({ rates: [perDay(1)] }, { fullAtMs: { per_day: NOW + 7 } }, 'model'), 'provider_rate'],
    ['silence', limiter({}, { blockedUntilMs: NOW + 7 }, 'model'), 'provider_rate'],
  ] as const)(
    'none is charged where the second lacks %s, and the one at fault is named',
    (_what, model, waitingFor) => {
      const before = structuredClone([provider, model])
      expect(admit([provider, model], 0, NOW)).toMatchObject({ admitted: false, waitingFor, limit: 'model' })
      expect([provider, model]).toEqual(before)
    },
  )
})

describe('a provider that asks for silence', () => {
  test('is left alone for exactly as long as it asked', () => {
    const asked = limiter({}, pause(initialLoad(), NOW, 2_500))
    expect(admit([asked], 0, NOW + 2_499)).toMatchObject({ waitingFor: 'provider_rate', untilMs: NOW + 2_500 })
    expect(admit([asked], 0, NOW + 2_500).admitted).toBe(true)
  })

  test('a shorter wish for silence does not shorten a longer one, a longer one lengthens it', () => {
    const asked = slow(initialLoad(), NOW, 10_000)
    expect(slow(asked, NOW + 1_000, 1_000).blockedUntilMs).toBe(NOW + 10_000)
    expect(slow(asked, NOW + 1_000, 20_000).blockedUntilMs).toBe(NOW + 21_000)
  })

  test('is given half as many slots and half the rate after "too fast", and all again after enough successes', () => {
    const rules = { concurrency: 10, rates: [perMinute(600)] }
    const before = limiter(rules)
    const narrowed = limiter(rules, slow(initialLoad(), NOW, 0))
    expect([slotsOf(before), slotsOf(narrowed)]).toEqual([10, 5])
    expect(paceOf(narrowed, 0)).toBeGreaterThan(1.9 * paceOf(before, 0))
    let { load } = narrowed
    for (let i = 0; i < 25; i += 1) load = relax(load)
    expect(slotsOf(limiter(rules, load))).toBe(10)
    expect(paceOf(limiter(rules, load), 0)).toBe(paceOf(before, 0))
  })

  test('a pause alone narrows nothing, and a success without a narrowing changes nothing', () => {
    expect(pause(initialLoad(), NOW, 500).adaptive).toEqual(initialLoad().adaptive)
    const load = initialLoad()
    expect(relax(load)).toBe(load)
  })

  test('is never cut off: the tightest limit, narrowed as far as it goes, still lets one call out', () => {
    let load = initialLoad()
    for (let i = 0; i < 20; i += 1) load = slow(load, NOW + i * 10_000, 0)
    const narrow = limiter({ concurrency: 1, rates: [perMinute(1)] }, load)
    expect(slotsOf(narrow)).toBe(1)
    expect(paceOf(narrow, 0)).toBe(MINUTE_KEPT)
  })
})

describe('what others are told of a limiter', () => {
  test('the pace is that of the tightest rate, and none without a rate', () => {
    expect(paceOf(limiter({ rates: [perMinute(10), tokensPerMinute(1_000)] }), 50)).toBe(MINUTE_KEPT / 10)
    expect(paceOf(limiter({ rates: [perMinute(10), tokensPerMinute(10)] }), 1)).toBe(MINUTE_KEPT / 10)
    expect(paceOf(limiter({ rates: [perMinute(100), tokensPerMinute(100)] }), 5)).toBeCloseTo((5 * MINUTE_KEPT) / 91, 2)
    expect(paceOf(limiter({ concurrency: 3 }), 5)).toBe(0)
  })

  test('slots are without end where there is no limit', () => {
    expect(slotsOf(limiter({}))).toBe(Number.POSITIVE_INFINITY)
  })

  test('the quota counts requests: a rate in tokens alone is none', () => {
    expect(requestQuota(limiter({ rates: [tokensPerMinute(100)] }), NOW)).toBeNull()
    expect(requestQuota(limiter({}), NOW)).toBeNull()
  })

  test('the quota is that of the rate with the least left, whichever is named first', () => {
    const dayUsedUp = limiter({ rates: [perMinute(100), perDay(100)] }, { fullAtMs: { per_day: NOW + DAY / 2 } })
    const quota = requestQuota(dayUsedUp, NOW)
    expect(quota).toMatchObject({ limit: 100, windowMs: DAY, left: 0 })
    expect(quota?.nextAt).toBe(readyAt(dayUsedUp, 0, NOW))
    const minuteUsedUp = limiter({ rates: [perDay(1_000), perMinute(1)] }, { fullAtMs: { per_minute: NOW + 1_000 } })
    expect(requestQuota(minuteUsedUp, NOW)).toEqual({ limit: 1, windowMs: MINUTE, left: 0, nextAt: NOW + 1_000 })
  })

  test('the quota says that nothing is left while the provider wants silence', () => {
    expect(requestQuota(limiter({ rates: [perMinute(100)] }, { blockedUntilMs: NOW + 9 }), NOW)).toMatchObject({
      left: 0,
      nextAt: NOW + 9,
    })
  })

  test('as many calls as the quota says are left go out at once, and not one more', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.nat({ max: 60 }), fc.boolean(), (limit, taken, isNarrow) => {
        const load = isNarrow ? { ...initialLoad(), adaptive: { share: 0.5, narrowedAtMs: NOW } } : initialLoad()
        let state = [limiter({ rates: [perMinute(limit)] }, load)]
        for (let i = 0; i < taken && admit(state, 0, NOW).admitted; i += 1) state = admitted(state, NOW)
        const left = state[0] ? (requestQuota(state[0], NOW)?.left ?? 0) : 0
        for (let i = 0; i < left; i += 1) state = admitted(state, NOW)
        expect(admit(state, 0, NOW).admitted).toBe(false)
      }),
    )
  })
})

describe('a clock that was set back by a year', () => {
  test('stops a full bucket for about one window, not for a year', () => {
    const rules = { rates: [perMinute(100), perDay(1)] }
    const used = limiter(rules, { fullAtMs: { per_minute: NOW + MINUTE / 2, per_day: NOW + DAY } })
    const back = NOW - YEAR
    const kept = limiter(rules, withinReach(used, back))
    const at = readyAt(kept, 0, back)
    expect(at).toBeGreaterThan(back)
    expect(at).toBeLessThanOrEqual(back + DAY_KEPT)
    expect(admit([kept], 0, at).admitted).toBe(true)
    expect(kept.load.fullAtMs.per_minute).toBeLessThanOrEqual(back + 1.12 * MINUTE)
  })

  test('shortens a wish for silence to the longest that is believed', () => {
    const asked = limiter({}, { blockedUntilMs: NOW + 1_000 })
    const back = NOW - YEAR
    expect(withinReach(asked, back).blockedUntilMs).toBe(back + LIMITS.retryAfterMaxMs)
  })

  test('is the only thing that is mended: a load within reach stays the very same', () => {
    const call = fc.record({ wait: fc.nat({ max: 20_000 }), tokens: fc.integer({ min: 1, max: 40 }) })
    fc.assert(
      fc.property(fc.array(call, { maxLength: 60 }), (calls) => {
        let state = [limiter({ rates: [perMinute(30), tokensPerMinute(40)] })]
        let now = NOW
        for (const { wait, tokens } of calls) {
          now += wait
          if (admit(state, tokens, now).admitted) state = admitted(state, now, tokens)
          for (const item of state) expect(withinReach(item, now)).toBe(item.load)
        }
      }),
    )
  })
})

test('admission agrees with the time it announces', () => {
  const full = fc.option(fc.double({ min: -1, max: 1, noNaN: true }), { nil: undefined })
  const state = fc.record({
    limit: fc.integer({ min: 1, max: 50 }),
    minuteFullIn: full,
    tokensFullIn: full,
    silentFor: fc.integer({ min: -10_000, max: 10_000 }),
    tokens: fc.integer({ min: 0, max: 60 }),
    share: fc.double({ min: LIMITS.adaptiveShareMin, max: 1, noNaN: true }),
  })
  fc.assert(
    fc.property(state, ({ limit, minuteFullIn = -1, tokensFullIn = -1, silentFor, tokens, share }) => {
      const one = limiter(
        { rates: [perMinute(limit), tokensPerMinute(limit)] },
        {
          blockedUntilMs: NOW + silentFor,
          fullAtMs: { per_minute: NOW + minuteFullIn * MINUTE, tokens_per_minute: NOW + tokensFullIn * MINUTE },
          adaptive: { share, narrowedAtMs: NOW },
        },
      )
      const at = readyAt(one, tokens, NOW)
      expect(admit([one], tokens, NOW).admitted).toBe(at === NOW)
      expect(admit([one], tokens, at).admitted).toBe(true)
    }),
  )
})

test('a limit by the day is not narrowed: one call in a bad minute does not use up what is left of it', () => {
  const narrowed = limiter({ rates: [perMinute(60), perDay(1_000)] }, { adaptive: { share: 0.1, narrowedAtMs: NOW } })
  expect([limitInForce(narrowed, 'per_minute'), limitInForce(narrowed, 'per_day')]).toEqual([6, 1_000])
  const [used] = admitted([narrowed], NOW)
  const fullAtMs = used?.load.fullAtMs ?? {}
  expect(fullAtMs.per_day).toBe(admitted([limiter({ rates: [perDay(1_000)] })], NOW)[0]?.load.fullAtMs.per_day)
  expect(fullAtMs.per_minute).toBeGreaterThan(NOW + MINUTE / 6 - 1)
})

describe('a limiter whose rates are changed', () => {
  const rulesOf = (...rates: LimiterRate[]): LimiterRules => ({ concurrency: null, rates })
  const rate = fc.integer({ min: 1, max: 2_000 })

  test('owes as many calls as before, each as long as the new rate takes for one', () => {
    const [used] = admitted([limiter(rulesOf(perDay(1)))], NOW)
    const load = underRules(used?.load ?? initialLoad(), rulesOf(perDay(1)), rulesOf(perDay(1_000)), NOW)
    const raised = limiter(rulesOf(perDay(1_000)), load)
    expect(load.fullAtMs.per_day).toBe(NOW + paceOf(raised, 0))
    expect(readyAt(raised, 0, NOW)).toBe(NOW)
  })

  test('forgets a rate that is taken away, and keeps those that stay', () => {
    const load = { ...initialLoad(), fullAtMs: { per_minute: NOW + 500, per_day: NOW + DAY } }
    const after = underRules(load, rulesOf(perMinute(10), perDay(1)), rulesOf(perMinute(10)), NOW)
    expect(after.fullAtMs).toEqual({ per_minute: NOW + 500 })
  })

  test('that is raised, at whatever moment, lets no more than its new limit out in any window', () => {
    const waits = fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 400 })
    fc.assert(
      fc.property(rate, rate, waits, fc.nat({ max: 399 }), (a, b, steps, raisedAt) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)]
        let current = limiter(rulesOf(perMinute(low)))
        let now = NOW
        const sent: number[] = []
        for (const [i, step] of steps.entries()) {
          now += step
          if (i === raisedAt) {
            const rules = rulesOf(perMinute(high))
            current = { ...current, rules, load: underRules(current.load, current.rules, rules, now) }
          }
          for (;;) {
            const admission = admit([current], 0, now)
            if (!admission.admitted) break
            current = { ...current, load: admission.loads[0] ?? initialLoad() }
            sent.push(now)
          }
        }
        for (let first = 0, last = 0; last < sent.length; last += 1) {
          while ((sent[last] ?? 0) - (sent[first] ?? 0) >= MINUTE) first += 1
          expect(last - first + 1).toBeLessThanOrEqual(high)
        }
      }),
      { numRuns: 100 },
    )
  })
})
