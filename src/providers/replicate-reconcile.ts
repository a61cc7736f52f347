import type * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { faultOf, isSuccess, networkFault, readAnswer } from './answers.ts'
import type { Http } from './http.ts'
import type { Call, Failed, Outcome } from './provider.ts'
import { type Prediction, PredictionPage } from './replicate-answers.ts'
import { statusFault } from './replicate-faults.ts'
import { microsPerImage, waitAt } from './replicate-outcomes.ts'
import { bearer, replicateRequest, rootOf, seedOf } from './replicate-request.ts'

/**
 * Finds the prediction of a create whose answer was lost. Replicate takes no idempotency key, but lists an account's
 * predictions with their input, newest first, by time. The mark we look for is the seed that Switchyard makes of job and
 * attempt where the user gives none; where the list shows webhooks, the call's own, with job and attempt in its query.
 *
 * What is promised: `wait` names a prediction of this very attempt; null means that the account's list, read to its end
 * at least half a minute after the create was sent, holds none that could be it. What is not: a list that lags longer
 * than that, or clocks more than five minutes apart, could hide one. It cannot be told, and is a fault, where
 * - the user gave the seed, no webhook is shown, and a prediction with the same model, prompt and seed is listed: it may
 *   be another job's;
 * - a prediction of the model in that time has lost its input, which Replicate removes an hour after its end;
 * - the list cannot be read, or not to its end.
 */

/** The provider's clock may be off ours. */
const CLOCK_SKEW_MS = 5 * 60 * 1000
/** A create whose connection broke may still be under way to the list. */
const SETTLE_MS = 30_000
/** No create takes longer to be accepted: the longest timeout a provider may be given. */
const CREATE_MS = LIMITS.providerTimeoutMaxMs
/** A hundred predictions each. */
const PAGES_MAX = 50
/** Before a list that could not be read is asked for again. */
const RETRY_MS = 5_000

export const reconcile = async (call: Call, http: Http, sinceMs: number): Promise<Outcome | null> => {
  // What is refused was never sent.
  if (!replicateRequest(call.model, call.input).ok) return null
  let query = `?${new URLSearchParams({
    created_after: new Date(sinceMs - CLOCK_SKEW_MS).toISOString(),
    created_before: new Date(sinceMs + CREATE_MS + CLOCK_SKEW_MS).toISOString(),
  })}`
  let doubtful = false
  for (let pages = 0; pages < PAGES_MAX; pages += 1) {
    const read = await readPage(call, http, query)
    if (!read.ok) return read.fault
    for (const prediction of read.page.results) {
      const judged = judge(call, prediction)
      if (judged === 'ours') return found(call, prediction)
      doubtful ||= judged === 'doubtful'
    }
    const { next } = read.page
    if (!next)
      return doubtful ? unclear('Replicate lists a prediction that may be of another job.') : absent(call, sinceMs)
    if (!URL.canParse(next)) return unclear('The predictions at Replicate cannot be listed to their end.')
    // Only the cursor is taken, so that the secret goes nowhere but to the configured address.
    query = new URL(next).search
  }
  return unclear('The predictions at Replicate are too many to be listed to their end.')
}

type ReadPage = { ok: true; page: v.InferOutput<typeof PredictionPage> } | { ok: false; fault: Failed }

const readPage = async (call: Call, http: Http, query: string): Promise<ReadPage> => {
  const failed = (fault: Failed): ReadPage => ({ ok: false, fault })
  const result = await http.send({ method: 'GET', url: `${rootOf(call)}/predictions${query}`, headers: bearer(call) })
  if (result.kind === 'aborted') return failed(networkFault('Replicate', result, false))
  if (result.kind !== 'answered') return failed(unclear(`Replicate: ${result.message}`, RETRY_MS))
  if (!isSuccess(result.status)) {
    const { message, retryAfterMs = RETRY_MS } = statusFault(call, result)
    return failed(unclear(message, retryAfterMs))
  }
  const page = readAnswer(PredictionPage, result.body)
  return page ? { ok: true, page } : failed(unclear('The list of predictions at Replicate cannot be read.', RETRY_MS))
}

const judge = (call: Call, { model, input, webhook }: Prediction): 'ours' | 'other' | 'doubtful' => {
  if (model && model !== call.model) return 'other'
  // A webhook of ours names its job and attempt, whatever address it goes to.
  if (webhook) return isMarked(call, webhook) ? 'ours' : 'other'
  // Removed data leaves no input, or an empty one.
  if (!input || input.prompt === undefined) return 'doubtful'
  // Ours always have a seed: one without is of another client of the account.
  if (input.seed !== seedOf(call)) return 'other'
  if (call.input.seed === undefined) return 'ours'
  return input.prompt === call.input.prompt ? 'doubtful' : 'other'
}

const isMarked = ({ job, attempt }: Call, webhook: string): boolean => {
  const query = URL.canParse(webhook) ? new URL(webhook).searchParams : new URLSearchParams()
  return query.get('job') === job && query.get('attempt') === String(attempt)
}

const found = (call: Call, { id }: Prediction): Outcome =>
  waitAt(call, {
    prediction_id: id,
    seed: seedOf(call),
    micros_per_image: microsPerImage(call),
    polls: 0,
    poll_errors: 0,
  })

const absent = ({ nowMs }: Call, sinceMs: number): Failed | null => {
  const restMs = sinceMs + SETTLE_MS - nowMs
  return restMs > 0 ? unclear('Replicate lists no such prediction yet.', restMs) : null
}

/** Never a code that would buy anew. */
const unclear = (message: string, retryAfterMs?: number): Failed =>
  faultOf('outcome_unknown', message, retryAfterMs === undefined ? {} : { retryAfterMs })
