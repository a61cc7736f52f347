import type { Pixels } from '../core/blank.ts'
import type { ImageHeader } from '../core/image-header.ts'
import { isWholeAvif, isWholeGif } from '../core/image-structure.ts'
import { LIMITS } from '../limits.ts'
import { decodeJpeg } from './decode-jpeg.ts'
import { decodePng } from './decode-png.ts'
import { decodeWebp } from './decode-webp.ts'
import type { Decoded } from './decoded.ts'

/** Decodes one picture within the bounds of `LIMITS`. Never throws, whatever the bytes are. */
export const decodeImage = async (bytes: Uint8Array, header: ImageHeader): Promise<Decoded> => {
  // What the header rules out is not decoded, whatever it is: a bomb never gets to a decoder.
  const isLarge = header.width * header.height > LIMITS.checkedPixels || bytes.length > LIMITS.checkedBytes
  try {
    const decoded = await decodeAs(bytes, header, isLarge)
    if (decoded.kind !== 'pixels' || isAsAnnounced(decoded.pixels, header)) return decoded
    return { kind: 'broken', message: 'its pixels are not of its size' }
  } catch {
    // The libraries throw on bytes they cannot make sense of; their words may quote the file.
    return { kind: 'broken', message: 'its data cannot be decoded' }
  }
}

const decodeAs = async (bytes: Uint8Array, header: ImageHeader, isLarge: boolean): Promise<Decoded> => {
  switch (header.contentType) {
    case 'image/png':
      return decodePng(bytes, isLarge)
    case 'image/jpeg':
      return decodeJpeg(bytes, isLarge)
    case 'image/webp':
      return decodeWebp(bytes, header, isLarge)
    case 'image/gif':
      return isWholeGif(bytes) ? { kind: 'structure' } : { kind: 'broken', message: 'its blocks are not whole' }
    case 'image/avif':
      return isWholeAvif(bytes) ? { kind: 'structure' } : { kind: 'broken', message: 'its boxes are not whole' }
  }
}

const isAsAnnounced = ({ width, height, channels, data }: Pixels, header: ImageHeader): boolean =>
  width === header.width && height === header.height && data.length === width * height * channels
