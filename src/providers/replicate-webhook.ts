import type { Json } from '../contract/fields.ts'
import { readAnswer } from './ideogram-answers.ts'
import type { Call, Outcome } from './provider.ts'
import { Prediction } from './replicate-answers.ts'
import { outcomeOf, readCheckpoint } from './replicate-outcomes.ts'

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

/** Which prediction a verified body speaks of, and whether it has ended; null where it is no prediction. */
export const readReplicateWebhook = (rawBody: string): { predictionId: string; ended: boolean } | null => {
  const prediction = readAnswer(Prediction, rawBody)
  if (!prediction) return null
  return { predictionId: prediction.id, ended: !['starting', 'processing'].includes(prediction.status) }
}

/**
 * What a verified body means for the attempt that waits at this checkpoint, as a poll would have answered, or null where
 * it speaks of another prediction or cannot be read.
 */
export const replicateWebhookOutcome = (call: Call, checkpoint: Json, rawBody: string): Outcome | null => {
  const at = readCheckpoint(checkpoint)
  const prediction = readAnswer(Prediction, rawBody)
  return at && prediction && prediction.id === at.prediction_id ? outcomeOf(call, at, prediction) : null
}
