import { crc32, deflateSync } from 'node:zlib'

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const filterSub = 1

/** Encodes 8-bit RGBA pixels as a PNG; `opaque` drops the alpha channel. */
export function encodePng(pixels: Uint8ClampedArray, width: number, height: number, opaque: boolean): Buffer {
  const channels = opaque ? 3 : 4
  const stride = width * channels + 1
  const raw = new Uint8Array(stride * height)
  for (let y = 0; y < height; y += 1) {
    let target = y * stride
    raw[target++] = filterSub
    let source = y * width * 4
    let red = 0
    let green = 0
    let blue = 0
    let alpha = 0
    for (let x = 0; x < width; x += 1) {
      const nextRed = pixels[source] as number
      const nextGreen = pixels[source + 1] as number
      const nextBlue = pixels[source + 2] as number
      raw[target++] = nextRed - red
      raw[target++] = nextGreen - green
      raw[target++] = nextBlue - blue
      if (!opaque) {
        const nextAlpha = pixels[source + 3] as number
        raw[target++] = nextAlpha - alpha
        alpha = nextAlpha
      }
      red = nextRed
      green = nextGreen
      blue = nextBlue
      source += 4
    }
  }
  // Level 2 is several times faster than the default here and the sub filter has already done most of the work.
  return assemble(header(width, height, 8, opaque ? 2 : 6), [chunk('IDAT', deflateSync(raw, { level: 2 }))])
}

/** A one-colour PNG with a one-bit palette: a few hundred bytes and under a millisecond at 1024x1024. */
export function encodeFlatPng(
  colour: readonly [number, number, number],
  width: number,
  height: number,
  transparent: boolean,
): Buffer {
  const raw = new Uint8Array((Math.ceil(width / 8) + 1) * height)
  const chunks = [chunk('PLTE', Buffer.from(colour))]
  if (transparent) chunks.push(chunk('tRNS', Buffer.from([128])))
  chunks.push(chunk('IDAT', deflateSync(raw, { level: 1 })))
  return assemble(header(width, height, 1, 3), chunks)
}

function assemble(head: Buffer, chunks: Buffer[]): Buffer {
  return Buffer.concat([signature, head, ...chunks, chunk('IEND', Buffer.alloc(0))])
}

function header(width: number, height: number, bitDepth: number, colourType: number): Buffer {
  const data = Buffer.alloc(13)
  data.writeUInt32BE(width, 0)
  data.writeUInt32BE(height, 4)
  data[8] = bitDepth
  data[9] = colourType
  return chunk('IHDR', data)
}

function chunk(type: string, data: Buffer): Buffer {
  const framed = Buffer.alloc(data.length + 12)
  framed.writeUInt32BE(data.length, 0)
  framed.write(type, 4, 'latin1')
  data.copy(framed, 8)
  framed.writeUInt32BE(crc32(framed.subarray(4, data.length + 8)), data.length + 8)
  return framed
}
