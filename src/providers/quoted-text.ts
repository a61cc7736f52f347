/** Longest piece of a provider's own words that goes into a fault. */
const QUOTED_CHARACTERS = 200
/** A run this long in common with a private text is an echo of it, not chance. */
const ECHO_CHARACTERS = 12
const HALF = ECHO_CHARACTERS / 2

/**
 * What a provider says of an error, fit for logs and for other eyes: one line, bounded, without URLs, and null where it
 * echoes any of the private texts (prompt, secret), whole or in part.
 */
export const quotedText = (text: string, privateTexts: (string | undefined)[]): string | null => {
  const plain = text
    .replace(/https?:\/\/\S+/gi, '(a link)')
    .replace(/\p{C}+|\s+/gu, ' ')
    .trim()
  const line = plain.slice(0, QUOTED_CHARACTERS)
  const echoes = privateTexts.some((secret) => secret !== undefined && shares(line, secret.replace(/\s+/g, ' ').trim()))
  return line === '' || echoes ? null : line
}

const shares = (line: string, secret: string): boolean => {
  const within = line.toLowerCase()
  const sought = secret.toLowerCase()
  if (sought.length <= ECHO_CHARACTERS) return sought !== '' && within.includes(sought)
  const holds = (from: number, length: number) => sought.includes(within.slice(from, from + length))
  // A run holds a whole half at one of these places: a prompt of megabytes is searched for few of them.
  for (let at = 0; at + HALF <= within.length; at += HALF) {
    if (!holds(at, HALF)) continue
    const last = Math.min(at, within.length - ECHO_CHARACTERS)
    for (let from = Math.max(0, at - HALF); from <= last; from += 1) if (holds(from, ECHO_CHARACTERS)) return true
  }
  return false
}
