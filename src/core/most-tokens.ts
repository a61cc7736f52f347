import { LIMITS } from '../limits.ts'
import { sampled, tokensOf } from './tokens.ts'

/**
 * Tokens that a text comes to at most, whoever counts: for holds, which must not lie below the cost. The estimate with room
 * for what it is off by and for tokenizers that cut finer; a token each for digits, which some cut one by one; and for
 * scripts that the estimate knows nothing of a token a byte, which no tokenizer exceeds. Texts made to be cut badly, such as
 * long words of random letters, may still come to more; long texts are measured by samples here too.
 */
export const mostTokensOf = (text: string): number => sampled(text, mostOf)

const mostOf = (text: string): number => {
  let more = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code < 0x80) {
      if (code >= 48 && code <= 57) more += DIGIT_MORE
    } else if (isStrange(code)) more += code < 0x800 || isHalf(code) ? 2 : 3
  }
  return Math.min(bytesOf(text), Math.ceil(LIMITS.promptTokensMargin * tokensOf(text) + more))
}

/** Beside the third that a digit counts, with its margin. */
const DIGIT_MORE = 0.5

/** Characters of which the estimate knows nothing, and of which some are several tokens. */
const isStrange = (code: number): boolean => !KNOWN.some(([from, to]) => code >= from && code < to)

/** Latin with Vietnamese, Greek to Arabic, scripts of India, Thai, Burmese, Georgian, signs, kana, ideographs, Hangul. */
const KNOWN: readonly (readonly [number, number])[] = [
  [0x80, 0x250],
  [0x370, 0x700],
  [0x900, 0xe80],
  [0x1000, 0x1100],
  [0x1e00, 0x1f00],
  [0x2000, 0x2070],
  [0x3000, 0x3100],
  [0x4e00, 0xa000],
  [0xac00, 0xd7b0],
  [0xff00, 0xfff0],
]

const isHalf = (code: number): boolean => code >= 0xd800 && code < 0xe000

/** In UTF-8; a half of a pair is two of its four. */
export const bytesOf = (text: string): number => {
  let bytes = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    bytes += code < 0x80 ? 1 : code < 0x800 || isHalf(code) ? 2 : 3
  }
  return bytes
}
