import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  burstOf,
  fillOf,
  nextTokenAt,
  type Rate,
  reachOf,
  spacingOf,
  takeToken,
  tokensLeft,
} from '../../../src/core/token-bucket.ts'

/** A Tuesday in 2026: doubles have less room behind the point there than near zero. */
const EPOCH = 1_790_000_000_123
const MICROSECOND = 0.001

const anyRate = fc.record({
  limit: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 400 })),
  windowMs: fc.constantFrom(1_000, 7_919, 60_000, 86_400_000),
})

/** The most grants in any half-open window [t, t + windowMs), wherever it begins. `grants` are in order. */
const mostInAWindow = (grants: readonly number[], windowMs: number): number => {
  let most = 0
  let first = 0
  for (const [i, at] of grants.entries()) {
    while (at - (grants[first] ?? at) >= windowMs) first += 1
    most = Math.max(most, i - first + 1)
  }
  return most
}

type Bucket = { fullAtMs: number; grants: number[] }

/** Takes every token that can be had at the clock's `now`; grants are noted in true time. */
const takeAll = (bucket: Bucket, rate: Rate, now: number, trueTime = now): void => {
  while (nextTokenAt(bucket.fullAtMs, rate, now) <= now) {
    bucket.fullAtMs = takeToken(bucket.fullAtMs, rate, now)
    bucket.grants.push(trueTime)
  }
}

describe('token bucket', () => {
  test('the sliding window used below counts half-open windows', () => {
    expect(mostInAWindow([0, 5, 9, 10, 11], 10)).toBe(4)
    expect(mostInAWindow([0, 10, 20], 10)).toBe(1)
  })

  test('a greedy taker never gets more than the limit in any window, whenever it looks', () => {
    fc.assert(
      fc.property(anyRate, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 300 }), (rate, steps) => {
        const bucket: Bucket = { fullAtMs: 0, grants: [] }
        let now = EPOCH
        for (const step of steps) {
          // Short waits far more often than long ones; the clock of the platform has whole milliseconds.
          now += Math.floor(step ** 6 * rate.windowMs * 2)
          takeAll(bucket, rate, now)
        }
        expect(mostInAWindow(bucket.grants, rate.windowMs)).toBeLessThanOrEqual(rate.limit)
      }),
    )
  })

  test('a taker that comes at the first possible moment, between milliseconds too, never gets more than the limit', () => {
    fc.assert(
      fc.property(anyRate, (rate) => {
        const bucket: Bucket = { fullAtMs: 0, grants: [] }
        let now = EPOCH
        for (let i = 0; i < rate.limit * 3; i += 1) {
          now = nextTokenAt(bucket.fullAtMs, rate, now)
          bucket.fullAtMs = takeToken(bucket.fullAtMs, rate, now)
          bucket.grants.push(now)
        }
        expect(mostInAWindow(bucket.grants, rate.windowMs)).toBeLessThanOrEqual(rate.limit)
      }),
    )
  })

  test('a clock that is set back, again and again, gives no token away in true time', () => {
    const step = fc.record({
      wait: fc.double({ min: 0, max: 1, noNaN: true }),
      setBack: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 3, noNaN: true })),
    })
    fc.assert(
      fc.property(anyRate, fc.array(step, { maxLength: 200 }), (rate, steps) => {
        const bucket: Bucket = { fullAtMs: 0, grants: [] }
        let trueTime = EPOCH
        let behind = 0
        for (const { wait, setBack } of steps) {
          trueTime += Math.floor(wait ** 4 * rate.windowMs)
          behind += Math.floor(setBack * rate.windowMs)
          takeAll(bucket, rate, trueTime - behind, trueTime)
        }
        expect(mostInAWindow(bucket.grants, rate.windowMs)).toBeLessThanOrEqual(rate.limit)
      }),
    )
  })

  test('in a saturated steady state at least 85 % of a limit of ten or more is reached', () => {
    fc.assert(
      fc.property(
        fc.record({ limit: fc.integer({ min: 10, max: 600 }), windowMs: fc.constantFrom(60_000, 86_400_000) }),
        (rate) => {
          const bucket: Bucket = { fullAtMs: 0, grants: [] }
          const end = EPOCH + 10 * rate.windowMs
          for (let now = EPOCH; now < end; now = Math.ceil(nextTokenAt(bucket.fullAtMs, rate, now)))
            takeAll(bucket, rate, now)
          // The first window has the burst on top: steady is what follows it.
          const steady = bucket.grants.filter((at) => at >= EPOCH + rate.windowMs)
          expect(steady.length / 9).toBeGreaterThanOrEqual(0.85 * rate.limit)
        },
      ),
      { numRuns: 40 },
    )
  })

  test('a limit of one gives one token a window, and a hundredth of the window later: calls differ on their way', () => {
    const rate = { limit: 1, windowMs: 60_000 }
    let fullAtMs = takeToken(0, rate, EPOCH)
    for (let n = 1; n <= 5; n += 1) {
      expect(nextTokenAt(fullAtMs, rate, EPOCH + (n - 1) * 60_600 + 1)).toBe(EPOCH + n * 60_600)
      fullAtMs = takeToken(fullAtMs, rate, EPOCH + n * 60_600)
    }
  })

  test('a first call that is half a second late makes no 61st of a minute', () => {
    const rate = { limit: 60, windowMs: 60_000 }
    const bucket: Bucket = { fullAtMs: 0, grants: [] }
    for (let now = EPOCH; now < EPOCH + 130_000; now = Math.ceil(nextTokenAt(bucket.fullAtMs, rate, now)))
      takeAll(bucket, rate, now)
    const arrivals = bucket.grants.map((at) => (at === EPOCH ? at + 500 : at))
    expect(mostInAWindow(arrivals, rate.windowMs)).toBe(60)
  })

  test('the announced time is honest: a token is there then, and not a microsecond before', () => {
    fc.assert(
      fc.property(anyRate, fc.nat({ max: 500 }), fc.nat({ max: 100_000 }), (rate, taken, later) => {
        const bucket: Bucket = { fullAtMs: 0, grants: [] }
        let last = EPOCH
        for (let i = 0; i < taken; i += 1) {
          last = nextTokenAt(bucket.fullAtMs, rate, last)
          bucket.fullAtMs = takeToken(bucket.fullAtMs, rate, last)
        }
        const now = Math.ceil(last) + (later % rate.windowMs)
        const at = nextTokenAt(bucket.fullAtMs, rate, now)
        expect(at).toBeGreaterThanOrEqual(now)
        expect(nextTokenAt(bucket.fullAtMs, rate, at)).toBe(at)
        if (at - MICROSECOND > now)
          expect(nextTokenAt(bucket.fullAtMs, rate, at - MICROSECOND)).toBeGreaterThan(at - MICROSECOND)
      }),
    )
  })

  test('a bucket that rested gives its burst at once, and not one token more', () => {
    fc.assert(
      fc.property(anyRate, (rate) => {
        const bucket: Bucket = { fullAtMs: EPOCH - rate.windowMs, grants: [] }
        takeAll(bucket, rate, EPOCH)
        expect(bucket.grants).toHaveLength(burstOf(rate))
      }),
    )
  })

  test('rounding gives no token away at rates whose pace is no round number of microseconds', () => {
    // 50,000 steps of 1.2 ms: rounded to the nearest double they would end 2.4 ms early, and two tokens too many be given.
    const rate = { limit: 55_554, windowMs: 60_000 }
    const bucket: Bucket = { fullAtMs: 0, grants: [] }
    for (let now = EPOCH; now < EPOCH + 2 * rate.windowMs; now += 1) takeAll(bucket, rate, now)
    const most = mostInAWindow(bucket.grants, rate.windowMs)
    expect(most).toBeLessThanOrEqual(rate.limit)
    expect(most).toBeGreaterThan(0.99 * rate.limit)
  })
})

/** The most tokens in any half-open window, each grant with its amount. */
const mostTokensInAWindow = (grants: readonly { at: number; tokens: number }[], windowMs: number): number => {
  let most = 0
  let sum = 0
  let first = 0
  for (const { at, tokens } of grants) {
    sum += tokens
    while (at - (grants[first]?.at ?? at) >= windowMs) {
      sum -= grants[first]?.tokens ?? 0
      first += 1
    }
    most = Math.max(most, sum)
  }
  return most
}

/** Amounts up to the limit, small and great ones, and how long to wait beyond the first possible moment. */
const anyTakes = fc.array(
  fc.record({
    part: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true }), fc.constant(1)),
    wait: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true })),
  }),
  { maxLength: 120 },
)

const amountOf = (part: number, rate: Rate): number => Math.max(1, Math.round(part ** 3 * rate.limit))

describe('several tokens at once', () => {
  test('the sliding window used below counts tokens, not takes', () => {
    const grants = [0, 5, 10, 14].map((at, i) => ({ at, tokens: i + 1 }))
    expect(mostTokensInAWindow(grants, 10)).toBe(9)
  })

  test('no mix of amounts up to the limit gets more than the limit in any window', () => {
    fc.assert(
      fc.property(anyRate, anyTakes, (rate, takes) => {
        const grants: { at: number; tokens: number }[] = []
        let fullAtMs = 0
        let now = EPOCH
        for (const { part, wait } of takes) {
          const tokens = amountOf(part, rate)
          now = nextTokenAt(fullAtMs, rate, now, tokens) + wait ** 4 * rate.windowMs
          fullAtMs = takeToken(fullAtMs, rate, now, tokens)
          grants.push({ at: now, tokens })
        }
        expect(mostTokensInAWindow(grants, rate.windowMs)).toBeLessThanOrEqual(rate.limit)
      }),
      { numRuns: 500 },
    )
  })

  test('a call for the whole limit gets nothing on top of what a steady taker has just had', () => {
    const rate = { limit: 100, windowMs: 60_000 }
    const bucket: Bucket = { fullAtMs: 0, grants: [] }
    for (let now = EPOCH; now < EPOCH + 50_000; now += 100) takeAll(bucket, rate, now)
    const last = bucket.grants.at(-1) ?? 0
    const at = nextTokenAt(bucket.fullAtMs, rate, last, 100)
    expect(at - last).toBeGreaterThanOrEqual(rate.windowMs - 60_000 / 91)
    expect(
      mostTokensInAWindow([...bucket.grants.map((one) => ({ at: one, tokens: 1 })), { at, tokens: 100 }], 60_000),
    ).toBe(100)
  })

  test('an amount above the limit is given too, alone in its window, so that no job waits for ever', () => {
    const rate = { limit: 10, windowMs: 60_000 }
    const rested = takeToken(0, rate, EPOCH, 10)
    const at = nextTokenAt(rested, rate, EPOCH, 25)
    expect(at).toBeGreaterThanOrEqual(EPOCH + 60_000)
    expect(at).toBeLessThan(Number.POSITIVE_INFINITY)
    expect(nextTokenAt(takeToken(rested, rate, at, 25), rate, at)).toBeGreaterThan(at + 60_000 - reachOf(rate) / 10)
  })

  test('what is left can be taken at once, and where the bucket is not full, one token more cannot', () => {
    fc.assert(
      fc.property(anyRate, anyTakes, fc.nat({ max: 2_000 }), (rate, takes, later) => {
        let fullAtMs = 0
        let now = EPOCH
        for (const { part } of takes) {
          const tokens = Math.min(amountOf(part, rate), burstOf(rate))
          now = nextTokenAt(fullAtMs, rate, now, tokens)
          fullAtMs = takeToken(fullAtMs, rate, now, tokens)
        }
        const at = now + later
        const left = tokensLeft(fullAtMs, rate, at)
        expect(left).toBeGreaterThanOrEqual(0)
        expect(left).toBeLessThanOrEqual(burstOf(rate))
        if (left > 0) expect(nextTokenAt(fullAtMs, rate, at, left)).toBe(at)
        if (left < burstOf(rate)) expect(nextTokenAt(fullAtMs, rate, at, left + 1)).toBeGreaterThan(at)
      }),
    )
  })

  test('the announced spacing is that of a taker who always comes as soon as it may', () => {
    fc.assert(
      fc.property(anyRate, fc.double({ min: 0, max: 1, noNaN: true }), (rate, part) => {
        const tokens = amountOf(part, rate)
        let fullAtMs = 0
        let now = EPOCH
        const times: number[] = []
        // The burst is used up first.
        for (let i = 0; i < burstOf(rate) + 5; i += 1) {
          now = nextTokenAt(fullAtMs, rate, now, tokens)
          fullAtMs = takeToken(fullAtMs, rate, now, tokens)
          times.push(now)
        }
        expect((times.at(-1) ?? 0) - (times.at(-2) ?? 0)).toBeCloseTo(spacingOf(rate, tokens), 2)
      }),
    )
  })

  test('its fill lies between empty and full, sinks with every call and tells that one more fits', () => {
    fc.assert(
      fc.property(anyRate, fc.integer({ min: 1, max: 30 }), (rate, calls) => {
        let fullAtMs = 0
        let before = 1
        expect(fillOf(fullAtMs, rate, EPOCH)).toBe(1)
        for (let i = 0; i < Math.min(calls, burstOf(rate)); i += 1) {
          fullAtMs = takeToken(fullAtMs, rate, EPOCH)
          const fill = fillOf(fullAtMs, rate, EPOCH)
          expect(fill).toBeGreaterThanOrEqual(0)
          expect(fill).toBeLessThan(before)
          if (fill >= 1.001 / burstOf(rate)) expect(nextTokenAt(fullAtMs, rate, EPOCH)).toBe(EPOCH)
          before = fill
        }
      }),
    )
  })
})
