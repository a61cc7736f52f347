import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BatchCounts } from '../../../src/contract/batch.ts'
import { batchProgress, batchStatus } from '../../../src/core/batch.ts'

const counts = (more: Partial<BatchCounts>): BatchCounts => ({
  scheduled: 0,
  queued: 0,
  running: 0,
  succeeded: 0,
  failed: 0,
  canceled: 0,
  ...more,
})
const few = fc.nat({ max: 30 })
const anyCounts = fc
  .record({ scheduled: few, queued: few, running: few, succeeded: few, failed: few, canceled: few })
  .filter((all) => Object.values(all).some((count) => count > 0))

describe('the status of a batch', () => {
  test.each([
    ['queued', counts({ queued: 2, scheduled: 1 }), false],
    ['running', counts({ queued: 2, running: 1 }), false],
    ['running', counts({ queued: 2, succeeded: 1 }), false],
    ['succeeded', counts({ succeeded: 3 }), true],
    ['partial', counts({ succeeded: 1, failed: 2 }), true],
    ['partial', counts({ succeeded: 1, canceled: 2 }), true],
    ['failed', counts({ failed: 3 }), true],
    ['failed', counts({ failed: 1, canceled: 2 }), true],
    ['canceled', counts({ canceled: 3 }), true],
  ] as const)('is %s of %o', (status, of, hasEnded) => {
    expect(batchStatus(of, hasEnded)).toBe(status)
  })

  test('stays that of an ended batch while a job is replayed, which counts as not succeeded', () => {
    expect(batchStatus(counts({ succeeded: 2, running: 1 }), true)).toBe('partial')
    expect(batchStatus(counts({ queued: 1, failed: 2 }), true)).toBe('failed')
    fc.assert(fc.property(anyCounts, (of) => !['queued', 'running'].includes(batchStatus(of, true))))
  })
})

describe('the progress of a batch', () => {
  test('counts what runs by its own progress', () => {
    expect(batchProgress(counts({ succeeded: 1, failed: 1, running: 2 }), [0.5, 0.1])).toBe(0.65)
    expect(batchProgress(counts({ queued: 3 }), [])).toBe(0)
  })

  test('lies between none and one, and is one exactly when every job has ended', () => {
    fc.assert(
      fc.property(anyCounts, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }), (of, running) => {
        const progress = batchProgress(of, running.slice(0, of.running))
        expect(progress).toBeGreaterThanOrEqual(0)
        expect(progress === 1).toBe(of.scheduled + of.queued + of.running === 0)
      }),
    )
  })
})
