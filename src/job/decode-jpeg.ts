import { decode } from 'jpeg-js'
import { readJpegStructure } from '../core/jpeg-structure.ts'
import { LIMITS } from '../limits.ts'
import type { Decoded } from './decoded.ts'

/** By the library's own count, in MB of 2^20 bytes: five bytes a sample, and six a pixel. */
const MEMORY_MB = Math.ceil((LIMITS.checkedJpegSamples * 6 + LIMITS.checkedPixels * 8) / 2 ** 20)

/**
 * The segments are walked before, since the library looks for a next marker wherever bytes are damaged, and lets a file ask
 * for any number of passes.
 */
export const decodeJpeg = (bytes: Uint8Array, isLarge: boolean): Decoded => {
  const structure = readJpegStructure(bytes)
  if (!structure) return { kind: 'broken', message: 'its segments are not whole' }
  if (structure.scans > LIMITS.checkedScans) return { kind: 'broken', message: 'it has too many passes' }
  // Each block of 64 samples takes a bit at least.
  if (structure.samples > bytes.length * 8 * 64)
    return { kind: 'broken', message: 'its data is too short for its size' }
  // Arithmetic coding, 12 bits, lossless, CMYK: pictures all the same, which the library does not know.
  if (!structure.isCommon || structure.samples > LIMITS.checkedJpegSamples || isLarge) return { kind: 'structure' }
  const { width, height, data } = decode(bytes, {
    useTArray: true,
    formatAsRGBA: false,
    maxMemoryUsageInMB: MEMORY_MB,
  })
  return { kind: 'pixels', pixels: { width, height, channels: 3, data } }
}
