import type { CONTENT_TYPES } from '../contract/image.ts'
import { LIMITS } from '../limits.ts'

/**
 * What a picture is, read from its first bytes: never from what a provider says it is. All reads are bounds-checked, so
 * hostile bytes give null. Formats: PNG (W3C PNG 3rd edition), JPEG (ITU-T T.81, annex B), WebP (RFC 9649),
 * GIF (GIF89a), AVIF (ISO/IEC 14496-12 and 23008-12).
 */

export type ImageContentType = (typeof CONTENT_TYPES)[number]

/** Width and height in pixels as stored; an EXIF orientation or AVIF rotation is not applied. */
export type ImageHeader = { contentType: ImageContentType; width: number; height: number }

type Size = { width: number; height: number }

/**
 * `head` is the file from its first byte, as much of it as there is. Null: not one of the five formats, damaged, a side
 * of 0 or above `LIMITS.imageSideMax`, or a header that ends beyond `head` (see `looksLikeImage`).
 */
export const readImageHeader = (head: Uint8Array): ImageHeader | null => {
  const contentType = looksLikeImage(head)
  if (!contentType) return null
  const size = SIZE_READERS[contentType](viewOf(head))
  if (!size || !isSide(size.width) || !isSide(size.height)) return null
  return { contentType, ...size }
}

/**
 * The format that the first bytes announce, or null. A file that looks like an image but has no readable header yet may
 * only need more bytes: JPEG and AVIF put metadata of any length before the size.
 */
export const looksLikeImage = (head: Uint8Array): ImageContentType | null => {
  if (hasBytes(head, 0, PNG_SIGNATURE)) return 'image/png'
  if (hasBytes(head, 0, [0xff, 0xd8, 0xff])) return 'image/jpeg'
  if (hasText(head, 0, 'GIF87a') || hasText(head, 0, 'GIF89a')) return 'image/gif'
  if (hasText(head, 0, 'RIFF') && hasText(head, 8, 'WEBP')) return 'image/webp'
  if (hasText(head, 4, 'ftyp') && hasAvifBrand(viewOf(head))) return 'image/avif'
  return null
}

/** Bytes of a file's end that `looksComplete` wants to see: room for the padding that some JPEG encoders leave. */
export const TAIL_BYTES = 4096

/**
 * Whether a picture ends as its format says, so that one cut short on its way is told from a whole one.
 * `tail` is the file's last `TAIL_BYTES` (all of it where it is shorter), `head` its first bytes. An AVIF has no end
 * mark and counts as complete.
 */
export const looksComplete = (
  contentType: ImageContentType,
  tail: Uint8Array,
  totalBytes: number,
  head: Uint8Array,
): boolean => {
  if (contentType === 'image/png') return hasBytes(tail, tail.length - PNG_END.length, PNG_END)
  if (contentType === 'image/gif') return tail.at(-1) === 0x3b
  if (contentType === 'image/jpeg') {
    let end = tail.length
    while (end > 0 && tail[end - 1] === 0) end -= 1
    return hasBytes(tail, end - 2, [0xff, 0xd9])
  }
  if (contentType === 'image/webp') {
    // RFC 9649: the size counts what follows its own eight bytes.
    return head.length >= 12 && totalBytes >= viewOf(head).getUint32(4, true) + 8
  }
  return true
}

const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
/** The whole IEND chunk: no data, so its length, name and checksum are constant. */
const PNG_END = [0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82]

const isSide = (pixels: number): boolean => pixels >= 1 && pixels <= LIMITS.imageSideMax

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const hasBytes = (bytes: Uint8Array, at: number, wanted: readonly number[]): boolean =>
  at >= 0 && wanted.every((byte, i) => bytes[at + i] === byte)

const hasText = (bytes: Uint8Array, at: number, text: string): boolean =>
  hasBytes(
    bytes,
    at,
    [...text].map((character) => character.charCodeAt(0)),
  )

/** Four characters of a chunk or box name; callers have checked that they are there. */
const nameAt = (view: DataView, at: number): string =>
  String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3))

const pngSize = (view: DataView): Size | null => {
  if (view.byteLength < 24 || view.getUint32(8) !== 13 || nameAt(view, 12) !== 'IHDR') return null
  return { width: view.getUint32(16), height: view.getUint32(20) }
}

const gifSize = (view: DataView): Size | null =>
  view.byteLength < 10 ? null : { width: view.getUint16(6, true), height: view.getUint16(8, true) }

/** Walks the segments up to the frame header, SOF0…SOF15 without DHT (C4), JPG (C8) and DAC (CC). */
const jpegSize = (view: DataView): Size | null => {
  let at = 2
  while (at + 4 <= view.byteLength) {
    if (view.getUint8(at) !== 0xff) return null
    const marker = view.getUint8(at + 1)
    if (marker === 0xff) {
      at += 1 // a fill byte before the marker
      continue
    }
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) {
      at += 2 // stands alone, has no length
      continue
    }
    // Before SOF there can be no scan, no second start and no end.
    if (marker === 0xda || marker === 0xd8 || marker === 0xd9 || marker === 0) return null
    const length = view.getUint16(at + 2)
    if (length < 2) return null
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      if (length < 8 || at + 9 > view.byteLength) return null
      return { height: view.getUint16(at + 5), width: view.getUint16(at + 7) }
    }
    at += 2 + length
  }
  return null
}

const webpSize = (view: DataView): Size | null => {
  if (view.byteLength < 30) return null
  const chunk = nameAt(view, 12)
  if (chunk === 'VP8 ') {
    const isKeyFrame = (view.getUint8(20) & 1) === 0
    const hasStartCode = view.getUint8(23) === 0x9d && view.getUint8(24) === 0x01 && view.getUint8(25) === 0x2a
    if (!isKeyFrame || !hasStartCode) return null
    return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff }
  }
  if (chunk === 'VP8L') {
    if (view.getUint8(20) !== 0x2f) return null
    const bits = view.getUint32(21, true)
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 }
  }
  if (chunk !== 'VP8X') return null
  const canvas = (at: number): number => view.getUint16(at, true) + view.getUint8(at + 2) * 65_536 + 1
  return { width: canvas(24), height: canvas(27) }
}

type Box = { name: string; start: number; end: number }

/**
 * The boxes between two offsets; `start` is where a box's content begins. The last one may end beyond the bytes at
 * hand: its end is clipped. Every step goes forward by eight bytes at least, so the walk ends.
 */
const boxes = (view: DataView, from: number, to: number): Box[] => {
  const found: Box[] = []
  const limit = Math.min(to, view.byteLength)
  for (let at = from; at + 8 <= limit; ) {
    let size = view.getUint32(at)
    let header = 8
    if (size === 1) {
      if (at + 16 > limit) break
      size = view.getUint32(at + 8) * 2 ** 32 + view.getUint32(at + 12)
      header = 16
    } else if (size === 0) {
      size = limit - at // reaches to the end of the file
    }
    if (size < header) break
    found.push({ name: nameAt(view, at + 4), start: at + header, end: Math.min(at + size, limit) })
    at += size
  }
  return found
}

const hasAvifBrand = (view: DataView): boolean => {
  const [first] = boxes(view, 0, view.byteLength)
  if (first?.name !== 'ftyp') return false
  for (let at = first.start; at + 4 <= first.end; at += 4) {
    if (at === first.start + 4) continue // the minor version stands between the major and the compatible brands
    const brand = nameAt(view, at)
    if (brand === 'avif' || brand === 'avis') return true
  }
  return false
}

/**
 * meta → iprp → ipco → ispe. A file may hold several pictures (tiles, a thumbnail, the alpha plane), each with its
 * `ispe`; the largest is the whole one.
 */
const avifSize = (view: DataView): Size | null => {
  const inside = (parents: Box[], name: string, skip: number): Box[] =>
    parents.filter((box) => box.name === name).flatMap((box) => boxes(view, box.start + skip, box.end))
  const metaChildren = inside(boxes(view, 0, view.byteLength), 'meta', 4)
  const properties = inside(inside(metaChildren, 'iprp', 0), 'ipco', 0)
  let largest: Size | null = null
  for (const box of properties) {
    if (box.name !== 'ispe' || box.end - box.start < 12) continue
    const size = { width: view.getUint32(box.start + 4), height: view.getUint32(box.start + 8) }
    if (!largest || size.width * size.height > largest.width * largest.height) largest = size
  }
  return largest
}

const SIZE_READERS: Record<ImageContentType, (view: DataView) => Size | null> = {
  'image/png': pngSize,
  'image/jpeg': jpegSize,
  'image/webp': webpSize,
  'image/gif': gifSize,
  'image/avif': avifSize,
}
