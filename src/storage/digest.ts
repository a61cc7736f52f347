/** Digests, comparison and randomness. Works in workerd and in plain Node. */

const UTF8 = new TextEncoder()

/** SHA-256 of bytes, or of a text's UTF-8, as 64 lower-case hex characters. */
export const sha256Hex = async (data: string | Uint8Array): Promise<string> => {
  const bytes = typeof data === 'string' ? UTF8.encode(data) : data
  return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
}

/**
 * Whether two digests are equal, in a time that does not tell where they differ. Their lengths are no secret: different
 * ones answer false at once.
 */
export const equalConstantTime = (a: string, b: string): boolean => {
  const left = UTF8.encode(a)
  const right = UTF8.encode(b)
  if (left.length !== right.length) return false
  if ('timingSafeEqual' in crypto.subtle) return crypto.subtle.timingSafeEqual(left, right)
  // Plain Node has it elsewhere.
  let difference = 0
  for (const [i, byte] of left.entries()) difference |= byte ^ (right[i] ?? 0)
  return difference === 0
}

export const randomBytes = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count))

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

export const toHex = (bytes: Uint8Array): string => {
  let text = ''
  for (const byte of bytes) text += HEX[byte]
  return text
}

/** Standard base64 with padding (RFC 4648, section 4). In steps, since a call takes so many arguments only. */
export const toBase64 = (bytes: Uint8Array): string => {
  let text = ''
  for (let at = 0; at < bytes.length; at += 8_192) text += String.fromCharCode(...bytes.subarray(at, at + 8_192))
  return btoa(text)
}

/** Null where the text is not base64. */
export const fromBase64 = (text: string): Uint8Array | null => {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null
  try {
    const raw = atob(text)
    const bytes = new Uint8Array(raw.length)
    // `Uint8Array.from` holds a list of all characters first: twenty times a picture's memory.
    for (let at = 0; at < raw.length; at += 1) bytes[at] = raw.charCodeAt(at)
    return bytes
  } catch {
    return null // right alphabet, wrong length
  }
}
