/**
 * Whether a file of a format without a decoder here is whole, told by walking its parts: WebP (RFC 9649), GIF (GIF89a) and
 * AVIF (ISO/IEC 14496-12). Bytes within a part may still be damaged.
 */

/** `width` and `height` of the bitstream inside, which a hostile file may give other than its header; null where animated. */
export type WebpStructure = { isAnimated: boolean; inner: { width: number; height: number } | null }

export const readWebpStructure = (bytes: Uint8Array): WebpStructure | null => {
  const view = viewOf(bytes)
  if (bytes.length < 20) return null
  const end = view.getUint32(4, true) + 8
  if (end > bytes.length) return null
  let isAnimated = false
  let frames = 0
  let inner: WebpStructure['inner'] = null
  for (let at = 12; at < end; ) {
    if (at + 8 > end) return null
    const name = nameAt(bytes, at)
    const size = view.getUint32(at + 4, true)
    if (at + 8 + size > end) return null
    if (name === 'VP8X') isAnimated = size >= 10 && (view.getUint8(at + 8) & 2) !== 0
    if (name === 'ANMF') frames += 1
    if (name === 'VP8 ' || name === 'VP8L') {
      inner ??= bitstreamSize(view, name, at + 8, size)
      if (!inner) return null
    }
    // Chunks are padded to an even length; the last one's padding may be left out.
    at += 8 + size + (size % 2)
  }
  if (isAnimated) return frames > 0 ? { isAnimated, inner: null } : null
  return inner ? { isAnimated, inner } : null
}

const bitstreamSize = (view: DataView, name: string, at: number, size: number): WebpStructure['inner'] => {
  if (size < (name === 'VP8 ' ? 10 : 5)) return null
  if (name === 'VP8 ')
    return { width: view.getUint16(at + 6, true) & 0x3fff, height: view.getUint16(at + 8, true) & 0x3fff }
  const bits = view.getUint32(at + 1, true)
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 }
}

/** Blocks up to the trailer, with one picture at least. */
export const isWholeGif = (bytes: Uint8Array): boolean => {
  if (bytes.length < 14) return false
  let at = 13 + tableBytes(bytes[10] ?? 0)
  let pictures = 0
  while (at < bytes.length) {
    const kind = bytes[at]
    if (kind === 0x3b) return pictures > 0
    if (kind === 0x21) at += 2
    else if (kind === 0x2c) {
      pictures += 1
      // Descriptor, its own colour table, and the smallest code's size.
      at += 10 + tableBytes(bytes[at + 9] ?? 0) + 1
    } else return false
    while (at < bytes.length && bytes[at] !== 0) at += 1 + (bytes[at] ?? 0)
    at += 1
  }
  return false
}

const tableBytes = (flags: number): number => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0)

/** Boxes that fill the file exactly, with a description and data among them. */
export const isWholeAvif = (bytes: Uint8Array): boolean => {
  const view = viewOf(bytes)
  const names: string[] = []
  for (let at = 0; at < bytes.length; ) {
    if (at + 8 > bytes.length) return false
    let size = view.getUint32(at)
    if (size === 0) size = bytes.length - at // reaches to the end of the file
    if (size === 1) size = at + 16 > bytes.length ? 0 : view.getUint32(at + 8) * 2 ** 32 + view.getUint32(at + 12)
    if (size < 8 || at + size > bytes.length) return false
    names.push(nameAt(bytes, at + 4))
    at += size
  }
  return names.includes('meta') && names.includes('mdat')
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const nameAt = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4))
