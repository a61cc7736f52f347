import { expect, test } from 'vitest'
import { setBackMs } from '../../../src/core/clock.ts'
import { LIMITS } from '../../../src/limits.ts'

const SKEW_MS = LIMITS.clockSkewMs

test.each([
  ['that runs on', 10_000, 10_500, 0],
  ['that stands still', 10_000, 10_000, 0],
  ['that has never been seen', 0, 1_780_000_000_000, 0],
  ['behind by as much as two machines may differ', 10_000, 10_000 - SKEW_MS, 0],
  ['behind by a millisecond more', 10_000, 10_000 - SKEW_MS - 1, SKEW_MS + 1],
  ['of an hour ago', 3_610_000, 10_000, 3_600_000],
])('a clock %s was set back by what it lacks beyond doubt', (_what, seen, now, back) => {
  expect(setBackMs(seen, now)).toBe(back)
})
