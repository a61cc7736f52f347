import fc from 'fast-check'
import { expect, test } from 'vitest'
import { replayPace } from '../../../src/core/replay-pace.ts'
import { LIMITS } from '../../../src/limits.ts'

const MINUTE_MS = 60_000
const anyRate = fc.integer({ min: 1, max: LIMITS.replaysPerMinuteMax })

test.each([
  [1, { jobs: 1, everyMs: 60_000 }],
  [60, { jobs: 1, everyMs: 1_000 }],
  [600, { jobs: 10, everyMs: 1_000 }],
  [LIMITS.replaysPerMinuteMax, { jobs: 100, everyMs: 1_000 }],
])('%i a minute is this pace: %o', (rate, pace) => {
  expect(replayPace(rate)).toEqual(pace)
})

test('in no minute, wherever it begins, are more let out than the rate', () => {
  fc.assert(
    fc.property(anyRate, (rate) => {
      const { jobs, everyMs } = replayPace(rate)
      // A window that begins with a step holds the most.
      expect(Math.ceil(MINUTE_MS / everyMs) * jobs).toBeLessThanOrEqual(rate)
    }),
  )
})

test('a step is short, and what is rounded away is little', () => {
  fc.assert(
    fc.property(anyRate, (rate) => {
      const { jobs, everyMs } = replayPace(rate)
      expect(jobs).toBeLessThanOrEqual(100)
      expect((jobs * MINUTE_MS) / everyMs).toBeGreaterThan(rate * 0.9)
    }),
  )
})
