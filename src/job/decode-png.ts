import { inflateSync } from 'node:zlib'
import { convertIndexedToRgb, type DecodedPng, decode } from 'fast-png'
import type { Pixels } from '../core/blank.ts'
import { type PngStructure, readPngStructure } from '../core/png-structure.ts'
import { LIMITS } from '../limits.ts'
import type { Decoded } from './decoded.ts'

/**
 * The library inflates whatever it is given, so the data is inflated once before by the runtime, which stops at the length
 * that the header allows; and it is given nothing but the chunks that pixels are made from, since a colour profile is
 * compressed too and would be inflated without a bound.
 */
export const decodePng = (bytes: Uint8Array, isLarge: boolean): Decoded => {
  const structure = readPngStructure(bytes)
  if (!structure) return { kind: 'broken', message: 'its chunks are not whole' }
  // Deflate (RFC 1951) makes 258 bytes of two bits at best: no stream this short holds the picture.
  if (structure.rawBytes > bytes.length * INFLATION_MAX) return DOES_NOT_INFLATE
  if (structure.rawBytes > LIMITS.checkedPngBytes || isLarge) return { kind: 'structure' }
  if (!inflatesTo(structure, bytes)) return DOES_NOT_INFLATE
  // Interlaced lines of less than a byte a sample are a gap of the library.
  if (structure.isInterlaced && structure.depth < 8) return { kind: 'structure' }
  const picture = decode(pixelChunks(structure, bytes), { checkCrc: true })
  return { kind: 'pixels', pixels: toPixels(structure, picture) }
}

const INFLATION_MAX = 1032
/** The runtime holds its buffer against the bound, not what is in it (workerd of November 2026: up to 64 KiB more). */
const BUFFER_BYTES = 1024 * 1024
const DOES_NOT_INFLATE: Decoded = { kind: 'broken', message: 'its data does not inflate to its size' }

const inflatesTo = ({ data, rawBytes }: PngStructure, bytes: Uint8Array): boolean => {
  const [first] = data
  const parts = data.map(({ start, end }) => bytes.subarray(start, end))
  const compressed = data.length === 1 && first ? bytes.subarray(first.start, first.end) : concatenated(parts)
  return inflateSync(compressed, { maxOutputLength: rawBytes + BUFFER_BYTES }).length === rawBytes
}

const SIGNATURE_BYTES = 8

const pixelChunks = (structure: PngStructure, bytes: Uint8Array): Uint8Array =>
  concatenated([
    bytes.subarray(0, SIGNATURE_BYTES),
    ...structure.pixelChunks.map(({ start, end }) => bytes.subarray(start, end)),
  ])

const concatenated = (parts: Uint8Array[]): Uint8Array => {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

const toPixels = ({ isIndexed, isGrey, depth }: PngStructure, picture: DecodedPng): Pixels => {
  const { width, height, channels } = picture
  if (isIndexed) {
    const data = convertIndexedToRgb(picture)
    return { width, height, channels: data.length === width * height * 4 ? 4 : 3, data }
  }
  const data = isGrey && depth < 8 ? unpacked(picture) : eightBits(picture.data)
  return { width, height, channels: channels as Pixels['channels'], data }
}

const eightBits = (data: DecodedPng['data']): Uint8Array =>
  data instanceof Uint16Array ? Uint8Array.from(data, (sample) => sample >> 8) : Uint8Array.from(data)

/** Several grey samples a byte, each line from a byte of its own. */
const unpacked = ({ data, width, height, depth }: DecodedPng): Uint8Array => {
  const grey = new Uint8Array(width * height)
  const lineBytes = Math.ceil((width * depth) / 8)
  const most = 2 ** depth - 1
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const bit = x * depth
      const byte = data[y * lineBytes + (bit >> 3)] ?? 0
      grey[y * width + x] = (((byte >> (8 - depth - (bit & 7))) & most) * 255) / most
    }
  }
  return grey
}
