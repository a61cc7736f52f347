import * as v from 'valibot'
import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import { LIMITS } from '../limits.ts'
import { type Answered, faultOf, isSafetyReason, isSuccess, networkFault, readAnswer } from './answers.ts'
import type { Http, HttpResult } from './http.ts'
import { Accepted, Checkpoint, Generated, GeneratedV1, Generation, imagesOf, PriceQuote } from './ideogram-answers.ts'
import { statusFault } from './ideogram-faults.ts'
import { ideogramExpects } from './ideogram-prices.ts'
import { type IdeogramRequest, ideogramRequest } from './ideogram-request.ts'
import { imageCard, refusedFault } from './image-call.ts'
import type { Call, Expected, Failed, GeneratedImage, Outcome, Provider, Wait } from './provider.ts'

/**
 * Ideogram (https://developer.ideogram.ai). API v2, asynchronous by default: a request answers at once with a
 * generation id and is polled, so that a crash loses a paid image only within one round trip. The native fields, and
 * `mode` and `api`, stand in `provider_options.ideogram` (see ideogram-fields.ts).
 */

export const ideogram: Provider = {
  id: 'ideogram',
  title: 'Ideogram',
  defaultBaseUrl: 'https://api.ideogram.ai',
  // Ten requests in flight for an account; no limit by time is documented.
  defaultLimits: { concurrency: 10 },
  countsBy: 'account',
  // How long a generation takes is not documented: our own estimates, to draw progress with.
  models: [
    imageCard('ideogram-3', 3, 8_000),
    imageCard('ideogram-4', 4, 10_000),
    imageCard('ideogram-4-5', 5, 12_000),
    imageCard('auto', 2, 8_000),
  ],

  expects: (model: string, input: ImageInput): Expected | null => {
    const written = ideogramRequest(model, input)
    return written.ok ? ideogramExpects(written.request) : null
  },

  refuses: (model: string, input: ImageInput) => {
    const written = ideogramRequest(model, input)
    return written.ok ? null : written.refusal
  },

  start: async (call: Call, http: Http): Promise<Outcome> => {
    const written = ideogramRequest(call.model, call.input)
    if (!written.ok) return refusedFault(written.refusal)
    const { request } = written
    const price = await askPrice(call, request, http)
    if ('kind' in price) return price
    const body = request.async ? { ...request.body, async: true } : request.body
    const result = await post(call, request.path, body, http)
    if (result.kind !== 'answered') return networkFault('Ideogram', result, true)
    if (!isSuccess(result.status)) return statusFault(call, result)
    return request.async ? accepted(result, price.micros) : generated(request, result, price.micros)
  },

  poll: async (call: Call, checkpoint: Json, http: Http): Promise<Outcome> => {
    const read = v.safeParse(Checkpoint, checkpoint)
    if (!read.success) return faultOf('outcome_unknown', 'The checkpoint of the generation cannot be read.')
    const at = read.output
    const url = `${rootOf(call)}/v2/generations/${encodeURIComponent(at.generation_id)}`
    const result = await http.send({ method: 'GET', url, headers: { 'api-key': call.secret } })
    if (result.kind !== 'answered') return pollFailed(networkFault('Ideogram', result, false), at)
    if (result.status === 404)
      return keep(faultOf('provider_protocol_error', 'Ideogram does not know the generation it began.'), at)
    if (!isSuccess(result.status)) return pollFailed(free(statusFault(call, result)), at)
    const generation = readAnswer(Generation, result.body)
    if (!generation || generation.generation_id !== at.generation_id) {
      return pollFailed(faultOf('provider_protocol_error', 'Ideogram gave an answer that cannot be read.'), at)
    }
    if (generation.status === 'pending') return waitAt({ ...at, polls: at.polls + 1, poll_errors: 0 })
    const costMicros = generation.usage_cost_usd_micros ?? null
    if (generation.status === 'failed') return failedGeneration(at, generation.failure_reason ?? '', costMicros)
    return finished(imagesOf(generation.data), at.generation_id, costMicros ?? at.quoted_micros)
  },
}

const rootOf = (call: Call): string => call.baseUrl.replace(/\/+$/, '')

const post = (call: Call, path: string, json: Record<string, Json>, http: Http): Promise<HttpResult> =>
  http.send({ method: 'POST', url: `${rootOf(call)}${path}`, headers: { 'api-key': call.secret }, json })

/**
 * What the job will cost, from the list or from a quote, which generates and bills nothing. A limit makes the quote
 * binding: what cannot be shown to fit is not bought.
 */
const askPrice = async (
  call: Call,
  request: IdeogramRequest,
  http: Http,
): Promise<Failed | { micros: number | null }> => {
  const listed = call.expectedMicros ?? null
  const limit = call.maxCostMicros
  if (limit === null && listed !== null) return { micros: listed }
  // v1 has no quotes.
  const quote = request.api === 'v1' ? null : await askQuote(call, request, http)
  if (quote && 'kind' in quote && (limit !== null || quote.code === 'canceled')) return quote
  const known = quote && !('kind' in quote) ? quote : { micros: listed, atMost: listed }
  if (limit === null) return { micros: known.micros }
  if (known.atMost === null)
    return faultOf('budget_exceeded', 'No price is known for this call, and max_cost_usd is set.')
  if (known.atMost <= limit) return { micros: known.micros }
  return faultOf('budget_exceeded', `Ideogram asks up to ${known.atMost / 1e6} USD; max_cost_usd is ${limit / 1e6}.`)
}

const askQuote = async (
  call: Call,
  { path, body }: IdeogramRequest,
  http: Http,
): Promise<Failed | { micros: number; atMost: number }> => {
  const result = await post(call, `${path}?dry_run=true`, body, http)
  if (result.kind !== 'answered') return networkFault('Ideogram', result, false)
  if (!isSuccess(result.status)) return free(statusFault(call, result))
  const quote = readAnswer(PriceQuote, result.body)
  if (!quote) return faultOf('provider_protocol_error', 'Ideogram gave a price that cannot be read.')
  return { micros: quote.usd_micros, atMost: Math.max(quote.usd_micros, quote.upper_bound_usd_micros ?? 0) }
}

/** A call that buys nothing has no unknown outcome: it may be made again. */
const free = (fault: Failed): Failed =>
  fault.code === 'outcome_unknown' || fault.code === 'provider_timeout'
    ? { ...fault, code: 'provider_unavailable' }
    : fault

/** The request was taken and will be billed: an answer without an id loses it, and is not to be bought again blindly. */
const accepted = ({ body }: Answered, micros: number | null): Outcome => {
  const answer = readAnswer(Accepted, body)
  if (!answer) return unreadable()
  return waitAt({ generation_id: answer.generation_id, quoted_micros: micros, polls: 0, poll_errors: 0 })
}

const generated = ({ api }: IdeogramRequest, { body }: Answered, micros: number | null): Outcome => {
  if (api === 'v1') {
    const answer = readAnswer(GeneratedV1, body)
    return answer ? finished(imagesOf(answer.data), null, micros) : unreadable()
  }
  const answer = readAnswer(Generated, body)
  return answer ? finished(imagesOf(answer.data), answer.generation_id, micros) : unreadable()
}

const unreadable = (): Failed => faultOf('outcome_unknown', 'Ideogram took the request, but its answer cannot be read.')

/** One safe image is a result; the others are listed without a source. None is a rejection, billed all the same. */
const finished = (images: GeneratedImage[], id: string | null, costMicros: number | null): Outcome => {
  const more = { providerRequestId: id, costMicros }
  if (images.some((image) => image.safe)) return { kind: 'done', images, ...more }
  return faultOf('content_rejected', 'No image passed the safety check of Ideogram.', more)
}

/**
 * A failed generation is final. One that was not billed may be bought anew: `provider_unavailable`. One that was billed
 * follows the rule for outcomes that cost money and brought nothing: bought again only where the job allows that.
 */
const failedGeneration = (at: Checkpoint, reason: string, costMicros: number | null): Failed => {
  const more = { providerRequestId: at.generation_id, costMicros }
  if (isSafetyReason(reason))
    return faultOf('content_rejected', 'The generation failed the safety check of Ideogram.', more)
  if (costMicros !== null && costMicros > 0)
    return faultOf('outcome_unknown', 'The generation failed at Ideogram after it was billed.', more)
  return faultOf('provider_unavailable', 'The generation failed at Ideogram.', more)
}

/** Ideogram gives no progress. Fast at first for the fast models, then every two seconds. Milliseconds. */
const PACE_MS = [500, 500, 1_000, 1_000]
const STEADY_PACE_MS = 2_000

const waitAt = (checkpoint: Checkpoint, pollAfterMs = PACE_MS[checkpoint.polls] ?? STEADY_PACE_MS): Wait => ({
  kind: 'wait',
  checkpoint,
  pollAfterMs,
  providerRequestId: checkpoint.generation_id,
  progress: null,
})

/** Failed polls in a row, with a growing wait between (two and a half minutes in all), before the attempt gives up. */
const POLL_ERRORS_MAX = 10
const PASSING_FAULTS = ['provider_unavailable', 'provider_rate_limited', 'provider_protocol_error']

/** A hiccup while polling must not lose a paid generation: it is asked for again, and a fault keeps the checkpoint. */
const pollFailed = (fault: Failed, at: Checkpoint): Outcome => {
  const errors = at.poll_errors + 1
  if (PASSING_FAULTS.includes(fault.code) && errors < POLL_ERRORS_MAX) {
    const backoffMs = Math.min(LIMITS.backoffBaseMs * 2 ** at.poll_errors, LIMITS.backoffMaxMs)
    return waitAt({ ...at, poll_errors: errors }, fault.retryAfterMs ?? backoffMs)
  }
  return keep(fault, at)
}

/** With the checkpoint, a retry goes on polling and buys nothing. */
const keep = (fault: Failed, at: Checkpoint): Failed => ({
  ...fault,
  providerRequestId: at.generation_id,
  checkpoint: { ...at, poll_errors: 0 },
})
