import fc from 'fast-check'
import { PNG } from 'pngjs'
import { describe, expect, test } from 'vitest'
import { looksComplete, looksLikeImage, readImageHeader, TAIL_BYTES } from '../../../src/core/image-header.ts'
import { LIMITS } from '../../../src/limits.ts'

const bytes = (...parts: (string | number | number[] | Uint8Array)[]): Uint8Array =>
  Uint8Array.from(
    parts.flatMap((part) => {
      if (typeof part === 'string') return [...part].map((character) => character.charCodeAt(0))
      return typeof part === 'number' ? [part] : [...part]
    }),
  )
const u16 = (n: number): number[] => [(n >> 8) & 255, n & 255]
const u32 = (n: number): number[] => [...u16(Math.floor(n / 65_536)), ...u16(n % 65_536)]
const little = (numbers: number[]): number[] => numbers.toReversed()
const zeros = (count: number): number[] => new Array<number>(count).fill(0)

const png = (width: number, height: number) =>
  bytes([0x89], 'PNG', [13, 10, 26, 10], u32(13), 'IHDR', u32(width), u32(height), [8, 6, 0, 0, 0], u32(0))
const segment = (marker: number, content: number[]) => [0xff, marker, ...u16(content.length + 2), ...content]
const frame = (marker: number, width: number, height: number) =>
  segment(marker, [8, ...u16(height), ...u16(width), 3, ...zeros(9)])
const jpeg = (...segments: number[][]) => bytes([0xff, 0xd8], ...segments)
const exif = segment(0xe1, [...bytes('Exif\0\0'), ...zeros(500), 0xff, 0xc0, 0, 17, ...zeros(40)])
const webp = (...chunk: (string | number[])[]) => bytes('RIFF', little(u32(100)), 'WEBP', ...chunk, zeros(20))
const gif = (width: number, height: number) => bytes('GIF89a', little(u16(width)), little(u16(height)), zeros(3))
const box = (name: string, ...content: number[][]) => [
  ...u32(content.flat().length + 8),
  ...bytes(name),
  ...content.flat(),
]
const ispe = (width: number, height: number) => box('ispe', u32(0), u32(width), u32(height))
const ftyp = box('ftyp', [...bytes('avif')], u32(0), [...bytes('mif1miaf')])
const meta = (...properties: number[][]) =>
  box('meta', u32(0), box('hdlr', zeros(24)), box('iprp', box('ipco', ...properties)))

const whole: [name: string, file: Uint8Array, type: string, width: number, height: number][] = [
  ['PNG', png(1280, 720), 'image/png', 1280, 720],
  ['JPEG, baseline', jpeg(segment(0xe0, zeros(14)), frame(0xc0, 640, 480)), 'image/jpeg', 640, 480],
  ['JPEG, progressive', jpeg(frame(0xc2, 640, 480)), 'image/jpeg', 640, 480],
  ['JPEG, lossless arithmetic', jpeg(frame(0xcf, 640, 480)), 'image/jpeg', 640, 480],
  ['JPEG, EXIF with a preview before the frame', jpeg(exif, frame(0xc0, 640, 480)), 'image/jpeg', 640, 480],
  [
    'JPEG, tables before the frame',
    jpeg(segment(0xc4, zeros(30)), segment(0xcc, [0, 0]), frame(0xc1, 3, 5)),
    'image/jpeg',
    3,
    5,
  ],
  ['JPEG, fill bytes before a marker', jpeg([0xff, 0xff, 0xff], frame(0xc0, 7, 9)), 'image/jpeg', 7, 9],
  [
    'WebP, lossy',
    webp('VP8 ', u32(0), [0x10, 0, 0, 0x9d, 0x01, 0x2a], little(u16(550)), little(u16(368 | 0x4000))),
    'image/webp',
    550,
    368,
  ],
  ['WebP, lossless', webp('VP8L', u32(0), [0x2f], little(u32((399 & 0x3fff) | (299 << 14)))), 'image/webp', 400, 300],
  ['WebP, extended', webp('VP8X', u32(10), zeros(4), [0xff, 0x03, 0], [0xff, 0x01, 0]), 'image/webp', 1024, 512],
  ['GIF', gif(320, 200), 'image/gif', 320, 200],
  ['AVIF', bytes(ftyp, meta(ispe(1024, 768))), 'image/avif', 1024, 768],
  [
    'AVIF of brand mif1',
    bytes(box('ftyp', [...bytes('mif1')], u32(0), [...bytes('avif')]), meta(ispe(8, 6))),
    'image/avif',
    8,
    6,
  ],
  [
    'AVIF, tiles and thumbnail',
    bytes(ftyp, meta(ispe(512, 512), ispe(1024, 1024), ispe(64, 64))),
    'image/avif',
    1024,
    1024,
  ],
  ['AVIF, other boxes first', bytes(ftyp, box('uuid', zeros(300)), meta(ispe(10, 20))), 'image/avif', 10, 20],
  [
    'AVIF, box with a 64-bit size',
    bytes(ftyp, [...u32(1), ...bytes('free'), ...u32(0), ...u32(24), ...zeros(8)], meta(ispe(10, 20))),
    'image/avif',
    10,
    20,
  ],
]

const refused: [name: string, file: Uint8Array][] = [
  ['nothing', new Uint8Array(0)],
  ['HTML', bytes('<!doctype html><title>Not found</title>')],
  ['a PNG whose first chunk is no IHDR', bytes(png(1, 1).slice(0, 12), 'CgBI', zeros(20))],
  ['a PNG of no width', png(0, 10)],
  ['a PNG wider than the limit', png(LIMITS.imageSideMax + 1, 10)],
  ['a JPEG that starts its scan without a frame', jpeg(segment(0xda, zeros(8)), frame(0xc0, 6, 4))],
  ['a JPEG with a segment of impossible length', jpeg([0xff, 0xe0, 0, 1], frame(0xc0, 6, 4))],
  ['a JPEG with bytes between segments', jpeg([0x00, 0x01, 0x02, 0x03], frame(0xc0, 6, 4))],
  ['a WebP with a broken start code', webp('VP8 ', u32(0), [0x10, 0, 0, 0, 0, 0], u16(5), u16(5))],
  ['a WebP of an unknown chunk', webp('ALPH', zeros(18))],
  ['RIFF that is sound', bytes('RIFF', u32(4), 'WAVE', zeros(30))],
  ['an AVIF without a size', bytes(ftyp, meta())],
  ['HEIC', bytes(box('ftyp', [...bytes('heic')], u32(0), [...bytes('mif1heic')]), meta(ispe(8, 6)))],
  [
    'an AVIF whose minor version reads avif',
    bytes(box('ftyp', [...bytes('heic')], [...bytes('avif')]), meta(ispe(8, 6))),
  ],
  ['an AVIF with a box smaller than its header', bytes(ftyp, u32(4), 'free', meta(ispe(8, 6)))],
]

describe('the header of an image', () => {
  test.each(whole)('%s', (_name, file, contentType, width, height) => {
    expect(readImageHeader(file)).toEqual({ contentType, width, height })
  })

  test.each(refused)('%s is refused', (_name, file) => {
    expect(readImageHeader(file)).toBeNull()
  })

  test('a real PNG of any size is read and complete', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 64 }), (width, height) => {
        const file = new Uint8Array(PNG.sync.write(new PNG({ width, height })))
        expect(readImageHeader(file)).toEqual({ contentType: 'image/png', width, height })
        expect(looksComplete('image/png', file.slice(-TAIL_BYTES), file.length, file)).toBe(true)
      }),
    )
  })

  test('a view into a larger buffer is read from its own start', () => {
    const padded = bytes(zeros(7), png(31, 17))
    expect(readImageHeader(padded.subarray(7))).toEqual({ contentType: 'image/png', width: 31, height: 17 })
  })

  test('random bytes behind any signature never throw', () => {
    const starts = whole.map(([, file]) => file.slice(0, 12))
    fc.assert(
      fc.property(fc.constantFrom(new Uint8Array(0), ...starts), fc.uint8Array({ maxLength: 300 }), (start, rest) => {
        const file = bytes(start, rest)
        const header = readImageHeader(file)
        if (header) expect(Math.min(header.width, header.height)).toBeGreaterThan(0)
        const type = looksLikeImage(file)
        if (type) looksComplete(type, file, file.length, file)
      }),
      { numRuns: 2000 },
    )
  })

  test('a file with some bytes changed never throws', () => {
    const change = fc.tuple(fc.nat({ max: 400 }), fc.nat({ max: 255 }))
    fc.assert(
      fc.property(fc.constantFrom(...whole), fc.array(change, { maxLength: 6 }), ([, original], changes) => {
        const file = original.slice()
        for (const [at, value] of changes) if (at < file.length) file[at] = value
        readImageHeader(file)
      }),
      { numRuns: 2000 },
    )
  })

  test.each(whole)('%s: cut short it gives the same answer or none', (_name, file, contentType, width, height) => {
    for (let length = 0; length < file.length; length += 1) {
      const header = readImageHeader(file.subarray(0, length))
      // Of several AVIF sizes only the first may have arrived.
      if (header && contentType !== 'image/avif') expect(header).toEqual({ contentType, width, height })
    }
  })
})

describe('the end of an image', () => {
  const end = bytes(u32(0), 'IEND', [0xae, 0x42, 0x60, 0x82])
  const riff = (size: number) => bytes('RIFF', little(u32(size)), 'WEBP')
  const none = new Uint8Array(0)
  test.each<[string, Parameters<typeof looksComplete>, boolean]>([
    ['a PNG that ends with IEND', ['image/png', bytes(zeros(9), end), 100, none], true],
    ['a PNG cut within IEND', ['image/png', end.slice(0, -1), 100, none], false],
    ['a PNG with something behind IEND', ['image/png', bytes(end, [0]), 100, none], false],
    ['a JPEG that ends with EOI', ['image/jpeg', bytes([1, 0xff, 0xd9]), 100, none], true],
    ['a JPEG padded with zeros', ['image/jpeg', bytes([1, 0xff, 0xd9], zeros(300)), 400, none], true],
    ['a JPEG cut short', ['image/jpeg', bytes([1, 0xff]), 100, none], false],
    ['a JPEG of zeros', ['image/jpeg', bytes(zeros(50)), 100, none], false],
    ['a GIF with its trailer', ['image/gif', bytes([0, 0x3b]), 100, none], true],
    ['a GIF cut short', ['image/gif', bytes([0, 0x3c]), 100, none], false],
    ['a WebP as long as it says', ['image/webp', none, 108, riff(100)], true],
    ['a WebP shorter than it says', ['image/webp', none, 107, riff(100)], false],
    ['a WebP without a head', ['image/webp', none, 108, none], false],
    ['an AVIF, which has no end mark', ['image/avif', none, 1, none], true],
    ['no tail at all', ['image/png', none, 0, none], false],
  ])('%s', (_name, input, complete) => {
    expect(looksComplete(...input)).toBe(complete)
  })
})
