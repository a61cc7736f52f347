import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AlarmClock } from '../../../src/core/alarm-clock.ts'
import { LIMITS } from '../../../src/limits.ts'

/** A platform that rings when it comes to it, and the time there. */
const platform = (startMs = 1_000_000) => {
  let now = startMs
  let set: number | null = null
  const clock = new AlarmClock((atMs) => {
    set = atMs
  })
  return {
    found: (atMs: number) => clock.found(atMs),
    wake: (at: number) => clock.wake(at, now),
    set: () => set,
    now: () => now,
    advance: (ms: number) => {
      now += ms
    },
    ring: () => {
      set = null
      clock.rang()
    },
  }
}

describe('an alarm', () => {
  test('a job to be retried is not left asleep: an alarm that is due is not put off by what is asked for meanwhile', () => {
    const { wake, set, now, advance } = platform()
    const due = now() + 3
    wake(due)
    advance(5)
    wake(now() + 3_600_000)
    expect(set()).toBe(due)
    // Nor where the platform is late by so much that the alarm is set again.
    advance(LIMITS.alarmLateMs)
    wake(now() + 3_600_000)
    expect(set()).toBe(now() + 1)
  })

  test('of an earlier process is not put off either', () => {
    const { found, wake, set, now } = platform()
    found(now() + 10)
    wake(now() + 3_600_000)
    expect(set()).toBe(null)
    wake(now() + 5)
    expect(set()).toBe(now() + 5)
  })

  test('is never set for the present: the platform would take it for the one that rings', () => {
    const { wake, set, now } = platform()
    wake(now())
    expect(set()).toBe(now() + 1)
  })

  test('rings for everybody in time, or is set for then, whatever the order of asking, ringing and waiting', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('wake'), ms: fc.double({ min: -5_000, max: 20_000, noNaN: true }) }),
      fc.record({ kind: fc.constant('advance'), ms: fc.integer({ min: 0, max: 4_000 }) }),
      fc.record({ kind: fc.constant('ring'), ms: fc.constant(0) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { wake, set, now, advance, ring } = platform()
        const wanted: number[] = []
        for (const { kind, ms } of steps) {
          if (kind === 'advance') advance(ms)
          else if (kind === 'wake') {
            wanted.push(now() + ms)
            wake(now() + ms)
            // In time, unless that is over: then soon.
            expect(set()).toBeLessThanOrEqual(Math.max(Math.ceil(Math.min(...wanted)), now() + 1))
          } else if (set() !== null) {
            wanted.length = 0
            ring()
          }
          if (wanted.length > 0) expect(set()).not.toBe(null)
        }
      }),
    )
  })
})
