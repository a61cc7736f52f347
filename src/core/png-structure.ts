/** The chunks of a PNG (W3C PNG 3rd edition, sections 5 and 11), walked without decoding. */

type Range = { start: number; end: number }

export type PngStructure = {
  /** Bits a sample. */
  depth: number
  isGrey: boolean
  isIndexed: boolean
  isInterlaced: boolean
  /** Bytes of the scanlines once they are inflated, filter bytes included: no more and no less makes a picture. */
  rawBytes: number
  /** The whole chunks that pixels are made from, with length, name and checksum: IHDR, PLTE, tRNS, IDAT and IEND. */
  pixelChunks: Range[]
  /** What stands in the IDAT chunks: together one zlib stream. */
  data: Range[]
}

const PIXEL_CHUNKS = ['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND']

/** Null where the chunks do not lead from a header through data to an end that is the file's. */
export const readPngStructure = (bytes: Uint8Array): PngStructure | null => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const pixelChunks: Range[] = []
  const data: Range[] = []
  let previous = ''
  let hasPalette = false
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at)
    const end = at + 12 + length
    if (end > bytes.length) return null
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8))
    if ((previous === '') !== (name === 'IHDR')) return null
    if (PIXEL_CHUNKS.includes(name)) pixelChunks.push({ start: at, end })
    if (name === 'PLTE') hasPalette = true
    if (name === 'IDAT') {
      // The chunks of the data stand together.
      if (data.length > 0 && previous !== 'IDAT') return null
      data.push({ start: at + 8, end: end - 4 })
    }
    if (name === 'IEND') {
      const header = end === bytes.length && data.length > 0 ? readHeader(view) : null
      return header && (hasPalette || !header.isIndexed) ? { ...header, pixelChunks, data } : null
    }
    previous = name
    at = end
  }
  return null
}

/** By colour type: the samples of a pixel and the depths that are allowed. */
const COLOURS: Record<number, { samples: number; depths: number[] }> = {
  0: { samples: 1, depths: [1, 2, 4, 8, 16] },
  2: { samples: 3, depths: [8, 16] },
  3: { samples: 1, depths: [1, 2, 4, 8] },
  4: { samples: 2, depths: [8, 16] },
  6: { samples: 4, depths: [8, 16] },
}

const readHeader = (view: DataView): Omit<PngStructure, 'pixelChunks' | 'data'> | null => {
  if (view.getUint32(8) !== 13) return null
  const width = view.getUint32(16)
  const height = view.getUint32(20)
  const depth = view.getUint8(24)
  const colour = COLOURS[view.getUint8(25)]
  const interlace = view.getUint8(28)
  if (!colour?.depths.includes(depth) || view.getUint8(26) !== 0 || view.getUint8(27) !== 0 || interlace > 1)
    return null
  const bitsPerPixel = colour.samples * depth
  const isInterlaced = interlace === 1
  return {
    depth,
    isGrey: view.getUint8(25) === 0,
    isIndexed: view.getUint8(25) === 3,
    isInterlaced,
    rawBytes: isInterlaced ? interlacedBytes(width, height, bitsPerPixel) : scanlines(width, height, bitsPerPixel),
  }
}

/** A filter byte stands before each line; an image without pixels has no lines. */
const scanlines = (width: number, height: number, bitsPerPixel: number): number =>
  width === 0 ? 0 : height * (1 + Math.ceil((width * bitsPerPixel) / 8))

/** Adam7: x and y of each pass's first pixel, and the steps between its pixels. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const

const interlacedBytes = (width: number, height: number, bitsPerPixel: number): number =>
  PASSES.reduce((sum, [x, y, across, down]) => {
    const columns = Math.max(0, Math.ceil((width - x) / across))
    const rows = Math.max(0, Math.ceil((height - y) / down))
    return sum + scanlines(columns, rows, bitsPerPixel)
  }, 0)
