import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isBlank, type Pixels } from '../../../src/core/blank.ts'

type Paint = (x: number, y: number) => number[]

const draw = (width: number, height: number, paint: Paint): Pixels => {
  const channels = paint(0, 0).length as Pixels['channels']
  const data = new Uint8Array(width * height * channels)
  for (let i = 0; i < width * height; i += 1) data.set(paint(i % width, Math.floor(i / width)), i * channels)
  return { width, height, channels, data }
}

/** Repeatable noise of up to `levels`. */
const noise = (x: number, y: number, levels: number): number => (x * 7919 + y * 104_729 + ((x * y) % 13)) % (levels + 1)

describe('blank is', () => {
  test.each<[string, Paint]>([
    ['black', () => [0, 0, 0]],
    ['white', () => [255, 255, 255, 255]],
    ['any one colour', () => [12, 200, 99]],
    ['grey', () => [128]],
    ['one colour with the noise of an encoder', (x, y) => [90 + noise(x, y, 6), 40 + noise(y, x, 6), 10]],
    ['a gradient that nobody sees', (x) => [100 + Math.floor(x / 125), 100, 100]],
    ['transparent, whatever lies under it', (x, y) => [x & 255, y & 255, (x * y) & 255, 0]],
    ['grey that is transparent', (x) => [x & 255, 0]],
    ['one half-transparent colour', () => [200, 100, 50, 128]],
    ['one colour but for three stray pixels', (x, y) => (y === 9 && x < 3 ? [255, 255, 255] : [0, 0, 0])],
  ])('%s', (_what, paint) => {
    expect(isBlank(draw(1000, 700, paint))).toBe(true)
  })

  test('a single pixel', () => {
    expect(isBlank(draw(1, 1, () => [1, 2, 3]))).toBe(true)
  })
})

describe('not blank is', () => {
  test.each<[string, Paint]>([
    ['two halves', (x) => (x < 500 ? [0, 0, 0] : [20, 20, 20])],
    ['a gradient', (x) => [Math.floor(x / 4), 0, 0]],
    ['a thin line', (_x, y) => (y === 350 ? [0, 0, 0] : [255, 255, 255])],
    ['a thin line that ends the picture', (_x, y) => (y === 699 ? [0, 0, 0] : [255, 255, 255])],
    ['a small mark', (x, y) => (Math.hypot(x - 800, y - 600) < 6 ? [255, 0, 0] : [255, 255, 255])],
    ['a silhouette', (x) => [0, 0, 0, x > 300 && x < 500 ? 255 : 0]],
    ['something that differs in one channel only', (x) => [100, 100, x < 100 ? 60 : 100]],
    ['noise', (x, y) => [noise(x, y, 60), noise(y, x, 60), 0]],
    ['grey with a faint mark', (x, y) => [x > 400 && x < 500 && y > 300 && y < 400 ? 110 : 128]],
  ])('%s', (_what, paint) => {
    expect(isBlank(draw(1000, 700, paint))).toBe(false)
  })
})

const Channels = fc.constantFrom<Pixels['channels']>(1, 2, 3, 4)
const Side = fc.integer({ min: 1, max: 60 })

/** What the definition says, in two passes over all pixels. */
const byDefinition = ({ width, height, channels, data }: Pixels): boolean => {
  const hasAlpha = channels % 2 === 0
  const planes = Array.from({ length: channels }, (_, channel) =>
    Array.from({ length: width * height }, (_, i) => {
      const alpha = hasAlpha && channel < channels - 1 ? (data[i * channels + channels - 1] ?? 0) / 255 : 1
      return (data[i * channels + channel] ?? 0) * alpha
    }),
  )
  const spread = Math.max(...planes.map((plane) => Math.max(...plane) - Math.min(...plane)))
  const variance = planes.reduce((sum, plane) => {
    const mean = plane.reduce((a, b) => a + b, 0) / plane.length
    return sum + plane.reduce((a, b) => a + (b - mean) ** 2, 0) / plane.length
  }, 0)
  return spread <= 8 || variance < 1
}

test('what the walk finds is what the definition says, though it ends early', () => {
  fc.assert(
    fc.property(
      Channels,
      Side,
      Side,
      fc.nat(255),
      fc.nat(40),
      fc.nat(3),
      fc.nat(),
      (channels, width, height, base, levels, strays, at) => {
        const data = new Uint8Array(width * height * channels)
        for (let i = 0; i < data.length; i += 1) data[i] = Math.min(255, base + noise(i, i >> 3, levels))
        for (let i = 0; i < strays; i += 1) data[(at + i * 31) % data.length] = 255 - base
        const pixels = { width, height, channels, data }
        expect(isBlank(pixels)).toBe(byDefinition(pixels))
      },
    ),
    { numRuns: 500 },
  )
})

test('one colour is blank in every size, with any noise of eight levels', () => {
  fc.assert(
    fc.property(Side, Side, fc.nat(247), fc.nat(8), (width, height, base, levels) => {
      expect(isBlank(draw(width, height, (x, y) => [base + noise(x, y, levels), base, base]))).toBe(true)
    }),
  )
})
