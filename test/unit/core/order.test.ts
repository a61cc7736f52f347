import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { rankOf } from '../../../src/core/order.ts'
import { LIMITS } from '../../../src/limits.ts'

const NOW = 1_790_000_000_000
const time = fc.integer({ min: NOW, max: NOW + 86_400_000 })
const priority = fc.integer({ min: 0, max: LIMITS.priorityMax })

describe('the order of the queue', () => {
  test('of two jobs that are ready together, the one of higher priority runs first', () => {
    fc.assert(
      fc.property(time, priority, priority, (readyAt, one, other) => {
        fc.pre(one > other)
        expect(rankOf(readyAt, one)).toBeLessThan(rankOf(readyAt, other))
      }),
    )
  })

  test('of two jobs of one priority, the older runs first', () => {
    fc.assert(
      fc.property(time, time, priority, (one, other, of) => {
        fc.pre(one < other)
        expect(rankOf(one, of)).toBeLessThan(rankOf(other, of))
      }),
    )
  })

  test('a job of priority 0 waits behind a stream of priority 9 for nine steps of ageing, and no longer', () => {
    const old = rankOf(NOW, 0)
    const nineSteps = 9 * LIMITS.ageingPerPriorityMs
    expect(rankOf(NOW + nineSteps - 1, 9)).toBeLessThan(old)
    expect(rankOf(NOW + nineSteps + 1, 9)).toBeGreaterThan(old)
  })

  test('one job a second from a queue that gets one of priority 9 a second still serves the job of priority 0', () => {
    const waiting = [{ name: 'patient', rank: rankOf(NOW, 0) }]
    let servedAfterMs: number | null = null
    for (let at = NOW; servedAfterMs === null; at += 1_000) {
      if (at > NOW + 3_600_000) throw new Error('starved')
      waiting.push({ name: 'urgent', rank: rankOf(at, 9) })
      waiting.sort((one, other) => one.rank - other.rank)
      if (waiting.shift()?.name === 'patient') servedAfterMs = at - NOW
    }
    expect(servedAfterMs).toBeLessThanOrEqual(9 * LIMITS.ageingPerPriorityMs + 1_000)
    expect(servedAfterMs).toBeGreaterThan(8 * LIMITS.ageingPerPriorityMs)
  })

  test('a rank is whole and exact, so that an index holds it', () => {
    fc.assert(
      fc.property(time, priority, (readyAt, of) => {
        expect(Number.isSafeInteger(rankOf(readyAt, of))).toBe(true)
        expect(rankOf(readyAt + 1, of) - rankOf(readyAt, of)).toBe(1)
      }),
    )
  })
})
