import createDecoder from '@jsquash/webp/codec/dec/webp_dec.js'
import compiled from '@jsquash/webp/codec/dec/webp_dec.wasm'
import { readWebpStructure } from '../core/image-structure.ts'
import type { Decoded } from './decoded.ts'

type Decoder = {
  decode(bytes: BufferSource): { width: number; height: number; data: Uint8ClampedArray } | null
}

/**
 * The module was compiled with the Worker. Each picture gets an instance of its own, a millisecond's work: the memory of a
 * WebAssembly instance grows and never shrinks, and one that has trapped is not to be trusted.
 */
export const decodeWebp = async (
  bytes: Uint8Array,
  header: { width: number; height: number },
  isLarge: boolean,
): Promise<Decoded> => {
  const structure = readWebpStructure(bytes)
  if (!structure) return { kind: 'broken', message: 'its chunks are not whole' }
  if (structure.isAnimated || !structure.inner) return { kind: 'structure' }
  if (structure.inner.width !== header.width || structure.inner.height !== header.height) {
    return { kind: 'broken', message: 'its size is another inside' }
  }
  if (isLarge) return { kind: 'structure' }
  const decoder: Decoder = await createDecoder({
    noInitialRun: true,
    instantiateWasm: (imports: WebAssembly.Imports, use: (instance: WebAssembly.Instance) => void) => {
      const instance = new WebAssembly.Instance(compiled, imports)
      use(instance)
      return instance.exports
    },
    print: () => undefined,
    printErr: () => undefined,
  })
  const picture = decoder.decode(bytes as BufferSource)
  if (!picture) return { kind: 'broken', message: 'its data cannot be decoded' }
  const { width, height, data } = picture
  return { kind: 'pixels', pixels: { width, height, channels: 4, data } }
}
