/** Hours and days. Hours are those of UTC; days are those of a zone, made of whole hours. Times are ms since the epoch. */

export const HOUR_MS = 60 * 60 * 1000
const DAY_MS = 24 * HOUR_MS

export const hourStart = (at: number): number => Math.floor(at / HOUR_MS) * HOUR_MS

/**
 * The midnight that began the day of `at` in an IANA zone; where a change of the clock leaves midnight out, the first moment
 * of that day. Throws on a zone that does not exist.
 */
export const dayStart = (at: number, zone: string): number => {
  if (zone === 'UTC') return Math.floor(at / DAY_MS) * DAY_MS
  const midnight = Math.floor((at + offsetAt(at, zone)) / DAY_MS) * DAY_MS
  // The offset of the moment asked for; then, where the clock was changed since midnight, that of midnight.
  const near = midnight - offsetAt(at, zone)
  const start = midnight - offsetAt(near, zone)
  // Midnight was left out: both guesses differ, and the later is the moment of the change.
  return offsetAt(start, zone) === offsetAt(near, zone) ? start : Math.max(near, start)
}

/** Local time minus UTC, in ms. */
const offsetAt = (at: number, zone: string): number => {
  const parts = new Map(
    formatOf(zone)
      .formatToParts(at)
      .map(({ type, value }) => [type, Number(value)]),
  )
  const part = (type: Intl.DateTimeFormatPartTypes): number => parts.get(type) ?? 0
  const local = Date.UTC(part('year'), part('month') - 1, part('day'), part('hour'), part('minute'), part('second'))
  return local - Math.floor(at / 1000) * 1000
}

/** Making a format costs a hundred times what using it does. An instance has one zone. */
let known: { zone: string; format: Intl.DateTimeFormat } | null = null

const formatOf = (zone: string): Intl.DateTimeFormat => {
  if (known?.zone === zone) return known.format
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  known = { zone, format }
  return format
}
