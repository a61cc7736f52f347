/**
 * Days and months as people in a time zone count them. A day is named `2026-11-21`, a month `2026-11`; both begin and end
 * where the zone's clocks say so, summer time included, so a day may have 23 or 25 hours. Times are ms since the epoch.
 */
export type Calendar = {
  zone: string
  /** The day that holds this moment, from its first ms to that of the next. */
  dayAt(ms: number): Day
  /** When the month that holds this moment began, and when it is over. */
  monthStartAt(ms: number): number
  monthEndAt(ms: number): number
  /** The first ms of a day; where the zone skipped it, of the next. */
  startOf(day: string): number
}

export type Day = { key: string; startMs: number; endMs: number }

export const monthOf = (day: string): string => day.slice(0, 7)

/** Asking Intl costs some µs, so the day last asked for is remembered. Throws where there is no such zone. */
export const createCalendar = (zone: string): Calendar => {
  const formatter = formatterOf(zone)
  let known: Day | null = null
  const dayAt = (ms: number): Day => {
    if (known && ms >= known.startMs && ms < known.endMs) return known
    const key = keyOf(formatter, ms)
    known = { key, startMs: startOf(formatter, key), endMs: startOf(formatter, dayAfter(key, 1)) }
    return known
  }
  return {
    zone,
    dayAt,
    monthStartAt: (ms) => startOf(formatter, `${monthOf(dayAt(ms).key)}-01`),
    startOf: (day) => startOf(formatter, day),
    monthEndAt: (ms) => startOf(formatter, monthAfter(dayAt(ms).key)),
  }
}

const HOUR_MS = 60 * 60 * 1000
/** Local time differs from UTC by less than this, anywhere and at any time. */
const OFFSET_MAX_MS = 16 * HOUR_MS

const formatterOf = (timeZone: string): Intl.DateTimeFormat =>
  new Intl.DateTimeFormat('en-US', {
    timeZone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
  })

const keyOf = (formatter: Intl.DateTimeFormat, ms: number): string => {
  const parts = new Map(formatter.formatToParts(ms).map(({ type, value }) => [type, value]))
  return `${parts.get('year')}-${parts.get('month')}-${parts.get('day')}`
}

/** The first ms at which the zone's calendar shows this day or, where the zone skipped it, a later one. */
const startOf = (formatter: Intl.DateTimeFormat, day: string): number => {
  const midnight = Date.parse(`${day}T00:00:00Z`)
  let before = midnight - OFFSET_MAX_MS
  let from = midnight + OFFSET_MAX_MS
  while (from - before > 1) {
    const middle = Math.floor((before + from) / 2)
    if (keyOf(formatter, middle) >= day) from = middle
    else before = middle
  }
  return from
}

const dayAfter = (day: string, days: number): string =>
  new Date(Date.parse(`${day}T00:00:00Z`) + days * 24 * HOUR_MS).toISOString().slice(0, 10)

const monthAfter = (day: string): string => `${monthOf(dayAfter(`${monthOf(day)}-01`, 31))}-01`
