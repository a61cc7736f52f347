import { LIMITS } from '../limits.ts'

/**
 * How many tokens a text is, without the tables of a tokenizer (docs/decisions/0025): it is cut as o200k cuts it (words at a
 * change of case, numbers in threes, runs of signs and of white space), and each piece counts what its like are in the
 * mean. How near that comes stands in test/unit/core/tokens.test.ts. Costs some nanoseconds a character.
 */
export const tokensOf = (text: string): number => {
  let tokens = 0
  let kind: Kind = NOTHING
  let length = 0
  let accents = 0
  let before: Kind = NOTHING
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    const next = code < 128 ? (ASCII[code] ?? SIGN) : kindOf(code)
    const isWord = next === LOWER || next === UPPER || next === ACCENTED
    // A capital goes on with its word, a capital after small letters begins the next.
    const goesOn = next === kind || (isWord && (kind === LOWER || (kind === UPPER && next !== UPPER)) && next !== UPPER)
    if (!goesOn) {
      // The end of a line goes with the signs before it.
      if (kind !== NEWLINE || before !== SIGN) tokens += weigh(kind, length, accents, next)
      before = kind
      length = 0
      accents = 0
    }
    kind = next === ACCENTED ? LOWER : next
    if (next === ACCENTED) accents += code < 0x100 ? 0.5 : 0.9
    length += 1
  }
  return Math.ceil(tokens + weigh(kind, length, accents, NOTHING))
}

/** Quicker for long texts, by pieces from all over: how much is to be held for a call need not be exact. */
export const roughTokensOf = (text: string): number => sampled(text, tokensOf)

/** What a measure of a text comes to that grows as the text does. */
export const sampled = (text: string, measure: (text: string) => number): number => {
  const most = LIMITS.estimateCharacters
  if (text.length <= most) return measure(text)
  const step = Math.floor(text.length / SAMPLES)
  const taken = Math.floor(most / SAMPLES)
  let tokens = 0
  for (let at = 0; at < SAMPLES; at += 1) tokens += measure(text.slice(at * step, at * step + taken))
  return Math.ceil((tokens * text.length) / (SAMPLES * taken))
}

const SAMPLES = 8

type Kind = number
const NOTHING = 0
const SPACE = 1
const NEWLINE = 2
const LOWER = 3
const UPPER = 4
const DIGIT = 5
const SIGN = 6
/** A letter of the Latin script beyond ASCII. */
const ACCENTED = 7
/** Cyrillic and its like, cut into words. */
const ALPHABET = 8
/** Scripts whose characters are tokens, or nearly. */
const IDEOGRAPH = 9
const HANGUL = 10
const INDIC = 11
/** Greek, Hebrew, Arabic: words of more tokens. */
const RARER = 13
const THAI = 14
/** Half of a pair: emoji and rare characters. */
const PAIR = 12

const ASCII: readonly Kind[] = Array.from({ length: 128 }, (_, code) => {
  if (code === 10 || code === 13) return NEWLINE
  if (code === 32 || code === 9) return SPACE
  if (code >= 48 && code <= 57) return DIGIT
  if (code >= 65 && code <= 90) return UPPER
  return code >= 97 && code <= 122 ? LOWER : SIGN
})

const kindOf = (code: number): Kind => {
  if (code < 0xc0) return SIGN
  if (code < 0x250) return ACCENTED
  if (code < 0x400) return RARER
  if (code < 0x530) return ALPHABET
  if (code < 0x900) return RARER
  if (code < 0xe00) return INDIC
  if (code < 0x1100) return THAI
  if (code < 0x2000) return ALPHABET
  if (code < 0x3040) return code >= 0x3000 || code >= 0x2e80 ? IDEOGRAPH : SIGN
  if (code < 0xac00) return IDEOGRAPH
  if (code < 0xd7b0) return HANGUL
  if (code < 0xe000) return PAIR
  return IDEOGRAPH
}

/** Tokens of one run; `next` is what follows it. */
const weigh = (kind: Kind, length: number, accents: number, next: Kind): number => {
  switch (kind) {
    case LOWER:
    case UPPER:
      return 1 + 0.05 * Math.max(0, length - 5) + 0.15 * Math.max(0, length - 10) + accents
    case DIGIT:
      return Math.ceil(length / 3)
    case SIGN:
      return length <= 3 ? 1 : length / 2
    case SPACE:
      // One goes with the word behind it, all with the line's end, but numbers stand alone.
      return next === NEWLINE || (length === 1 && next !== DIGIT) ? 0 : 1
    case NEWLINE:
      return 1
    case ALPHABET:
      return 0.6 + 0.19 * length
    case RARER:
      return 0.6 + 0.31 * length
    case IDEOGRAPH:
      return 0.82 * length
    case HANGUL:
      return 0.74 * length
    case INDIC:
      return 0.35 * length
    case THAI:
      return 0.48 * length
    case PAIR:
      return 0.8 * length
    default:
      return 0
  }
}
