import * as v from 'valibot'
import { readAnswer } from './answers.ts'
import type { Http } from './http.ts'

/** Replicate's webhooks: Standard Webhooks 1.0.0, the body being the prediction as `GET /predictions/{id}` gives it. */

/** The specification leaves the tolerance to the receiver; its reference libraries take five minutes either way. */
const TOLERANCE_MS = 5 * 60 * 1000
/** A sender that rotates its secret signs with a few; more is no sender of ours. */
const SIGNATURES_MAX = 16

/**
 * Whether Replicate sent this, lately. `secret` is the account's, `whsec_` and base64, from
 * `GET /webhooks/default/secret`; `rawBody` is the body as it came. A delivery may be repeated with the same
 * `webhook-id`: that verifies again, so the receiver must take it twice without harm. Never throws.
 */
export const verifyReplicateWebhook = async (
  headers: Headers,
  rawBody: string,
  secret: string,
  nowMs: number,
): Promise<boolean> => {
  const id = headers.get('webhook-id')
  const timestamp = headers.get('webhook-timestamp') ?? ''
  const signatures = (headers.get('webhook-signature') ?? '').split(' ').slice(0, SIGNATURES_MAX)
  if (!id || !/^\d{1,12}$/.test(timestamp)) return false
  if (Math.abs(nowMs - Number(timestamp) * 1000) > TOLERANCE_MS) return false
  const raw = bytesOf(secret.replace(/^whsec_/, ''))
  if (!raw || raw.length === 0) return false
  const key = await crypto.subtle.importKey('raw', raw, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify'])
  const signed = new TextEncoder().encode(`${id}.${timestamp}.${rawBody}`)
  for (const signature of signatures) {
    const bytes = signature.startsWith('v1,') ? bytesOf(signature.slice('v1,'.length)) : null
    // WebCrypto compares in constant time.
    if (bytes && (await crypto.subtle.verify('HMAC', key, bytes, signed))) return true
  }
  return false
}

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> | null => {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
  } catch {
    return null
  }
}

const Secret = v.looseObject({ key: v.pipe(v.string(), v.startsWith('whsec_'), v.maxLength(512)) })

/** The secret that signs an account's deliveries, from `GET /webhooks/default/secret`; null where it cannot be had now. */
export const replicateWebhookSecret = async (
  account: { baseUrl: string; secret: string },
  http: Http,
): Promise<string | null> => {
  const url = `${account.baseUrl.replace(/\/+$/, '')}/webhooks/default/secret`
  const result = await http.send({ method: 'GET', url, headers: { authorization: `Bearer ${account.secret}` } })
  if (result.kind !== 'answered' || result.status !== 200) return null
  return readAnswer(Secret, result.body)?.key ?? null
}
