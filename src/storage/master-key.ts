import { fromBase64 } from './digest.ts'

/** 32 bytes. Never used directly: each purpose derives a key of its own from it. */
export type MasterKey = Uint8Array

const KEY_BYTES = 32

/**
 * Reads the Worker secret `MASTER_KEY`: base64 of 32 bytes, or several of them separated by commas. The first seals and
 * signs, all open and verify, so a new key is put in front and the old one stays until nothing needs it. A message never
 * repeats what was read.
 */
export const parseMasterKeys = (
  text: string | undefined,
): { ok: true; keys: [MasterKey, ...MasterKey[]] } | { ok: false; message: string } => {
  if (!text?.trim()) return { ok: false, message: 'MASTER_KEY is missing: set it to the base64 of 32 random bytes' }
  const keys: MasterKey[] = []
  for (const [i, part] of text.split(',').entries()) {
    const key = fromBase64(part.trim())
    if (key?.length !== KEY_BYTES) {
      return { ok: false, message: `MASTER_KEY is malformed: key number ${i + 1} is not the base64 of 32 bytes` }
    }
    keys.push(key)
  }
  const [first, ...others] = keys
  return first ? { ok: true, keys: [first, ...others] } : { ok: false, message: 'MASTER_KEY holds no key' }
}

/** The keys, for code that runs after a Worker has checked its configuration: throws where they are unusable. */
export const masterKeysOf = (text: string): [MasterKey, ...MasterKey[]] => {
  const parsed = parseMasterKeys(text)
  if (!parsed.ok) throw new Error(parsed.message)
  return parsed.keys
}

/** 32 bytes for one purpose: HKDF-SHA-256 (RFC 5869) without salt, which a uniformly random master key does not need. */
export const deriveKeyBytes = async (master: MasterKey, purpose: string): Promise<Uint8Array> => {
  const base = await crypto.subtle.importKey('raw', master, 'HKDF', false, ['deriveBits'])
  const parameters = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info: new TextEncoder().encode(purpose) }
  return new Uint8Array(await crypto.subtle.deriveBits(parameters, base, 256))
}
