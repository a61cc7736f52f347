import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto'
import { postWebhook } from '../base/jobs/webhooks.ts'

interface SigningKey {
  id: string
  privateKey: KeyObject
  publicJwk: { kty: string; crv: string; x: string }
}

export interface KeyRing {
  current(): SigningKey
  /** The public key set, newest first: the signing key and the one before it. */
  jwks(): { keys: { kty: string; crv: string; kid: string; x: string }[] }
  rotate(): void
}

export interface Delivery {
  url: string
  generationId: string
  userId: string
  timestampSeconds: number
  body: string
  badSignature: boolean
  signal: AbortSignal
}

export function createKeyRing(): KeyRing {
  let keys = [newKey()]
  return {
    current: () => keys[0] as SigningKey,
    jwks: () => ({ keys: keys.map(({ id, publicJwk }) => ({ ...publicJwk, kid: id })) }),
    rotate() {
      keys = [newKey(), ...keys].slice(0, 2)
    },
  }
}

/** Sends one webhook. Resolves to whether the receiver answered 2xx; there are no retries, none being documented. */
export function deliverWebhook(delivery: Delivery, key: SigningKey): Promise<boolean> {
  const { generationId, userId, timestampSeconds, body } = delivery
  const digest = createHash('sha256').update(body).digest('hex')
  const signed = `${generationId}\n${userId}\n${timestampSeconds}\n${digest}${delivery.badSignature ? '!' : ''}`
  const headers = {
    'Content-Type': 'application/json',
    'Content-Length': String(Buffer.byteLength(body)),
    'X-Ideogram-Webhook-Generation-Id': generationId,
    'X-Ideogram-Webhook-User-Id': userId,
    'X-Ideogram-Webhook-Timestamp': String(timestampSeconds),
    'X-Ideogram-Webhook-Key-Id': key.id,
    'X-Ideogram-Webhook-Signature': sign(null, Buffer.from(signed), key.privateKey).toString('hex'),
  }
  return postWebhook(delivery.url, headers, body, delivery.signal)
}

function newKey(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const { kty = '', crv = '', x = '' } = publicKey.export({ format: 'jwk' })
  return { id: randomUUID(), privateKey, publicJwk: { kty, crv, x } }
}
