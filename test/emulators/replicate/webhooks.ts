import { createHmac, randomBytes } from 'node:crypto'
import { deliver, postWebhook } from '../base/jobs/webhooks.ts'
import { predictionBody } from './answers.ts'
import type { Prediction } from './ledger.ts'
import type { State } from './state.ts'

export const webhookEvents = ['start', 'output', 'logs', 'completed'] as const
export type WebhookEvent = (typeof webhookEvents)[number]
/** Without a filter: "whenever there are new outputs or the prediction has finished". */
export const defaultEvents: readonly WebhookEvent[] = ['output', 'completed']

/** "If there are network problems, we will retry the webhook a few times." */
const deliveriesMax = 3

/** Tells the prediction's webhook of an event, where it asked for it, with the prediction as it is now. */
export async function notify(state: State, prediction: Prediction, event: WebhookEvent): Promise<void> {
  const { faults, webhook, events, record } = prediction
  if (webhook === null || !events.includes(event) || faults.has('webhook_none')) return
  const id = `msg_${randomBytes(16).toString('base64url')}`
  const body = JSON.stringify(predictionBody(state, prediction))
  await deliver(faults, record, async () => {
    let delivered = false
    for (let tries = 0; tries < deliveriesMax && !delivered; tries += 1) {
      if (tries > 0) await state.wait(state.settings.webhookRetryMs)
      delivered = await send(state, webhook, id, body, faults.has('webhook_bad_signature'))
    }
    return delivered
  })
}

/** Signed as Standard Webhooks 1.0.0 says; every delivery of one message has the same id and its own timestamp. */
function send(state: State, url: string, id: string, body: string, badSignature: boolean): Promise<boolean> {
  const timestamp = String(Math.floor(state.now() / 1000))
  const secret = Buffer.from(state.webhookSecret.replace('whsec_', ''), 'base64')
  const signed = `${id}.${timestamp}.${body}${badSignature ? '!' : ''}`
  const headers = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': `v1,${createHmac('sha256', secret).update(signed).digest('base64')}`,
  }
  return postWebhook(url, headers, body, state.closing)
}
