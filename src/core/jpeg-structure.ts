/** The marker segments of a JPEG (ITU-T T.81, annex B), walked without decoding. */

export type JpegStructure = {
  /** Baseline, extended or progressive, 8 bits, grey or three components: what the decoder knows. */
  isCommon: boolean
  /** Samples that a decoder holds, padded to whole blocks, over all components. */
  samples: number
  /** Passes over the picture: a hostile file may ask for thousands. */
  scans: number
}

/** Null where the segments do not lead from a frame through a scan to an end. What follows the end is not looked at. */
export const readJpegStructure = (bytes: Uint8Array): JpegStructure | null => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let frame: { isCommon: boolean; samples: number } | null = null
  let scans = 0
  for (let at = 2; at + 2 <= bytes.length; ) {
    if (bytes[at] !== 0xff) return null
    const marker = bytes[at + 1] ?? 0
    if (marker === 0xff) {
      at += 1 // a fill byte before the marker
      continue
    }
    if (marker === 0xd9) return frame && scans > 0 ? { ...frame, scans } : null
    if (marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd8)) return null
    const end = at + 4 <= bytes.length ? at + 2 + view.getUint16(at + 2) : 0
    if (end < at + 4 || end > bytes.length) return null
    if (isFrame(marker)) {
      if (frame) return null
      frame = readFrame(view, at + 4, end, marker)
      if (!frame) return null
    }
    at = end
    if (marker === 0xda) {
      if (!frame) return null
      scans += 1
      at = endOfScan(bytes, end)
    }
  }
  return null
}

/** SOF0…SOF15 without DHT (C4), JPG (C8) and DAC (CC). */
const isFrame = (marker: number): boolean =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc

/** Behind the entropy-coded data: the next marker that is no restart. */
const endOfScan = (bytes: Uint8Array, from: number): number => {
  let at = bytes.indexOf(0xff, from)
  while (at !== -1 && at + 1 < bytes.length) {
    const next = bytes[at + 1] ?? 0
    if (next !== 0 && !(next >= 0xd0 && next <= 0xd7)) return at
    at = bytes.indexOf(0xff, at + 2)
  }
  return bytes.length
}

const readFrame = (
  view: DataView,
  at: number,
  end: number,
  marker: number,
): { isCommon: boolean; samples: number } | null => {
  if (end < at + 6) return null
  const height = view.getUint16(at + 1)
  const width = view.getUint16(at + 3)
  const components = view.getUint8(at + 5)
  if (components < 1 || components > 4 || end < at + 6 + components * 3) return null
  const factors = Array.from({ length: components }, (_, i) => view.getUint8(at + 7 + i * 3)).map((both) => ({
    across: both >> 4,
    down: both & 15,
  }))
  // T.81, B.2.2: one to four.
  if (factors.some(({ across, down }) => across < 1 || across > 4 || down < 1 || down > 4)) return null
  const unitsAcross = Math.ceil(width / 8 / Math.max(...factors.map(({ across }) => across)))
  const unitsDown = Math.ceil(height / 8 / Math.max(...factors.map(({ down }) => down)))
  const blocks = factors.reduce((sum, { across, down }) => sum + unitsAcross * across * unitsDown * down, 0)
  const isCommon = marker <= 0xc2 && view.getUint8(at) === 8 && (components === 1 || components === 3)
  return { isCommon, samples: blocks * 64 }
}
