import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { earliest } from '../../../src/core/alarm.ts'

describe('the one alarm', () => {
  test('rings for the first of all that is due', () => {
    expect(earliest(30, 10, 20)).toBe(10)
  })

  test('takes what is overdue for due, at the start of time too', () => {
    expect(earliest(5, 0)).toBe(0)
    expect(earliest(null, -1, 3)).toBe(-1)
  })

  test('is not set where nothing is due', () => {
    expect(earliest()).toBeNull()
    expect(earliest(null, null)).toBeNull()
  })

  test('never rings later than anything that is due, and only for something', () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer()), { maxLength: 10 }), (times) => {
        const due = times.filter((time) => time !== null)
        const at = earliest(...times)
        expect(at === null).toBe(due.length === 0)
        if (at === null) return
        expect(due).toContain(at)
        for (const time of due) expect(at).toBeLessThanOrEqual(time)
      }),
    )
  })
})
