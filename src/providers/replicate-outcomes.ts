import * as v from 'valibot'
import type { Json } from '../contract/fields.ts'
import { LIMITS } from '../limits.ts'
import { faultOf } from './answers.ts'
import type { Call, Failed, Outcome, Wait } from './provider.ts'
import { Checkpoint, imagesOf, type Prediction } from './replicate-answers.ts'
import { failedPrediction } from './replicate-faults.ts'

/** What the state of a prediction means for the attempt. The same for an answer, a poll and a webhook. */

/** Milliseconds. Soon for the fast models, then steadily; with a webhook, polling only guards against its loss. */
const PACE_MS = [500, 500, 1_000, 1_000]
const STEADY_PACE_MS = 2_000
const WEBHOOK_PACE_MS = [2_000, 5_000]
const WEBHOOK_STEADY_PACE_MS = 10_000

export const waitAt = (call: Call, checkpoint: Checkpoint, pollAfterMs = paceOf(call, checkpoint.polls)): Wait => ({
  kind: 'wait',
  checkpoint,
  pollAfterMs,
  providerRequestId: checkpoint.prediction_id,
  progress: null,
})

const paceOf = ({ webhookUrl }: Call, polls: number): number =>
  webhookUrl === undefined ? (PACE_MS[polls] ?? STEADY_PACE_MS) : (WEBHOOK_PACE_MS[polls] ?? WEBHOOK_STEADY_PACE_MS)

export const readCheckpoint = (checkpoint: Json): Checkpoint | null => {
  const read = v.safeParse(Checkpoint, checkpoint)
  return read.success ? read.output : null
}

export const outcomeOf = (call: Call, at: Checkpoint, prediction: Prediction): Outcome => {
  const more = { providerRequestId: at.prediction_id }
  switch (prediction.status) {
    case 'starting':
    case 'processing':
      return waitAt(call, { ...at, polls: at.polls + 1, poll_errors: 0 })
    case 'succeeded':
      return finished(call, at, prediction)
    case 'failed':
      return failedPrediction(prediction.error, at.prediction_id)
    case 'canceled':
      // Switchyard cancels only what it has given up, so this was done by a person or a deadline at the provider.
      return faultOf('canceled', 'The prediction was canceled at Replicate.', more)
    case 'aborted':
      return faultOf('provider_unavailable', 'The prediction was aborted at Replicate before it ran.', more)
  }
}

/** For versions that count by the checkpoint. */
export const microsPerImage = (call: Call): number | null => call.costOf?.({ images: 1 }) ?? null

/** Billed per output, so the cost follows what was made and not what was asked for. */
export const finished = (call: Call, at: Checkpoint, { output, data_removed: removed }: Prediction): Outcome => {
  const more = { providerRequestId: at.prediction_id }
  if (removed === true || output === null)
    return faultOf('outcome_unknown', 'Replicate has removed the output of the prediction.', more)
  const images = imagesOf(output, at.seed)
  if (!images || images.length === 0)
    return faultOf('outcome_unknown', 'The prediction succeeded, but its output cannot be read.', more)
  return { kind: 'done', images, costMicros: call.costOf?.({ images: images.length }) ?? null, ...more }
}

/** Failed polls in a row, with a growing wait between (two and a half minutes in all), before the attempt gives up. */
const POLL_ERRORS_MAX = 10
const PASSING_FAULTS = ['provider_unavailable', 'provider_rate_limited', 'provider_protocol_error']

/** A hiccup while polling must not lose a paid prediction: it is asked for again, and a fault keeps the checkpoint. */
export const pollFailed = (call: Call, fault: Failed, at: Checkpoint): Outcome => {
  const errors = at.poll_errors + 1
  if (PASSING_FAULTS.includes(fault.code) && errors < POLL_ERRORS_MAX) {
    const backoffMs = Math.min(LIMITS.backoffBaseMs * 2 ** at.poll_errors, LIMITS.backoffMaxMs)
    return waitAt(call, { ...at, poll_errors: errors }, fault.retryAfterMs ?? backoffMs)
  }
  return keep(fault, at)
}

/** With the checkpoint, a retry goes on polling and buys nothing. */
export const keep = (fault: Failed, at: Checkpoint): Failed => ({
  ...fault,
  providerRequestId: at.prediction_id,
  checkpoint: { ...at, poll_errors: 0 },
})
