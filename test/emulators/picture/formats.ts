import { readFile } from 'node:fs/promises'
import encodeWebp from '@jsquash/webp/codec/enc/webp_enc.js'
import { defaultOptions } from '@jsquash/webp/meta.js'
import { decode } from 'fast-png'
import { encode as encodeJpeg } from 'jpeg-js'

/** The same picture in another format, for providers that give more than PNG. */
export async function convertPicture(png: Buffer, format: 'jpeg' | 'webp'): Promise<Buffer> {
  const { width, height, channels, data } = decode(png)
  const rgba = new Uint8ClampedArray(width * height * 4).fill(255)
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    for (let channel = 0; channel < channels; channel += 1) {
      rgba[pixel * 4 + channel] = data[pixel * channels + channel] ?? 0
    }
  }
  if (format === 'jpeg') return Buffer.from(encodeJpeg({ width, height, data: new Uint8Array(rgba) }, 85).data)
  const encoder: Encoder = await encodeWebp({
    noInitialRun: true,
    wasmBinary: await readFile(new URL(import.meta.resolve('@jsquash/webp/codec/enc/webp_enc.wasm'))),
  })
  const made = encoder.encode(rgba, width, height, defaultOptions)
  if (!made) throw new Error('the picture was not encoded')
  return Buffer.from(made)
}

type Encoder = { encode(data: Uint8ClampedArray, width: number, height: number, options: object): Uint8Array | null }
