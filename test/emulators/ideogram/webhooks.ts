import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { BlockList, isIP } from 'node:net'

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

const deliveryTimeoutMs = 10_000

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
  return new Promise((resolve) => {
    const send = delivery.url.startsWith('https:') ? requestHttps : requestHttp
    // No agent: a kept-alive connection would outlive the emulator.
    const options = {
      method: 'POST',
      headers,
      agent: false,
      timeout: deliveryTimeoutMs,
      signal: delivery.signal,
    } as const
    const request = send(delivery.url, options, (response) => {
      const status = response.statusCode ?? 0
      response.resume()
      response.once('close', () => resolve(status >= 200 && status < 300))
    })
    request.once('timeout', () => request.destroy())
    request.once('error', () => resolve(false))
    request.end(body)
  })
}

/** Why the provider would refuse this webhook URL, or undefined. */
export function problemWithWebhookUrl(text: string, allowLoopback: boolean): string | undefined {
  if (!URL.canParse(text)) return 'webhook_url is not a URL'
  const url = new URL(text)
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase()
  if (allowLoopback && /^https?:$/.test(url.protocol) && isLoopback(host)) return undefined
  if (url.protocol !== 'https:') return 'webhook_url must use https'
  const family = isIP(host)
  const named = host === 'localhost' || /\.(localhost|local|internal)$/.test(host)
  const blocked = family !== 0 && privateAddresses.check(host, family === 6 ? 'ipv6' : 'ipv4')
  return named || blocked ? 'webhook_url must be a public host' : undefined
}

function newKey(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const { kty = '', crv = '', x = '' } = publicKey.export({ format: 'jwk' })
  return { id: randomUUID(), privateKey, publicJwk: { kty, crv, x } }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

const privateAddresses = new BlockList()
for (const [address, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['224.0.0.0', 3],
] as const) {
  privateAddresses.addSubnet(address, prefix, 'ipv4')
}
for (const [address, prefix] of [
  ['::', 127],
  ['fc00::', 7],
  ['fe80::', 10],
] as const) {
  privateAddresses.addSubnet(address, prefix, 'ipv6')
}
