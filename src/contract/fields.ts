import * as v from 'valibot'
import { LIMITS } from '../limits.ts'

/** The small schemas that the contract's objects are made of. */

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

const isJson = (value: unknown): value is Json => {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (Array.isArray(value)) return value.every(isJson)
  return typeof value === 'object' && Object.values(value).every(isJson)
}

/**
 * valibot takes a list for an object without entries, and a misspelt request would pass as an empty one. These refuse it,
 * and are otherwise the library's own.
 */
export const strictObject = <const E extends v.ObjectEntries>(entries: E) => refusingLists(v.strictObject(entries))
export const record = <const K extends Parameters<typeof v.record>[0], const V extends v.GenericSchema>(
  key: K,
  value: V,
) => refusingLists(v.record(key, value))

export const refusingLists = <S extends v.GenericSchema>(schema: S): S => ({
  ...schema,
  '~run'(dataset, config) {
    if (!Array.isArray(dataset.value)) return schema['~run'](dataset, config)
    v._addIssue({ ...schema, expects: 'Object', message: 'must be an object' }, 'type', dataset, config)
    return { ...dataset, typed: false }
  },
})

const JsonValue = v.custom<Json>(isJson, 'must be JSON')

/** An object of JSON whose text is bounded. */
export const jsonObject = (bytesMax: number) =>
  v.pipe(
    record(v.string(), JsonValue),
    v.check((value) => fits(JSON.stringify(value), bytesMax), `must be at most ${bytesMax} bytes`),
  )

/** No character takes more than three bytes of UTF-8 for each of its UTF-16 units. */
const fits = (text: string, bytesMax: number): boolean =>
  text.length * 3 <= bytesMax || new TextEncoder().encode(text).length <= bytesMax

export const JsonObject = jsonObject(LIMITS.optionsBytes)

const hasNoControls = (text: string): boolean => !/[\u0000-\u001f\u007f]/.test(text)

/** A label that people give: shown in logs and headers, so without control characters. */
export const Name = v.pipe(
  v.string(),
  v.minLength(1, 'must not be empty'),
  v.maxLength(LIMITS.nameCharacters, `must be at most ${LIMITS.nameCharacters} characters`),
  v.regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
    'must begin with a letter or digit and hold only letters, digits, ".", "_" and "-"',
  ),
)

/** `Date.parse` takes the 30th of February for the 2nd of March. */
const isDay = (day: string): boolean => new Date(day).toJSON()?.slice(0, 10) === day

export const Timestamp = v.pipe(
  v.string(),
  v.maxLength(40),
  v.isoTimestamp('must be an RFC 3339 time such as 2026-01-31T12:00:00Z'),
  v.check((text) => Number.isFinite(Date.parse(text)) && isDay(text.slice(0, 10)), 'must be a time that exists'),
)

/** Names only: an offset such as +01:00 knows no summer time. */
const isTimeZone = (name: string): boolean => {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

export const TimeZone = v.pipe(
  v.string(),
  v.maxLength(64),
  v.regex(/^[A-Za-z][A-Za-z0-9_+/-]*$/, 'must be the name of a time zone such as Europe/Berlin'),
  v.check(isTimeZone, 'must be a time zone of the IANA list'),
)

export const Metadata = v.pipe(
  record(
    v.pipe(
      v.string(),
      v.minLength(1),
      v.maxLength(LIMITS.metadataKeyCharacters),
      v.check(hasNoControls, 'must hold no control characters'),
    ),
    v.pipe(
      v.string(),
      v.maxLength(LIMITS.metadataValueCharacters, `must be at most ${LIMITS.metadataValueCharacters} characters`),
    ),
  ),
  v.check((value) => Object.keys(value).length <= LIMITS.metadataKeys, `must have at most ${LIMITS.metadataKeys} keys`),
)

export const ModelName = v.pipe(
  v.string(),
  v.maxLength(128),
  v.regex(/^[a-z0-9-]+\/[A-Za-z0-9@][A-Za-z0-9._:/-]*$/, 'must be written provider/model'),
)

/** A model as a price list names it, without the provider; `*` is all that have no name of their own. */
export const PricedModel = v.pipe(
  v.string(),
  v.maxLength(128),
  v.regex(/^(?:\*|@?[A-Za-z0-9][A-Za-z0-9._:@/-]*)$/, 'must be the name of a model'),
)

export const integer = (low: number, high: number) =>
  v.pipe(
    v.number('must be a number'),
    v.integer('must be a whole number'),
    v.minValue(low, `must be at least ${low}`),
    v.maxValue(high, `must be at most ${high}`),
  )

/** Six decimals at most, as all money here. */
export const Usd = v.pipe(
  v.number('must be a number'),
  v.finite(),
  v.minValue(0, 'must not be negative'),
  v.maxValue(LIMITS.maxCostUsd, `must be at most ${LIMITS.maxCostUsd}`),
  v.check((usd) => usdToMicros(usd) / 1_000_000 === usd, 'must have at most six decimals'),
)

export const usdToMicros = (usd: number): number => Math.round(usd * 1_000_000)
export const microsToUsd = (micros: number): number => micros / 1_000_000
