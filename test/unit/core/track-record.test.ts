import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { emptyRecord, medianMs, recordRun, successRate, type TrackRecord } from '../../../src/core/track-record.ts'

const recordOf = (...runs: [succeeded: boolean, durationMs: number][]): TrackRecord =>
  runs.reduce((record, [succeeded, durationMs]) => recordRun(record, succeeded, durationMs), emptyRecord())

const goodRuns = (...durations: number[]): TrackRecord =>
  recordOf(...durations.map((ms) => [true, ms] as [true, number]))

describe('the expected duration of a run', () => {
  test('is unknown before the first good run', () => {
    expect(medianMs(emptyRecord())).toBeNull()
    expect(medianMs(recordOf([false, 9_000]))).toBeNull()
  })

  test.each([
    [[700], 700],
    [[900, 100, 500], 500],
    [[100, 900], 100],
    [[5, 1, 4, 2, 3], 3],
    // Sorted by size, not as text.
    [[1_000, 9, 80], 80],
  ])('after good runs of %j ms is %i ms', (durations, median) => expect(medianMs(goodRuns(...durations))).toBe(median))

  test('does not count how long failures took', () => {
    expect(medianMs(recordOf([true, 1_000], [false, 1], [false, 1]))).toBe(1_000)
  })

  test('is not moved by one run that hung', () => {
    expect(medianMs(goodRuns(...new Array<number>(20).fill(800), 600_000))).toBe(800)
  })

  test('follows a provider that became slower, after half a window', () => {
    const runs = [...new Array<number>(100).fill(1_000), ...new Array<number>(26).fill(5_000)]
    expect(medianMs(goodRuns(...runs.slice(0, 124)))).toBe(1_000)
    expect(medianMs(goodRuns(...runs))).toBe(5_000)
  })

  test('is in whole milliseconds', () => {
    expect(medianMs(goodRuns(12.6))).toBe(13)
  })
})

describe('the success rate', () => {
  test('of a new model is 1: it is to be tried', () => {
    expect(successRate(emptyRecord())).toBe(1)
  })

  test('is not ruined by a single failure', () => {
    expect(successRate(recordOf([false, 0]))).toBe(0.5)
  })

  test('of a model that failed fifty times is small, but not zero', () => {
    const rate = successRate(recordOf(...new Array<[false, number]>(50).fill([false, 0])))
    expect(rate).toBeGreaterThan(0)
    expect(rate).toBeLessThan(0.02)
  })

  test('forgets failures that lie fifty runs back', () => {
    const bad = new Array<[false, number]>(50).fill([false, 0])
    const good = new Array<[true, number]>(50).fill([true, 1])
    expect(successRate(recordOf(...bad, ...good.slice(1)))).toBeLessThan(1)
    expect(successRate(recordOf(...bad, ...good))).toBe(1)
  })

  test('lies within one run of the true share of the last fifty', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 200 }), (outcomes) => {
        const rate = successRate(recordOf(...outcomes.map((good) => [good, 5] as [boolean, number])))
        const last = outcomes.slice(-50)
        const truth = last.length === 0 ? 1 : last.filter(Boolean).length / last.length
        expect(Math.abs(rate - truth)).toBeLessThanOrEqual(1 / (last.length + 1))
        expect(rate).toBeGreaterThanOrEqual(truth)
      }),
    )
  })
})

test('a record stays small enough for one row, however long the history', () => {
  const record = goodRuns(...Array.from({ length: 500 }, (_, i) => 1_000_000 + i))
  expect(JSON.stringify(record).length).toBeLessThan(1_000)
})

test('a record that was handed in is not changed', () => {
  const before = goodRuns(1, 2)
  const copy = structuredClone(before)
  recordRun(before, false, 3)
  expect(before).toEqual(copy)
})
