import { fromBase64, randomBytes, sha256Hex, toBase64 } from '../storage/digest.ts'
import { deriveKeyBytes, type MasterKey, masterKeysOf } from '../storage/master-key.ts'

export { parseMasterKeys } from '../storage/master-key.ts'

/**
 * Provider secrets at rest: AES-256-GCM (NIST SP 800-38D) with a key derived from the master key. The record's identity,
 * such as `instance:prod:provider:ideogram:credential:main`, is authenticated with it, so a ciphertext that is moved to
 * another record does not open there.
 */

/** `keyId` is 16 hex characters; `iv` (96 bits, random) and `ciphertext` (with its tag) are base64. */
export type Sealed = { keyId: string; iv: string; ciphertext: string }

export type Vault = {
  seal(plain: string, identity: string): Promise<Sealed>
  /** Ids of the keys that can open; the one that seals is the first. */
  keyIds(): Promise<ReadonlySet<string>>
  /** Null where the key is unknown, the text was tampered with, or it was sealed under another identity. */
  open(sealed: Sealed, identity: string): Promise<string | null>
}

/**
 * `masterKeys` is the Worker secret `MASTER_KEY`: the first key seals, all open. Throws where it is unusable; check it
 * with `parseMasterKeys` first to answer that as a value.
 */
export const createVault = (masterKeys: string): Vault => {
  const masters = masterKeysOf(masterKeys)
  const opened = new Map<string, string>()
  let ready: [VaultKey, ...VaultKey[]] | null = null

  // Kept when finished, not as a promise: workerd does not let a request await another request's promise.
  const keys = async (): Promise<[VaultKey, ...VaultKey[]]> => {
    const [first, ...others] = masters
    ready ??= [await vaultKey(first), ...(await Promise.all(others.map(vaultKey)))]
    return ready
  }

  return {
    async keyIds() {
      return new Set((await keys()).map(({ id }) => id))
    },

    async seal(plain, identity) {
      const [{ id, key }] = await keys()
      // Random 96-bit nonces are good for 2^32 secrets under one key (SP 800-38D, 8.3).
      const iv = randomBytes(12)
      const ciphertext = await crypto.subtle.encrypt(parameters(iv, identity), key, new TextEncoder().encode(plain))
      return { keyId: id, iv: toBase64(iv), ciphertext: toBase64(new Uint8Array(ciphertext)) }
    },

    async open(sealed, identity) {
      const name = `${sealed.keyId} ${identity} ${sealed.iv} ${sealed.ciphertext}`
      const before = opened.get(name)
      if (before !== undefined) return before
      const plain = await decrypt(await keys(), sealed, identity)
      if (plain === null) return null
      if (opened.size >= OPENED_MAX) opened.clear()
      opened.set(name, plain)
      return plain
    },
  }
}

/** Secrets opened by one process: a call opens the same few again and again. In memory they are in clear during a call anyway. */
const OPENED_MAX = 32

const decrypt = async (keys: readonly VaultKey[], sealed: Sealed, identity: string): Promise<string | null> => {
  const key = keys.find((candidate) => candidate.id === sealed.keyId)
  const iv = fromBase64(sealed.iv)
  const ciphertext = fromBase64(sealed.ciphertext)
  if (!key || iv?.length !== 12 || !ciphertext) return null
  try {
    const plain = await crypto.subtle.decrypt(parameters(iv, identity), key.key, ciphertext)
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(plain)
  } catch {
    return null
  }
}

/** The last four characters, to tell secrets apart; null below twelve, where four would give too much away. */
export const hintOf = (secret: string): string | null => (secret.length < 12 ? null : secret.slice(-4))

type VaultKey = { id: string; key: CryptoKey }

const vaultKey = async (master: MasterKey): Promise<VaultKey> => {
  const label = new TextEncoder().encode('switchyard master key id v1\n')
  const labelled = new Uint8Array(label.length + master.length)
  labelled.set(label)
  labelled.set(master, label.length)
  const bytes = await deriveKeyBytes(master, 'switchyard vault v1')
  const key = await crypto.subtle.importKey('raw', bytes, 'AES-GCM', false, ['encrypt', 'decrypt'])
  return { id: (await sha256Hex(labelled)).slice(0, 16), key }
}

const parameters = (iv: Uint8Array, identity: string) => ({
  name: 'AES-GCM',
  iv,
  additionalData: new TextEncoder().encode(identity),
  tagLength: 128,
})
