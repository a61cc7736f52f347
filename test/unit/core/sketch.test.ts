import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  addToSketch,
  emptySketch,
  mergeSketch,
  packSketch,
  quantile,
  SKETCH_ERROR,
  type Sketch,
  sketchCount,
  unpackSketch,
} from '../../../src/core/sketch.ts'
import { LIMITS } from '../../../src/limits.ts'

const sketchOf = (values: readonly number[]): Sketch => {
  const sketch = emptySketch()
  for (const value of values) addToSketch(sketch, value)
  return sketch
}

const merged = (...sketches: Sketch[]): Sketch => {
  const whole = emptySketch()
  for (const sketch of sketches) mergeSketch(whole, sketch)
  return whole
}

const exact = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(q * (values.length - 1))] ?? Number.NaN

/** Within one window: the highest is less than 28,000 times the lowest. */
const duration = fc.integer({ min: 1_000, max: 20_000_000 })
/** Anything a clock can say, a window wide and far beyond. */
const anyDuration = fc.oneof(
  fc.integer({ min: 0, max: 100 }),
  duration,
  fc.double({ min: 0, max: 1e15, noNaN: true }),
  fc.constantFrom(0, 1, 0.5, Number.MAX_VALUE, Number.MAX_SAFE_INTEGER),
)
const q = fc.double({ min: 0, max: 1, noNaN: true })
const ROUNDING = 1e-9

describe('a sketch of durations', () => {
  test('tells every quantile within one per cent of the exact one', () => {
    fc.assert(
      fc.property(fc.array(duration, { minLength: 1, maxLength: 400 }), q, (values, at) => {
        const truth = exact(values, at)
        expect(Math.abs((quantile(sketchOf(values), at) ?? Number.NaN) - truth)).toBeLessThanOrEqual(
          truth * (SKETCH_ERROR + ROUNDING),
        )
      }),
    )
  })

  test('tells the upper quantiles within one per cent however wide the values lie', () => {
    fc.assert(
      fc.property(fc.array(anyDuration, { minLength: 1, maxLength: 200 }), q, (values, at) => {
        const bounded = values.map((value) => Math.min(value, Number.MAX_SAFE_INTEGER))
        const truth = exact(bounded, at)
        fc.pre(truth >= 1 && truth > Math.max(...bounded) / 25_000)
        expect(Math.abs((quantile(sketchOf(values), at) ?? Number.NaN) - truth)).toBeLessThanOrEqual(
          truth * (SKETCH_ERROR + ROUNDING),
        )
      }),
    )
  })

  test('tells values below one as zero, and nothing where nothing was seen', () => {
    expect(quantile(emptySketch(), 0.5)).toBeNull()
    expect(quantile(sketchOf([0, 0.2, 5_000]), 0.5)).toBe(0)
    expect(quantile(sketchOf([0, 0.2, 5_000]), 1)).toBeGreaterThan(4_900)
  })

  test('counts every value once', () => {
    fc.assert(
      fc.property(fc.array(anyDuration), (values) => {
        expect(sketchCount(sketchOf(values))).toBe(values.length)
      }),
    )
  })

  test('takes a duration of a clock set back for zero, and counts no number that is none', () => {
    const sketch = sketchOf([-5, Number.NEGATIVE_INFINITY, Number.NaN, Number.POSITIVE_INFINITY])
    expect([sketchCount(sketch), quantile(sketch, 0)]).toEqual([3, 0])
    expect(Number.isFinite(quantile(sketch, 1))).toBe(true)
  })
})

describe('sketches of parts', () => {
  const values = fc.array(anyDuration, { maxLength: 100 })

  test('merge to the sketch of the whole', () => {
    fc.assert(
      fc.property(values, values, (a, b) => {
        expect(packSketch(merged(sketchOf(a), sketchOf(b)))).toEqual(packSketch(sketchOf([...a, ...b])))
      }),
    )
  })

  test('merge in any order and grouping to the same', () => {
    fc.assert(
      fc.property(values, values, values, (...parts) => {
        const [a, b, c] = parts.map(sketchOf) as [Sketch, Sketch, Sketch]
        const whole = packSketch(merged(a, b, c))
        expect(packSketch(merged(c, b, a))).toEqual(whole)
        expect(packSketch(merged(merged(a, b), c))).toEqual(whole)
        expect(packSketch(merged(a, merged(b, c)))).toEqual(whole)
      }),
    )
  })

  test('are left as they were by a merge', () => {
    const part = sketchOf([1, 100, 10_000])
    const before = packSketch(part)
    const whole = merged(part, sketchOf([1e12]))
    addToSketch(whole, 100)
    expect(packSketch(part)).toEqual(before)
  })
})

describe('a packed sketch', () => {
  test('is unpacked as it was, through JSON', () => {
    fc.assert(
      fc.property(fc.array(anyDuration), (values) => {
        const packed = packSketch(sketchOf(values))
        const again = unpackSketch(JSON.parse(JSON.stringify(packed)) as number[])
        expect(again).toEqual(sketchOf(values))
        expect(packSketch(again)).toEqual(packed)
      }),
    )
  })

  test('stays small whatever was seen', () => {
    fc.assert(
      fc.property(fc.array(anyDuration, { minLength: 500, maxLength: 2_000 }), (values) => {
        expect(sketchOf(values).bins.size).toBeLessThanOrEqual(LIMITS.sketchBins)
        expect(packSketch(sketchOf(values)).length).toBeLessThanOrEqual(2 * LIMITS.sketchBins + 1)
      }),
      { numRuns: 20 },
    )
    const wide = sketchOf(Array.from({ length: 2_000 }, (_, i) => 1.02 ** i))
    expect(wide.bins.size).toBe(LIMITS.sketchBins)
    expect(JSON.stringify(packSketch(wide)).length).toBeLessThan(3_000)
  })

  test.each([[[]], [[1, 2]], [[-1]], [[0, 1.5, 1]], [[0, 1, Number.NaN]]])('that is none is refused: %j', (packed) =>
    expect(() => unpackSketch(packed)).toThrow('no packed sketch'),
  )
})
