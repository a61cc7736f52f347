import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import type { RateHint } from '../contract/rpc.ts'
import { type Answered, faultOf, isSuccess, networkFault, readAnswer } from './answers.ts'
import type { Http } from './http.ts'
import { budgetFault, imageCard, refusedFault } from './image-call.ts'
import type { Call, Expected, Failed, Outcome, Provider } from './provider.ts'
import { idAtHead, imagesOf, Prediction } from './replicate-answers.ts'
import { statusFault } from './replicate-faults.ts'
import { finished, keep, microsPerImage, outcomeOf, pollFailed, readCheckpoint, waitAt } from './replicate-outcomes.ts'
import { reconcile } from './replicate-reconcile.ts'
import { bearer, type ReplicateRequest, replicateRequest, rootOf, seedOf, webhookOf } from './replicate-request.ts'
import { replicateWebhookSecret, verifyReplicateWebhook } from './replicate-webhook.ts'

/**
 * Replicate (https://replicate.com/docs/reference/http), official models. A prediction is made without waiting and
 * polled, so that a crash loses a paid image only within one round trip; `provider_options.replicate.wait` (1 to 60)
 * holds the request that many seconds instead, and must stay below the provider's timeout. The native input fields stand
 * beside it (see replicate-models.ts).
 */

export const replicate: Provider = {
  id: 'replicate',
  title: 'Replicate',
  // With the version, as the official client has it.
  defaultBaseUrl: 'https://api.replicate.com/v1',
  // 600 creates a minute are documented, and 3,000 other calls: polls every two seconds of fifty take half of them.
  defaultLimits: { concurrency: 50, requestsPerMinute: 600 },
  countsBy: 'account',
  // How long a prediction takes is not documented: our own estimates, to draw progress with.
  models: [
    imageCard('black-forest-labs/flux-schnell', 1, 1_500),
    imageCard('black-forest-labs/flux-dev', 3, 5_000),
    imageCard('black-forest-labs/flux-1.1-pro', 4, 6_000),
    imageCard('black-forest-labs/flux-1.1-pro-ultra', 5, 12_000),
    imageCard('ideogram-ai/ideogram-v3-turbo', 3, 8_000),
  ],

  // Official models are priced per output, so a prediction that fails costs nothing.
  expects: (model: string, input: ImageInput): Expected | null => {
    const written = replicateRequest(model, input)
    return written.ok ? { price: model, usage: { images: written.request.images } } : null
  },

  refuses: (model: string, input: ImageInput) => {
    const written = replicateRequest(model, input)
    return written.ok ? null : written.refusal
  },

  start: async (call: Call, http: Http): Promise<Outcome> => {
    const written = replicateRequest(call.model, call.input)
    if (!written.ok) return refusedFault(written.refusal)
    const tooDear = budgetFault(call, 'Replicate asks')
    if (tooDear) return tooDear
    const result = await http.send(createRequest(call, written.request))
    if (result.kind !== 'answered') return networkFault('Replicate', result, true)
    if (!isSuccess(result.status)) return statusFault(call, result)
    const outcome = created(call, written.request, result)
    const rate = rateOf(result.headers)
    return outcome.kind === 'wait' && rate ? { ...outcome, rate } : outcome
  },

  poll: async (call: Call, checkpoint: Json, http: Http): Promise<Outcome> => {
    const at = readCheckpoint(checkpoint)
    if (!at) return faultOf('outcome_unknown', 'The checkpoint of the prediction cannot be read.')
    const url = predictionUrl(call, at.prediction_id)
    const result = await http.send({ method: 'GET', url, headers: bearer(call) })
    if (result.kind !== 'answered') return pollFailed(call, networkFault('Replicate', result, false), at)
    if (result.status === 404)
      return keep(faultOf('provider_protocol_error', 'Replicate does not know the prediction it began.'), at)
    if (!isSuccess(result.status)) return pollFailed(call, free(statusFault(call, result)), at)
    const prediction = readAnswer(Prediction, result.body)
    if (!prediction || prediction.id !== at.prediction_id) {
      return pollFailed(call, faultOf('provider_protocol_error', 'Replicate gave an answer that cannot be read.'), at)
    }
    return outcomeOf(call, at, prediction)
  },

  cancel: async (call: Call, checkpoint: Json, http: Http): Promise<void> => {
    const at = readCheckpoint(checkpoint)
    if (!at) return
    await http.send({ method: 'POST', url: `${predictionUrl(call, at.prediction_id)}/cancel`, headers: bearer(call) })
  },

  reconcile,

  webhook: { secret: replicateWebhookSecret, verify: verifyReplicateWebhook },
}

/** `ratelimit-remaining` and `ratelimit-reset` (seconds), which Replicate sends with every create. */
const rateOf = (headers: Headers): RateHint | null => {
  const remaining = /^\d{1,9}$/.exec(headers.get('ratelimit-remaining') ?? '')?.[0]
  const reset = /^\d{1,6}$/.exec(headers.get('ratelimit-reset') ?? '')?.[0]
  return remaining && reset ? { remaining: Number(remaining), resetAfterMs: Number(reset) * 1000 } : null
}

const predictionUrl = (call: Call, id: string): string => `${rootOf(call)}/predictions/${encodeURIComponent(id)}`

const createRequest = (call: Call, { model, input, wait }: ReplicateRequest) => {
  const webhook = webhookOf(call)
  return {
    method: 'POST' as const,
    url: `${rootOf(call)}/models/${model}/predictions`,
    headers: { ...bearer(call), ...(wait === null ? {} : { prefer: `wait=${wait}` }) },
    json: {
      input: { ...input, seed: seedOf(call) },
      ...(webhook === null ? {} : { webhook, webhook_events_filter: ['completed'] }),
    },
  }
}

/** The prediction was made and will be billed: an answer without an id loses it, and is not to be bought again blindly. */
const created = (call: Call, request: ReplicateRequest, { body, cut }: Answered): Outcome => {
  const prediction = readAnswer(Prediction, body)
  const id = prediction?.id ?? (cut ? idAtHead(body) : null)
  if (id === null) return faultOf('outcome_unknown', 'Replicate took the request, but its answer cannot be read.')
  const at = {
    prediction_id: id,
    seed: seedOf(call),
    micros_per_image: microsPerImage(call),
    polls: 0,
    poll_errors: 0,
  }
  if (!prediction) return waitAt(call, at)
  if (!['starting', 'processing'].includes(prediction.status)) return outcomeOf(call, at, prediction)
  // Recorded of `Prefer: wait`: an answer that still says "processing" and holds the whole output.
  const made = request.wait === null ? null : imagesOf(prediction.output, at.seed)
  return made && made.length >= request.images ? finished(call, at, prediction) : waitAt(call, at)
}

/** A poll that buys nothing has no unknown outcome: it may be made again. */
const free = (fault: Failed): Failed =>
  fault.code === 'outcome_unknown' || fault.code === 'provider_timeout'
    ? { ...fault, code: 'provider_unavailable' }
    : fault
