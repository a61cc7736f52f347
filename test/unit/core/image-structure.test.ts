import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isWholeAvif, isWholeGif, readWebpStructure } from '../../../src/core/image-structure.ts'
import { readJpegStructure } from '../../../src/core/jpeg-structure.ts'
import { readPngStructure } from '../../../src/core/png-structure.ts'

/** Files made by hand, of the parts that the walks look at. */

const text = (characters: string): number[] => [...characters].map((character) => character.charCodeAt(0))
const u32 = (n: number): number[] => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]
const little = (n: number): number[] => u32(n).reverse()

const box = (name: string, ...inside: number[]): number[] => [...u32(inside.length + 8), ...text(name), ...inside]
const AVIF = [...box('ftyp', ...text('avif'), 0, 0, 0, 0), ...box('meta', 0, 0, 0, 0), ...box('mdat', 1, 2, 3)]

const GIF = [
  ...[...text('GIF89a'), 24, 0, 16, 0, 0x80, 0, 0, 0, 0, 0, 255, 255, 255],
  ...[0x21, 0xf9, 4, 0, 0, 0, 0, 0],
  ...[0x2c, 0, 0, 0, 0, 24, 0, 16, 0, 0, 2, 3, 1, 2, 3, 1, 9, 0],
  0x3b,
]

const riff = (...chunks: number[]): number[] => [
  ...text('RIFF'),
  ...little(chunks.length + 4),
  ...text('WEBP'),
  ...chunks,
]
const part = (name: string, ...inside: number[]): number[] => [
  ...text(name),
  ...little(inside.length),
  ...inside,
  ...(inside.length % 2 ? [0] : []),
]
const LOSSY = [0x10, 0, 0, 0x9d, 1, 0x2a, 24, 0, 16, 0, 7, 7, 7]
const extended = (flags: number): number[] => part('VP8X', flags, 0, 0, 0, 23, 0, 0, 15, 0, 0)
const WEBP = riff(...part('VP8 ', ...LOSSY))
const ANIMATED = riff(...extended(2), ...part('ANIM', 0, 0, 0, 0, 0, 0), ...part('ANMF', ...Array<number>(24).fill(1)))

const chunk = (name: string, ...inside: number[]): number[] => [
  ...u32(inside.length),
  ...text(name),
  ...inside,
  0,
  0,
  0,
  0,
]
const SIGNATURE = [0x89, ...text('PNG'), 13, 10, 26, 10]
const header = (width: number, height: number, depth: number, colour: number, interlace = 0): number[] =>
  chunk('IHDR', ...u32(width), ...u32(height), depth, colour, 0, 0, interlace)
const END = chunk('IEND')
const PNG = [
  ...SIGNATURE,
  ...header(5, 3, 8, 2),
  ...chunk('tEXt', 1),
  ...chunk('IDAT', 1, 2),
  ...chunk('IDAT', 3),
  ...END,
]

const segment = (marker: number, ...inside: number[]): number[] => [0xff, marker, 0, inside.length + 2, ...inside]
const frame = (marker: number, ...factors: number[]): number[] =>
  segment(marker, 8, 0, 30, 0, 40, factors.length, ...factors.flatMap((factor, i) => [i + 1, factor, 0]))
const SCAN = [...segment(0xda, 1, 1, 0, 0, 63, 0), 1, 0xff, 0, 2, 0xff, 0xd0, 3]
const JPEG = [0xff, 0xd8, ...segment(0xe0, 1, 2), ...frame(0xc0, 0x22, 0x11, 0x11), ...SCAN, 0xff, 0xd9]

const WALKS: [string, number[], (bytes: Uint8Array) => unknown][] = [
  ['AVIF', AVIF, isWholeAvif],
  ['GIF', GIF, isWholeGif],
  ['WebP', WEBP, readWebpStructure],
  ['animated WebP', ANIMATED, readWebpStructure],
  ['PNG', PNG, readPngStructure],
  ['JPEG', JPEG, readJpegStructure],
]

describe.each(WALKS)('a %s', (_name, file, walk) => {
  test('that is whole is told from one that is cut at any byte', () => {
    expect(walk(Uint8Array.from(file))).toBeTruthy()
    for (let length = 0; length < file.length; length += 1) {
      expect(walk(Uint8Array.from(file.slice(0, length))), `cut to ${length}`).toBeFalsy()
    }
  })

  test('of hostile bytes never throws and always ends', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(file.length), (noise, at) => {
        walk(noise)
        walk(Uint8Array.from([...file.slice(0, at), ...noise, ...file.slice(at)]))
        const over = Uint8Array.from(file)
        over.set(noise.subarray(0, file.length - at), at)
        walk(over)
      }),
      { numRuns: 500 },
    )
  })
})

test('a WebP tells what is inside, not what its header says', () => {
  expect(readWebpStructure(Uint8Array.from(WEBP))).toEqual({ isAnimated: false, inner: { width: 24, height: 16 } })
  const hidden = riff(...extended(0), ...part('VP8L', 0x2f, 0xff, 0xff, 0xff, 0x0f))
  expect(readWebpStructure(Uint8Array.from(hidden))?.inner).toEqual({ width: 16_384, height: 16_384 })
  expect(readWebpStructure(Uint8Array.from(ANIMATED))).toEqual({ isAnimated: true, inner: null })
  expect(readWebpStructure(Uint8Array.from(riff(...extended(0))))).toBeNull()
})

test('a GIF without a picture is not whole', () => {
  expect(isWholeGif(Uint8Array.from([...GIF.slice(0, 19), 0x3b]))).toBe(false)
})

describe('a PNG', () => {
  const structure = (...parts: number[][]) => readPngStructure(Uint8Array.from([SIGNATURE, ...parts].flat()))
  const data = chunk('IDAT', 1)

  test.each([
    [5, 3, 8, 2, 0, 3 * (1 + 15)],
    [5, 3, 1, 0, 0, 3 * (1 + 1)],
    [9, 3, 1, 0, 0, 3 * (1 + 2)],
    [5, 3, 16, 6, 0, 3 * (1 + 40)],
    [1, 1, 8, 0, 1, 2],
    // Seven passes of 1, 1, 2, 4, 8, 16 and 32 pixels, on 1, 1, 1, 2, 2, 4 and 4 lines.
    [8, 8, 8, 0, 1, 64 + 15],
  ])(
    'of %dx%d in %d bits of colour type %d, interlace %d, inflates to %d bytes',
    (width, height, depth, colour, interlace, rawBytes) => {
      expect(structure(header(width, height, depth, colour, interlace), data, END)?.rawBytes).toBe(rawBytes)
    },
  )

  test('leads a decoder to nothing but pixels', () => {
    const found = readPngStructure(Uint8Array.from(PNG))
    expect(found?.data).toHaveLength(2)
    expect(found?.pixelChunks).toHaveLength(4)
  })

  test.each([
    ['no header first', [data, END]],
    ['two headers', [header(1, 1, 8, 0), header(1, 1, 8, 0), data, END]],
    ['no data', [header(1, 1, 8, 0), END]],
    ['data in two places', [header(1, 1, 8, 0), data, chunk('tEXt', 1), data, END]],
    ['bytes behind its end', [header(1, 1, 8, 0), data, END, [1]]],
    ['a palette of its own that is missing', [header(1, 1, 8, 3), data, END]],
    ['a depth that its colours do not have', [header(1, 1, 4, 2), data, END]],
    ['a colour type that does not exist', [header(1, 1, 8, 5), data, END]],
    ['an unknown interlacing', [header(1, 1, 8, 0, 2), data, END]],
  ])('with %s is broken', (_what, parts) => {
    expect(structure(...parts)).toBeNull()
  })
})

describe('a JPEG', () => {
  const structure = (...parts: number[][]) => readJpegStructure(Uint8Array.from([[0xff, 0xd8], ...parts].flat()))
  const end = [0xff, 0xd9]

  test('tells how much a decoder would hold', () => {
    // 40 by 30 in units of 16: three by two, of four blocks and one and one.
    expect(readJpegStructure(Uint8Array.from(JPEG))).toEqual({ isCommon: true, samples: 3 * 2 * 6 * 64, scans: 1 })
    expect(structure(frame(0xc2, 0x11), SCAN, SCAN, SCAN, end)).toEqual({
      isCommon: true,
      samples: 5 * 4 * 64,
      scans: 3,
    })
  })

  test.each([
    ['arithmetic coding', frame(0xc9, 0x11)],
    ['no loss', frame(0xc3, 0x11)],
    ['four components', frame(0xc0, 0x11, 0x11, 0x11, 0x11)],
  ])('with %s is whole, but uncommon', (_what, uncommon) => {
    expect(structure(uncommon, SCAN, end)?.isCommon).toBe(false)
  })

  test.each([
    ['no frame', [SCAN, end]],
    ['no scan', [frame(0xc0, 0x11), end]],
    ['two frames', [frame(0xc0, 0x11), frame(0xc0, 0x11), SCAN, end]],
    ['a sampling factor of none', [frame(0xc0, 0x01), SCAN, end]],
    ['a sampling factor of fifteen', [frame(0xc0, 0xf1), SCAN, end]],
    ['a segment shorter than its length', [[0xff, 0xe0, 0, 1], frame(0xc0, 0x11), SCAN, end]],
    ['bytes between its segments', [[1, 2], frame(0xc0, 0x11), SCAN, end]],
    ['more components than there are', [frame(0xc0, 0x11, 0x11, 0x11, 0x11, 0x11), SCAN, end]],
  ])('with %s is broken', (_what, parts) => {
    expect(structure(...parts)).toBeNull()
  })
})
