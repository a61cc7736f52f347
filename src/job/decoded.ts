import type { Pixels } from '../core/blank.ts'

/**
 * What became of decoding. `structure`: the file is whole as far as its parts tell, but it was not decoded, since there is no
 * decoder for its kind here or it is too large for the memory of an actor. `broken` says why, in words that go on from
 * "Image 1 was not stored: ".
 */
export type Decoded = { kind: 'pixels'; pixels: Pixels } | { kind: 'structure' } | { kind: 'broken'; message: string }
