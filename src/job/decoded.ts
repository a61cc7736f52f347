import type { Pixels } from '../core/blank.ts'
import { LIMITS } from '../limits.ts'

/**
 * What became of decoding. `structure`: the file is whole, but there is no decoder for it here. `broken` and `too_large`
 * say why in words that go on from "Image 1 was not stored: ".
 */
export type Decoded =
  | { kind: 'pixels'; pixels: Pixels }
  | { kind: 'structure' }
  | { kind: 'broken' | 'too_large'; message: string }

export const tooLarge = (): Decoded => ({
  kind: 'too_large',
  message: `it is larger than the ${LIMITS.checkedPixels} pixels that are checked`,
})
