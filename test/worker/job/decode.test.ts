import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isBlank } from '../../../src/core/blank.ts'
import { readImageHeader } from '../../../src/core/image-header.ts'
import { decodeImage } from '../../../src/job/decode.ts'
import { LIMITS } from '../../../src/limits.ts'
import { flat, joined, jpeg, type Paint, type PngOptions, png, rgba, scene, webp } from '../support/photos.ts'

/** Decoding in the runtime of the product: good pictures to the pixel, hostile ones to a value. */

const decode = async (bytes: Uint8Array) => {
  const header = readImageHeader(bytes)
  if (!header) throw new Error('no header')
  return decodeImage(bytes, header)
}

const pixelsOf = async (bytes: Uint8Array) => {
  const decoded = await decode(bytes)
  if (decoded.kind !== 'pixels') throw new Error(`not decoded: ${JSON.stringify(decoded)}`)
  return decoded.pixels
}

describe('a PNG', () => {
  const kinds: [string, PngOptions][] = [
    ['grey of 1 bit', { colour: 'grey', depth: 1 }],
    ['grey of 2 bits', { colour: 'grey', depth: 2 }],
    ['grey of 4 bits', { colour: 'grey', depth: 4 }],
    ['grey', { colour: 'grey' }],
    ['grey of 16 bits', { colour: 'grey', depth: 16 }],
    ['grey with alpha', { colour: 'grey+alpha' }],
    ['RGB', { colour: 'rgb' }],
    ['RGB of 16 bits', { colour: 'rgb', depth: 16 }],
    ['RGBA', { colour: 'rgba' }],
    ['RGBA of 16 bits', { colour: 'rgba', depth: 16 }],
    ['a palette of 1 bit', { colour: 'indexed', depth: 1 }],
    ['a palette of 4 bits', { colour: 'indexed', depth: 4 }],
    ['a palette', { colour: 'indexed' }],
    ['interlaced RGB', { colour: 'rgb', interlaced: true }],
    ['interlaced RGBA of 16 bits', { colour: 'rgba', depth: 16, interlaced: true }],
    ['data in many chunks', { split: 100 }],
  ]

  test.each(kinds)('in %s is decoded to its pixels', async (_name, options) => {
    const [width, height] = [37, 23]
    const paint: Paint = (x, y) => (x < 20 ? [255, 0, 255, 255] : scene(x, y))
    const { channels, data } = await pixelsOf(png(width, height, { ...options, paint }))
    const depth = Math.min(options.depth ?? 8, 8)
    const drawn = rgba(width, height, paint)
    for (let i = 0; i < width * height; i += 1) {
      // Few bits keep the upper part of a sample.
      const red = ((drawn[i * 4] ?? 0) >> (8 - depth)) * (255 / (2 ** depth - 1))
      expect(Math.abs((data[i * channels] ?? -1) - red)).toBeLessThan(1)
    }
  })

  test('that is interlaced in less than a byte a sample is judged by its structure', async () => {
    expect(await decode(png(37, 23, { colour: 'grey', depth: 1, interlaced: true }))).toEqual({ kind: 'structure' })
  })

  test('may hold a profile that is a bomb, texts and chunks of its own: they are not looked at', async () => {
    const profile = joined([new TextEncoder().encode('icc\0\0'), deflateSync(new Uint8Array(40_000_000))])
    const extra = [
      { name: 'iCCP', data: profile },
      { name: 'tEXt', data: new Uint8Array(100) },
      { name: 'caBX', data: new Uint8Array(1000) },
    ]
    expect((await pixelsOf(png(20, 20, { extra }))).width).toBe(20)
  })

  test.each([
    [254, 256, 'grey'],
    [255, 256, 'grey'],
    [255, 257, 'grey'],
    [1280, 704, 'rgba'],
  ] as const)(
    'of one colour and %d by %d is not taken for a bomb, though it inflates to a hundred times its length',
    async (width, height, colour) => {
      expect(isBlank(await pixelsOf(png(width, height, { colour, paint: flat(9, 9, 9) })))).toBe(true)
    },
  )

  const good = png(64, 64)
  const damaged = good.slice()
  damaged[200] = (damaged[200] ?? 0) ^ 0x40
  test.each([
    ['one flipped bit in its data', damaged],
    ['data that inflate to more than its size', png(64, 64, { data: deflateSync(new Uint8Array(50_000_000)) })],
    ['data that inflate to less than its size', png(64, 64, { data: deflateSync(new Uint8Array(64 * 64)) })],
    ['a header that says more than there is', png(64, 64, { said: { width: 2000, height: 2000 } })],
    ['a header that says less than there is', png(64, 64, { said: { width: 8, height: 8 } })],
    ['no data', png(64, 64, { data: new Uint8Array(0) })],
    ['data that is not compressed', png(64, 64, { data: new Uint8Array(500) })],
    ['an unknown filter', png(2, 2, { data: deflateSync(Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0)) })],
    ['a palette that is missing', withoutPalette()],
  ])('with %s is broken', async (_name, bytes) => {
    expect(await decode(bytes)).toMatchObject({ kind: 'broken' })
  })

  test('that is larger than what is checked is not decoded, and broken where its data is too short for its size', async () => {
    const said = { width: 2_305, height: 2_048 }
    expect(await decode(png(8, 8, { said, data: new Uint8Array(20_000) }))).toEqual({ kind: 'structure' })
    const deep = {
      colour: 'rgba',
      depth: 16,
      said: { width: 2_000, height: 2_000 },
      data: new Uint8Array(40_000),
    } as const
    expect(await decode(png(8, 8, deep))).toEqual({ kind: 'structure' })
    expect(await decode(png(8, 8, { said: { width: 16_384, height: 16_384 } }))).toMatchObject({ kind: 'broken' })
  })
})

function withoutPalette(): Uint8Array {
  const bytes = png(8, 8, { colour: 'indexed' })
  const at = 33
  const length = new DataView(bytes.buffer).getUint32(at)
  return joined([bytes.subarray(0, at), bytes.subarray(at + 12 + length)])
}

describe('a JPEG', () => {
  test('is decoded to about its pixels', async () => {
    const paint: Paint = (x) => (x < 32 ? [200, 40, 40, 255] : [40, 40, 200, 255])
    const { width, height, data, channels } = await pixelsOf(jpeg(64, 48, paint, 95))
    expect([width, height, channels]).toEqual([64, 48, 3])
    expect([data[0], data[1], data[2]].map((sample) => Math.round((sample ?? 0) / 20) * 20)).toEqual([200, 40, 40])
  })

  test('that ends in the middle of its data is broken', async () => {
    const whole = jpeg(64, 64)
    const cut = joined([whole.subarray(0, whole.length / 2), Uint8Array.of(0xff, 0xd9)])
    expect(await decode(cut)).toMatchObject({ kind: 'broken' })
  })

  test('with a size that its data does not fill is broken', async () => {
    const bytes = jpeg(64, 64)
    const frame = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0)
    new DataView(bytes.buffer).setUint16(frame + 5, 640)
    expect(await decode(bytes)).toMatchObject({ kind: 'broken' })
  })

  test('of a size that no such short file can have is broken, and a large one is not decoded', async () => {
    const sized = (padding: number) => {
      const bytes = joined([jpeg(64, 64), new Uint8Array(padding)])
      const frame = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0)
      new DataView(bytes.buffer).setUint16(frame + 5, 3_000)
      new DataView(bytes.buffer).setUint16(frame + 7, 3_000)
      return bytes
    }
    expect(await decode(sized(0))).toMatchObject({ kind: 'broken' })
    expect(await decode(sized(100_000))).toEqual({ kind: 'structure' })
  })

  test('with more passes than any encoder makes is broken', async () => {
    const bytes = jpeg(16, 16)
    const scan = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xda)
    const pass = bytes.subarray(scan, -2)
    const many = joined([bytes.subarray(0, scan), ...Array.from({ length: 65 }, () => pass), bytes.subarray(-2)])
    expect(await decode(many)).toMatchObject({ kind: 'broken' })
  })

  test('of a kind that the decoder does not know is judged by its structure', async () => {
    const bytes = jpeg(16, 16)
    const frame = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0)
    bytes[frame + 1] = 0xc9 // arithmetic coding
    expect(await decode(bytes)).toEqual({ kind: 'structure' })
  })
})

describe('a WebP', () => {
  test.each([
    ['lossless', 1],
    ['lossy', 0],
  ] as const)('that is %s is decoded to its pixels', async (_name, lossless) => {
    const paint: Paint = (x) => (x < 32 ? [200, 40, 40, 255] : [40, 40, 200, 255])
    const { width, height, channels, data } = await pixelsOf(await webp(64, 48, paint, { lossless }))
    expect([width, height, channels]).toEqual([64, 48, 4])
    expect([data[0], data[1], data[2], data[3]].map((sample) => Math.round((sample ?? 0) / 40) * 40)).toEqual([
      200, 40, 40, 240,
    ])
  })

  test('with transparency keeps it', async () => {
    const pixels = await pixelsOf(await webp(32, 32, flat(200, 0, 0, 0)))
    expect(isBlank(pixels)).toBe(true)
    expect(pixels.data[3]).toBe(0)
  })

  test('whose picture is cut, though its length is right, is broken', async () => {
    const whole = await webp(64, 64)
    const cut = whole.slice(0, Math.floor(whole.length / 4) * 2)
    const view = new DataView(cut.buffer)
    view.setUint32(4, cut.length - 8, true)
    view.setUint32(16, cut.length - 20, true)
    expect(await decode(cut)).toMatchObject({ kind: 'broken' })
  })

  test('that hides a larger picture behind its header is broken', async () => {
    const inner = await webp(64, 64, scene, { lossless: 1 })
    const canvas = Uint8Array.of(...new TextEncoder().encode('VP8X'), 10, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 7, 0, 0)
    const bytes = joined([inner.subarray(0, 12), canvas, inner.subarray(12)])
    new DataView(bytes.buffer).setUint32(4, bytes.length - 8, true)
    expect(await decode(bytes)).toMatchObject({ kind: 'broken' })
  })
})

/** 24 × 16 pixels, made by hand. */
const GIF = Uint8Array.of(
  ...new TextEncoder().encode('GIF89a'),
  ...[1, 0, 1, 0, 0x80, 0, 0, 0, 0, 0, 255, 255, 255],
  ...[0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3b],
)

describe('a GIF', () => {
  test('is judged by its structure', async () => {
    expect(await decode(GIF)).toEqual({ kind: 'structure' })
    expect(await decode(joined([GIF.subarray(0, 24), GIF.subarray(-1)]))).toMatchObject({ kind: 'broken' })
  })
})

describe('hostile bytes', () => {
  const samples = async () => [png(40, 30), png(40, 30, { interlaced: true }), jpeg(40, 30), await webp(40, 30), GIF]

  /** A header of its own, so that a damaged file gets as far as the decoders. */
  const survives = async (bytes: Uint8Array, like: Uint8Array) => {
    const header = readImageHeader(like)
    if (!header) throw new Error('no header')
    const decoded = await decodeImage(bytes, header)
    expect(['pixels', 'structure', 'broken']).toContain(decoded.kind)
    if (decoded.kind !== 'pixels') return
    const { width, height, channels, data } = decoded.pixels
    expect(data.length).toBe(width * height * channels)
    expect(width * height).toBeLessThanOrEqual(LIMITS.checkedPixels)
  }

  test('cut at any place never throw, and are never taken for a whole picture', async () => {
    for (const whole of await samples()) {
      const header = readImageHeader(whole)
      for (let length = 30; length < whole.length; length += 1 + Math.floor(whole.length / 150)) {
        const cut = whole.slice(0, length)
        await survives(cut, whole)
        if (header) expect(await decodeImage(cut, header)).toMatchObject({ kind: 'broken' })
      }
    }
  })

  test('damaged at any place never throw', async () => {
    const wholes = await samples()
    await fc.assert(
      fc.asyncProperty(
        fc.nat(wholes.length - 1),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        async (which, changes) => {
          const whole = wholes[which] ?? GIF
          const damaged = whole.slice()
          for (const [at, byte] of changes) damaged[at % damaged.length] = byte
          await survives(damaged, whole)
          if (readImageHeader(damaged)) await survives(damaged, damaged)
        },
      ),
      { numRuns: 400 },
    )
  })

  test('that are random behind a right beginning never throw', async () => {
    const wholes = await samples()
    await fc.assert(
      fc.asyncProperty(fc.nat(wholes.length - 1), fc.uint8Array({ maxLength: 2_000 }), async (which, noise) => {
        const whole = wholes[which] ?? GIF
        await survives(joined([whole.subarray(0, 40), noise, whole.subarray(-12)]), whole)
      }),
      { numRuns: 300 },
    )
  })
})
