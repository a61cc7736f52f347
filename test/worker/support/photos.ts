import { crc32, deflateSync } from 'node:zlib'
import encodeWebp from '@jsquash/webp/codec/enc/webp_enc.js'
import webpEncoder from '@jsquash/webp/codec/enc/webp_enc.wasm'
import { defaultOptions } from '@jsquash/webp/meta.js'
import { encode as encodeJpeg } from 'jpeg-js'

/** Real pictures, encoded here, of pixels that a function gives. */

/** Red, green, blue and alpha, 0 to 255. */
export type Paint = (x: number, y: number) => readonly [number, number, number, number]

export const scene: Paint = (x, y) => [(x * 7 + y * 3) & 255, (x * x + y) & 255, (y * 5) & 255, 255]
export const flat =
  (red: number, green: number, blue: number, alpha = 255): Paint =>
  () => [red, green, blue, alpha]

export const rgba = (width: number, height: number, paint: Paint): Uint8ClampedArray => {
  const data = new Uint8ClampedArray(width * height * 4)
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) data.set(paint(x, y), (y * width + x) * 4)
  return data
}

export const jpeg = (width: number, height: number, paint: Paint = scene, quality = 80): Uint8Array =>
  Uint8Array.from(encodeJpeg({ width, height, data: new Uint8Array(rgba(width, height, paint)) }, quality).data)

type Encoder = { encode(data: Uint8ClampedArray, width: number, height: number, options: object): Uint8Array | null }

export const webp = async (
  width: number,
  height: number,
  paint: Paint = scene,
  options: { lossless?: 0 | 1 } = {},
): Promise<Uint8Array> => {
  const encoder: Encoder = await encodeWebp({
    noInitialRun: true,
    instantiateWasm: (imports: WebAssembly.Imports, use: (instance: WebAssembly.Instance) => void) => {
      const instance = new WebAssembly.Instance(webpEncoder, imports)
      use(instance)
      return instance.exports
    },
  })
  const made = encoder.encode(rgba(width, height, paint), width, height, { ...defaultOptions, ...options })
  if (!made) throw new Error('not encoded')
  return new Uint8Array(made)
}

export type PngOptions = {
  paint?: Paint
  colour?: 'grey' | 'rgb' | 'indexed' | 'grey+alpha' | 'rgba'
  depth?: 1 | 2 | 4 | 8 | 16
  interlaced?: boolean
  /** The header says another size than is drawn. */
  said?: { width: number; height: number }
  /** Stands in place of the compressed scanlines. */
  data?: Uint8Array
  /** Chunks before the data. */
  extra?: { name: string; data: Uint8Array }[]
  /** Bytes of each IDAT chunk. */
  split?: number
}

const COLOURS = { grey: 0, rgb: 2, indexed: 3, 'grey+alpha': 4, rgba: 6 }

/** The indexed ones have a palette of greys. */
export const png = (width: number, height: number, options: PngOptions = {}): Uint8Array => {
  const { paint = scene, colour = 'rgb', depth = 8, interlaced = false, extra = [] } = options
  const header = new Uint8Array(13)
  const view = new DataView(header.buffer)
  view.setUint32(0, options.said?.width ?? width)
  view.setUint32(4, options.said?.height ?? height)
  header.set([depth, COLOURS[colour], 0, 0, interlaced ? 1 : 0], 8)
  const palette = Uint8Array.from({ length: 3 * 2 ** depth }, (_, i) => (Math.floor(i / 3) * 255) / (2 ** depth - 1))
  const data = options.data ?? deflateSync(scanlines(width, height, paint, colour, depth, interlaced))
  const split = options.split ?? data.length
  const pieces = Array.from({ length: Math.ceil(data.length / split) }, (_, i) =>
    data.subarray(i * split, (i + 1) * split),
  )
  return joined([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk('IHDR', header),
    ...(colour === 'indexed' ? [chunk('PLTE', palette)] : []),
    ...extra.map(({ name, data: inside }) => chunk(name, inside)),
    ...pieces.map((piece) => chunk('IDAT', piece)),
    chunk('IEND', new Uint8Array(0)),
  ])
}

export const chunk = (name: string, data: Uint8Array): Uint8Array => {
  const framed = new Uint8Array(data.length + 12)
  const view = new DataView(framed.buffer)
  view.setUint32(0, data.length)
  framed.set(new TextEncoder().encode(name), 4)
  framed.set(data, 8)
  view.setUint32(data.length + 8, crc32(framed.subarray(4, data.length + 8)))
  return framed
}

const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const

const scanlines = (
  width: number,
  height: number,
  paint: Paint,
  colour: keyof typeof COLOURS,
  depth: number,
  interlaced: boolean,
): Uint8Array => {
  const lines: number[][] = []
  for (const [x0, y0, across, down] of interlaced ? ADAM7 : ([[0, 0, 1, 1]] as const)) {
    for (let y = y0; y < height && x0 < width; y += down) {
      const samples: number[] = []
      for (let x = x0; x < width; x += across) samples.push(...samplesOf(paint(x, y), colour))
      lines.push([0, ...packed(samples, depth)])
    }
  }
  return Uint8Array.from(lines.flat())
}

const samplesOf = ([r, g, b, a]: readonly number[], colour: keyof typeof COLOURS): number[] => {
  if (colour === 'grey' || colour === 'indexed') return [r ?? 0]
  if (colour === 'grey+alpha') return [r ?? 0, a ?? 0]
  return colour === 'rgb' ? [r ?? 0, g ?? 0, b ?? 0] : [r ?? 0, g ?? 0, b ?? 0, a ?? 0]
}

const packed = (samples: number[], depth: number): number[] => {
  if (depth === 8) return samples
  if (depth === 16) return samples.flatMap((sample) => [sample, sample])
  const perByte = 8 / depth
  return Array.from({ length: Math.ceil(samples.length / perByte) }, (_, i) =>
    samples
      .slice(i * perByte, (i + 1) * perByte)
      .reduce((byte, sample, j) => byte | ((sample >> (8 - depth)) << (8 - depth * (j + 1))), 0),
  )
}

export const joined = (parts: Uint8Array[]): Uint8Array => {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
