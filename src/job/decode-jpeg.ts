import { decode } from 'jpeg-js'
import { readJpegStructure } from '../core/jpeg-structure.ts'
import { LIMITS } from '../limits.ts'
import { type Decoded, tooLarge } from './decoded.ts'

/** The library's own measure of its memory, in MB of 2^20 bytes: four bytes a sample, and the pixels. */
const MEMORY_MB = Math.ceil((LIMITS.checkedSamples * 6) / 2 ** 20)

/**
 * The segments are walked before, since the library looks for a next marker wherever bytes are damaged, and lets a file ask
 * for any number of passes.
 */
export const decodeJpeg = (bytes: Uint8Array): Decoded => {
  const structure = readJpegStructure(bytes)
  if (!structure) return { kind: 'broken', message: 'its segments are not whole' }
  if (structure.samples > LIMITS.checkedSamples || structure.scans > LIMITS.checkedScans) return tooLarge()
  // Arithmetic coding, 12 bits, lossless, CMYK: pictures all the same, which the library does not know.
  if (!structure.isCommon) return { kind: 'structure' }
  const { width, height, data } = decode(bytes, {
    useTArray: true,
    formatAsRGBA: false,
    maxMemoryUsageInMB: MEMORY_MB,
  })
  return { kind: 'pixels', pixels: { width, height, channels: 3, data } }
}
