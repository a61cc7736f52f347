import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ImageInput } from '../../../src/contract/image.ts'
import { type Facts, problemOf, refusesChecks, resultsOf, wantedChecks } from '../../../src/core/image-checks.ts'

const ALL = { decode: true, not_blank: true, dimensions: true, format: true }
const facts = (width: number, height: number, more: Partial<Facts> = {}): Facts => ({
  contentType: 'image/png',
  width,
  height,
  bytes: 5_000,
  ...more,
})
const asking = (more: Partial<ImageInput>): ImageInput => ({ prompt: 'x', ...more })

test.each([
  [undefined, null],
  [false, null],
  [{}, null],
  [{ decode: false, format: false }, null],
  [true, ALL],
  [{ min_bytes: 1 }, { min_bytes: 1 }],
] as const)('checks %j mean %j', (checks, wanted) => {
  expect(wantedChecks(asking(checks === undefined ? {} : { checks }))).toEqual(wanted)
})

describe('the shape', () => {
  test.each([
    ['1280x720', 1280, 720, true],
    ['1280x720', 1280, 704, false],
    ['1280x720', 720, 1280, false],
  ])('of size %s is exact: %dx%d', (size, width, height, isFine) => {
    expect(problemOf(ALL, asking({ size }), 'ideogram', facts(width, height)) === null).toBe(isFine)
  })

  test.each([
    // What models make of a ratio, by rounding sides.
    ['16:9', 1312, 736, true],
    ['16:9', 1344, 768, true],
    ['3:2', 1216, 832, true],
    ['2:3', 832, 1216, true],
    ['4:5', 896, 1088, true],
    ['1:3', 512, 1536, true],
    ['16:9', 1280, 800, false],
    ['4:5', 768, 1024, false],
    ['1:1', 1024, 896, false],
    ['9:16', 1312, 736, false],
  ] as const)('of ratio %s may be rounded: %dx%d', (ratio, width, height, isFine) => {
    const problem = problemOf(ALL, asking({ aspect_ratio: ratio }), 'ideogram', facts(width, height))
    expect(problem === null).toBe(isFine)
    if (problem) expect(problem).toMatchObject({ code: 'provider_rejected', param: 'input.aspect_ratio' })
  })

  test('is not judged where nothing was asked, or another provider was told natively', () => {
    expect(problemOf(ALL, asking({}), 'ideogram', facts(9, 900))).toBeNull()
    const native = asking({ size: '64x64', provider_options: { ideogram: { resolution: '512x1536' } } })
    expect(problemOf(ALL, native, 'ideogram', facts(512, 1536))).toBeNull()
    expect(resultsOf(ALL, native, 'ideogram', 'pixels').dimensions).toBeNull()
    expect(problemOf(ALL, native, 'replicate', facts(512, 1536))).not.toBeNull()
    expect(resultsOf(ALL, native, 'replicate', 'pixels').dimensions).toBe(true)
  })

  test('judges a picture and its mirror alike', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4_000 }), fc.integer({ min: 1, max: 4_000 }), (width, height) => {
        const upright = problemOf(ALL, asking({ aspect_ratio: '2:3' }), 'ideogram', facts(width, height))
        const lying = problemOf(ALL, asking({ aspect_ratio: '3:2' }), 'ideogram', facts(height, width))
        expect(upright === null).toBe(lying === null)
      }),
    )
  })
})

test('too few bytes are fetched again, all else is not what was asked for', () => {
  const checks = { min_bytes: 5_001, min_width: 100, min_height: 100, format: true }
  const input = asking({ format: 'webp' })
  expect(problemOf(checks, input, 'ideogram', facts(10, 10))?.code).toBe('artifact_failed')
  for (const given of [
    facts(100, 100),
    facts(99, 100, { contentType: 'image/webp' }),
    facts(100, 99, { contentType: 'image/webp' }),
  ]) {
    expect(problemOf(checks, input, 'ideogram', { ...given, bytes: 6_000 })?.code).toBe('provider_rejected')
  }
  expect(problemOf(checks, input, 'ideogram', facts(100, 100, { contentType: 'image/webp', bytes: 5_001 }))).toBeNull()
})

test('bounds that the asked size cannot keep are refused beforehand', () => {
  const refused = (checks: ImageInput['checks'], size?: string) =>
    refusesChecks(asking({ ...(checks === undefined ? {} : { checks }), ...(size ? { size } : {}) }))
  expect(refused({ min_width: 1025 }, '1024x1024')).toMatchObject({ param: 'input.checks' })
  expect(refused({ min_height: 1025 }, '1024x1024')).toMatchObject({ param: 'input.checks' })
  expect(refused({ min_width: 1024, min_height: 1024 }, '1024x1024')).toBeNull()
  expect(refused({ min_width: 9_999 })).toBeNull()
  expect(refused(undefined, '1024x1024')).toBeNull()
})

test('results tell only of what was asked, and null where it could not be judged', () => {
  expect(resultsOf({ decode: true, min_bytes: 5 }, asking({}), 'ideogram', 'structure')).toEqual({
    decode: null,
    min_bytes: true,
  })
  expect(resultsOf(ALL, asking({ format: 'png', size: '8x8' }), 'ideogram', 'pixels')).toEqual(ALL)
})
