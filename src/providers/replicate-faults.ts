import { type Answered, commonFault, faultOf, isSafetyReason, readAnswer } from './answers.ts'
import type { Call, Failed } from './provider.ts'
import { quotedText } from './quoted-text.ts'
import { Problem } from './replicate-answers.ts'
import { retryAfterMs } from './retry-after.ts'

/** Every answer of Replicate's that is not a success, and every prediction that failed. */

/** For an answer whose status is not 2xx. */
export const statusFault = (call: Call, answer: Answered): Failed => {
  const { status } = answer
  const problem = readAnswer(Problem, answer.body)
  const waitMs = waitOf(call, answer, problem?.retry_after)
  const wait = waitMs === null ? {} : { retryAfterMs: waitMs }
  if (status === 402) return faultOf('provider_quota_exhausted', 'The Replicate account has too little credit.', wait)
  if (status === 429) return faultOf('provider_rate_limited', 'Replicate asks for fewer requests.', wait)
  const common = commonFault('Replicate', status, wait)
  const words = quotedWords(call, problem?.detail)
  return common ?? faultOf('provider_rejected', `Replicate refused the request (status ${status}).${words}`)
}

const quotedWords = ({ input, secret }: Call, text: string | undefined): string => {
  const words = quotedText(text ?? '', [input.prompt, input.negative_prompt, secret])
  return words ? ` It says: ${words}` : ''
}

/** `Retry-After`, else `retry_after` of the body, else on a 429 `ratelimit-reset`; both in seconds. */
const waitOf = (call: Call, { status, headers }: Answered, bodySeconds: number | undefined): number | null => {
  const reset = status === 429 ? headers.get('ratelimit-reset') : null
  for (const seconds of [headers.get('retry-after'), bodySeconds, reset]) {
    if (seconds === null || seconds === undefined) continue
    const waitMs = retryAfterMs(new Headers({ 'retry-after': String(seconds) }), call.nowMs)
    if (waitMs !== null) return waitMs
  }
  return null
}

/** Texts differ by model; E005 and E006 are the codes that the official ones end theirs with. */
const SAFETY = /\bE005\b|flagged as sensitive/i
const BAD_INPUT = /\bE006\b|\binvalid input\b|\binput was invalid\b/i

/**
 * A prediction that failed made no output, and official models are billed per output: it may be bought anew, unless its
 * input is what failed.
 */
export const failedPrediction = (error: unknown, providerRequestId: string): Failed => {
  const text = typeof error === 'string' ? error : (JSON.stringify(error) ?? '')
  const more = { providerRequestId, costMicros: 0 }
  if (SAFETY.test(text) || isSafetyReason(text))
    return faultOf('content_rejected', 'The prediction failed the safety check of its model at Replicate.', more)
  if (BAD_INPUT.test(text)) return faultOf('provider_rejected', 'The model at Replicate refused its input.', more)
  const code = /\bE\d{3,4}\b/.exec(text)?.[0]
  return faultOf('provider_unavailable', `The prediction failed at Replicate${code ? ` (${code})` : ''}.`, more)
}
