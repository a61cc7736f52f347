import { LIMITS } from '../limits.ts'
import { toHex } from './digest.ts'
import { deriveKeyBytes, masterKeysOf } from './master-key.ts'

/**
 * Links to artifacts that work without an API key, until they expire: HMAC-SHA-256 over instance, artifact and expiry,
 * with a key derived from the master key.
 */

/** `exp` in unix seconds, `sig` in lower-case hex: the query of an artifact's URL. */
export type ArtifactSignature = { exp: number; sig: string }

/**
 * The expiry is rounded up to a whole period, so that all calls within one period (`LIMITS.artifactUrlMs`) give the same
 * URL and caches can keep what it points to; a link lives one to two periods. Throws if `masterKeys` is unusable.
 */
export const signArtifact = async (
  masterKeys: string,
  instance: string,
  artifact: string,
  nowMs: number,
): Promise<ArtifactSignature> => {
  const period = LIMITS.artifactUrlMs
  const exp = ((Math.floor(nowMs / period) + 2) * period) / 1000
  const [key] = await signingKeys(masterKeys)
  const mac = await crypto.subtle.sign('HMAC', key, signedText(instance, artifact, exp))
  return { exp, sig: toHex(new Uint8Array(mac)) }
}

/** `/v1/instances/{instance}/artifacts/{artifact}?exp=…&sig=…`, to be put behind the Worker's origin. */
export const signArtifactPath = async (
  masterKeys: string,
  instance: string,
  artifact: string,
  nowMs: number,
): Promise<string> => {
  const { exp, sig } = await signArtifact(masterKeys, instance, artifact, nowMs)
  return `/v1/instances/${instance}/artifacts/${artifact}?exp=${exp}&sig=${sig}`
}

/**
 * Whether the query of an artifact's URL is one of ours and not expired. `exp` and `sig` are as they came, null where
 * absent. Links signed with an older master key still verify. Compares in constant time.
 */
export const verifyArtifactSignature = async (
  masterKeys: string,
  instance: string,
  artifact: string,
  query: { exp: string | null; sig: string | null },
  nowMs: number,
): Promise<boolean> => {
  if (!query.exp || !query.sig || !/^\d{1,12}$/.test(query.exp) || !/^[0-9a-f]{64}$/.test(query.sig)) return false
  const exp = Number(query.exp)
  if (exp * 1000 <= nowMs) return false
  const mac = Uint8Array.from(query.sig.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
  for (const key of await signingKeys(masterKeys)) {
    if (await crypto.subtle.verify('HMAC', key, mac, signedText(instance, artifact, exp))) return true
  }
  return false
}

/** Lines cannot run into each other: neither id holds a line feed. */
const signedText = (instance: string, artifact: string, exp: number): Uint8Array =>
  new TextEncoder().encode(`${instance}\n${artifact}\n${exp}`)

/**
 * Derived keys, kept per isolate: keys are no I/O objects, so requests may share them. Only finished keys are kept, since
 * workerd does not let a request await a promise that belongs to another. One entry: the secret of a Worker is one value.
 */
let cached: { masterKeys: string; keys: [CryptoKey, ...CryptoKey[]] } | null = null

const signingKeys = async (masterKeys: string): Promise<[CryptoKey, ...CryptoKey[]]> => {
  if (cached?.masterKeys === masterKeys) return cached.keys
  const [first, ...others] = masterKeysOf(masterKeys)
  const keys: [CryptoKey, ...CryptoKey[]] = [await signingKey(first), ...(await Promise.all(others.map(signingKey)))]
  cached = { masterKeys, keys }
  return keys
}

const signingKey = async (master: Uint8Array): Promise<CryptoKey> =>
  crypto.subtle.importKey(
    'raw',
    await deriveKeyBytes(master, 'switchyard artifact url v1'),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign', 'verify'],
  )
