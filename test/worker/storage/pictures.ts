/** Pictures made by hand: right at both ends, noise between. Nothing decodes them. */

const text = (characters: string): number[] => [...characters].map((character) => character.charCodeAt(0))
const u32 = (n: number): number[] => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]

/** A PNG of exactly `bytes` bytes (57 at least). */
export const pngOf = (bytes: number, width = 640, height = 480): Uint8Array => {
  const start = [
    0x89,
    ...text('PNG'),
    13,
    10,
    26,
    10,
    ...u32(13),
    ...text('IHDR'),
    ...u32(width),
    ...u32(height),
    8,
    6,
    0,
    0,
    0,
  ]
  const end = [...u32(0), ...text('IEND'), 0xae, 0x42, 0x60, 0x82]
  const file = new Uint8Array(bytes)
  for (let i = 0; i < bytes; i += 1) file[i] = (i * 31 + (i >> 8)) & 255
  file.set(start)
  file.set(end, bytes - end.length)
  return file
}

/** A JPEG with `metadata` bytes before its frame, as a C2PA manifest puts there. */
export const jpegOf = (metadata: number, width = 640, height = 480): Uint8Array => {
  const parts: number[] = [0xff, 0xd8]
  for (let left = metadata; left > 0; left -= 60_000) {
    const size = Math.min(left, 60_000) + 2
    parts.push(0xff, 0xeb, size >> 8, size & 255)
    for (let i = 2; i < size; i += 1) parts.push(7)
  }
  parts.push(0xff, 0xc0, 0, 17, 8, height >> 8, height & 255, width >> 8, width & 255, 3)
  for (let i = 0; i < 500; i += 1) parts.push(i & 127)
  return Uint8Array.from([...parts, 0xff, 0xd9])
}

/** A body in pieces of `pieceBytes` that ends, or errors, behind the last of `bytes`. `taken` counts what was read. */
export const bodyOf = (bytes: Uint8Array, pieceBytes = 16_384, end: 'close' | 'error' = 'close') => {
  const seen = { taken: 0, canceled: false }
  let at = 0
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (at < bytes.length) {
          controller.enqueue(bytes.slice(at, at + pieceBytes))
          at += pieceBytes
          seen.taken = Math.min(at, bytes.length)
        } else if (end === 'close') {
          controller.close()
        } else {
          controller.error(new Error('connection lost'))
        }
      },
      cancel() {
        seen.canceled = true
      },
    },
    { highWaterMark: 0 },
  )
  return { body, seen }
}
