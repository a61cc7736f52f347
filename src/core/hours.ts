import { type Calendar, createCalendar } from './calendar.ts'

/** Hours are those of UTC; days are those of a zone. Times are ms since the epoch. */

export const HOUR_MS = 60 * 60 * 1000
const DAY_MS = 24 * HOUR_MS

export const hourStart = (at: number): number => Math.floor(at / HOUR_MS) * HOUR_MS

/** An instance has one zone, and a calendar costs more to make than to use. */
let known: Calendar | null = null

/**
 * When the day of `at` began in an IANA zone; where a change of the clock leaves midnight out, the first moment of that
 * day. Throws on a zone that does not exist.
 */
export const dayStart = (at: number, zone: string): number =>
  zone === 'UTC' ? Math.floor(at / DAY_MS) * DAY_MS : calendarOf(zone).dayAt(at).startMs

/** When the day of `at` ends, which is when the next begins. */
export const dayEnd = (at: number, zone: string): number =>
  zone === 'UTC' ? dayStart(at, zone) + DAY_MS : calendarOf(zone).dayAt(at).endMs

const calendarOf = (zone: string): Calendar => {
  if (known?.zone !== zone) known = createCalendar(zone)
  return known
}
