import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createCalendar } from '../../../src/core/calendar.ts'

const at = (text: string): number => Date.parse(text)
const iso = (ms: number): string => new Date(ms).toISOString()
const HOUR_MS = 60 * 60 * 1000

describe('a day', () => {
  test.each([
    ['UTC', '2026-11-21T23:59:59.999Z', '2026-11-21', '2026-11-21T00:00:00.000Z', 24],
    ['Europe/Berlin', '2026-11-20T23:00:00Z', '2026-11-21', '2026-11-20T23:00:00.000Z', 24],
    ['Europe/Berlin', '2026-03-29T12:00:00Z', '2026-03-29', '2026-03-28T23:00:00.000Z', 23],
    ['Europe/Berlin', '2026-10-25T12:00:00Z', '2026-10-25', '2026-10-24T22:00:00.000Z', 25],
    ['America/Los_Angeles', '2026-11-21T07:59:59Z', '2026-11-20', '2026-11-20T08:00:00.000Z', 24],
    ['Asia/Kathmandu', '2026-11-20T18:15:00Z', '2026-11-21', '2026-11-20T18:15:00.000Z', 24],
    // The clocks went back at midnight, so 23:00 to 24:00 came twice, and forward at midnight, so the day began at one.
    ['America/Sao_Paulo', '2018-02-18T02:30:00Z', '2018-02-17', '2018-02-17T02:00:00.000Z', 25],
    ['America/Sao_Paulo', '2018-11-04T12:00:00Z', '2018-11-04', '2018-11-04T03:00:00.000Z', 23],
    ['Pacific/Kiritimati', '2026-11-20T10:00:00Z', '2026-11-21', '2026-11-20T10:00:00.000Z', 24],
    ['Etc/GMT+12', '2026-11-21T11:59:00Z', '2026-11-20', '2026-11-20T12:00:00.000Z', 24],
  ])('in %s at %s is %s, begins at %s and has %i hours', (zone, time, key, start, hours) => {
    const day = createCalendar(zone).dayAt(at(time))
    expect([day.key, iso(day.startMs), (day.endMs - day.startMs) / HOUR_MS]).toEqual([key, start, hours])
  })

  test('that a zone skipped begins with the next: Samoa, 30 December 2011', () => {
    const calendar = createCalendar('Pacific/Apia')
    expect(calendar.dayAt(at('2011-12-30T09:59:59Z'))).toMatchObject({ key: '2011-12-29' })
    expect(calendar.dayAt(at('2011-12-30T10:00:00Z'))).toMatchObject({ key: '2011-12-31' })
    expect(calendar.startOf('2011-12-30')).toBe(calendar.startOf('2011-12-31'))
  })
})

test.each([
  ['UTC', '2026-12-31T23:00:00Z', '2026-12-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
  ['Europe/Berlin', '2026-10-31T23:30:00Z', '2026-10-31T23:00:00.000Z', '2026-11-30T23:00:00.000Z'],
  ['Europe/Berlin', '2028-02-29T12:00:00Z', '2028-01-31T23:00:00.000Z', '2028-02-29T23:00:00.000Z'],
  ['America/New_York', '2026-03-01T04:59:00Z', '2026-02-01T05:00:00.000Z', '2026-03-01T05:00:00.000Z'],
])('in %s the month that holds %s goes from %s to %s', (zone, time, start, end) => {
  const calendar = createCalendar(zone)
  expect([iso(calendar.monthStartAt(at(time))), iso(calendar.monthEndAt(at(time)))]).toEqual([start, end])
})

test('days follow each other without gap or overlap, and hold the moments they were asked for', () => {
  const zones = [
    'UTC',
    'Europe/Berlin',
    'America/St_Johns',
    'Australia/Lord_Howe',
    'Pacific/Chatham',
    'Africa/Casablanca',
  ]
  fc.assert(
    fc.property(
      fc.constantFrom(...zones),
      fc.integer({ min: at('2015-01-01Z'), max: at('2035-01-01Z') }),
      (zone, ms) => {
        const calendar = createCalendar(zone)
        const day = calendar.dayAt(ms)
        expect(day.startMs).toBeLessThanOrEqual(ms)
        expect(day.endMs).toBeGreaterThan(ms)
        expect(calendar.dayAt(day.endMs - 1)).toEqual(day)
        const next = calendar.dayAt(day.endMs)
        expect(next.startMs).toBe(day.endMs)
        expect(next.key > day.key).toBe(true)
        expect(calendar.monthStartAt(ms)).toBeLessThanOrEqual(day.startMs)
        expect(calendar.monthEndAt(ms)).toBeGreaterThanOrEqual(day.endMs)
      },
    ),
    { numRuns: 150 },
  )
})
