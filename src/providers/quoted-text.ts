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
  const line = plainly(text.replace(/https?:\/\/\S+/gi, '(a link)')).slice(0, QUOTED_CHARACTERS)
  const readings = readingsOf(line)
  const echoes = privateTexts.some(
    (secret) => secret !== undefined && readings.some((reading) => shares(reading, plainly(secret))),
  )
  return line === '' || echoes ? null : line
}

/** In one line, without the characters that do not show: an echo may have them or not. */
const plainly = (text: string): string =>
  text
    .replace(/\s+/gu, ' ')
    .replace(/\p{C}+/gu, '')
    .trim()

/** JSON in JSON is escaped twice; deeper is nobody's error. */
const ESCAPES_MAX = 3
const ESCAPED = /\\(?:u([0-9a-f]{4})|x([0-9a-f]{2})|(.))/gi

/** The line, and what it says where it quotes something in the escapes of JSON or of a language like it. */
const readingsOf = (line: string): string[] => {
  const readings = [line]
  for (let last = line; readings.length <= ESCAPES_MAX && last.includes('\\'); readings.push(last)) {
    last = plainly(
      last.replace(ESCAPED, (_all, unit?: string, byte?: string, letter?: string) =>
        letter === undefined
          ? String.fromCharCode(Number.parseInt(unit ?? byte ?? '0', 16))
          : /[nrt]/.test(letter)
            ? ' '
            : letter,
      ),
    )
  }
  return readings
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
