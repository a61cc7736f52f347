import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dayEnd, dayStart, HOUR_MS, hourStart } from '../../../src/core/hours.ts'

const startOf = (at: string, zone: string): string => new Date(dayStart(Date.parse(at), zone)).toISOString()
const localDate = (at: number, zone: string): string => new Date(at).toLocaleDateString('sv-SE', { timeZone: zone })

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'America/St_Johns',
  'Asia/Kathmandu',
  'Asia/Kolkata',
  'Australia/Lord_Howe',
  'Pacific/Kiritimati',
  'America/Havana',
  'Africa/Cairo',
  'Pacific/Apia',
]

describe('an hour', () => {
  test('begins on the hour of UTC, before the epoch too', () => {
    expect(hourStart(Date.parse('2026-11-21T10:59:59.999Z'))).toBe(Date.parse('2026-11-21T10:00:00Z'))
    expect(hourStart(-1)).toBe(-HOUR_MS)
  })
})

describe('a day', () => {
  test.each([
    ['2026-11-21T10:20:30Z', 'UTC', '2026-11-21T00:00:00.000Z'],
    ['2026-11-21T22:59:00Z', 'Europe/Berlin', '2026-11-20T23:00:00.000Z'],
    ['2026-11-21T23:00:00Z', 'Europe/Berlin', '2026-11-21T23:00:00.000Z'],
    // Offsets of half an hour and of three quarters.
    ['2026-11-21T18:30:00Z', 'Asia/Kolkata', '2026-11-21T18:30:00.000Z'],
    ['2026-11-21T18:14:59Z', 'Asia/Kathmandu', '2026-11-20T18:15:00.000Z'],
    ['2026-11-21T18:15:00Z', 'Asia/Kathmandu', '2026-11-21T18:15:00.000Z'],
    // 23 and 25 hours.
    ['2026-03-29T12:00:00Z', 'Europe/Berlin', '2026-03-28T23:00:00.000Z'],
    ['2026-10-25T12:00:00Z', 'Europe/Berlin', '2026-10-24T22:00:00.000Z'],
    // The clock goes from midnight to one: the day begins with its first moment.
    ['2025-03-09T12:00:00Z', 'America/Havana', '2025-03-09T05:00:00.000Z'],
    ['2024-04-26T12:00:00Z', 'Africa/Cairo', '2024-04-25T22:00:00.000Z'],
  ])('of %s in %s begins at %s', (at, zone, start) => expect(startOf(at, zone)).toBe(start))

  test('is one day: every moment of it has the same start, which is its first', () => {
    const from = Date.parse('2024-01-01T00:00:00Z')
    fc.assert(
      fc.property(fc.constantFrom(...ZONES), fc.integer({ min: 0, max: 3 * 365 * 24 * 60 }), (zone, minutes) => {
        const at = from + minutes * 60_000
        const start = dayStart(at, zone)
        expect(start).toBeLessThanOrEqual(at)
        expect(localDate(start, zone)).toBe(localDate(at, zone))
        expect(localDate(start - 1, zone)).not.toBe(localDate(at, zone))
        expect(dayStart(start, zone)).toBe(start)
        const end = dayEnd(at, zone)
        expect(localDate(end - 1, zone)).toBe(localDate(at, zone))
        expect([dayStart(end, zone), dayStart(end - 1, zone)]).toEqual([end, start])
      }),
      { numRuns: 500 },
    )
  })

  test('of a zone that does not exist is refused', () => {
    expect(() => dayStart(0, 'Europe/Atlantis')).toThrow(RangeError)
  })
})
