import * as v from 'valibot'

/** A whole number in a query, where everything is text. */
export const integerQuery = (low: number, high: number) =>
  v.pipe(
    v.string(),
    v.regex(/^\d{1,16}$/, 'must be a whole number'),
    v.transform(Number),
    v.minValue(low, `must be at least ${low}`),
    v.maxValue(high, `must be at most ${high}`),
  )
