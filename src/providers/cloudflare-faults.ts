import { LIMITS } from '../limits.ts'
import { faultOf } from './answers.ts'
import { recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'

/**
 * Errors in Cloudflare's envelope, by their numbers: of Workers AI
 * (https://developers.cloudflare.com/workers-ai/platform/errors/) and of AI Gateway
 * (https://developers.cloudflare.com/ai-gateway/features/guardrails/). Either may answer in place of a provider behind it.
 */

const DAY_MS = 24 * 60 * 60 * 1000

/** The first number of the envelope, or null where the answer is no such thing. */
export const cloudflareCode = (answer: unknown): number | null => {
  const envelope = recordOf(answer)
  if (envelope?.['success'] !== false) return null
  for (const list of [envelope['errors'], envelope['error']]) {
    for (const item of Array.isArray(list) ? list : []) {
      const code = recordOf(item)?.['code']
      if (typeof code === 'number') return code
    }
  }
  return null
}

/** The status that Workers AI's REST gives with a number, for errors that come without one. */
export const cloudflareStatus = (code: number): number => STATUS[code] ?? 500

/** https://developers.cloudflare.com/workers-ai/platform/errors/, as far as the number alone does not decide. */
const STATUS: Record<number, number> = { 3003: 400, 3006: 413, 3039: 400, 5004: 400, 5005: 405, 5019: 405 }

/** The fault of a number, or null where the status has to decide. `name` is the provider's. */
export const cloudflareFault = (
  name: string,
  code: number,
  wait: { retryAfterMs?: number },
  nowMs: number,
): Failed | null => {
  switch (code) {
    case 2001:
      return faultOf('provider_rejected', 'AI Gateway has no gateway of this name in this account (code 2001).')
    // Said with 400 in the place of whatever became of the provider's answer, which may have been paid for
    // (https://github.com/cloudflare/ai/issues/436).
    case 2005:
      return faultOf('outcome_unknown', 'AI Gateway got no answer from the provider (code 2005).')
    // It never went out, so it cost nothing; what blocks an answer comes too late for that.
    case 2016:
      return faultOf('content_rejected', 'AI Gateway blocked the prompt.', { costMicros: 0 })
    case 2017:
      return faultOf('content_rejected', 'AI Gateway blocked the answer.')
    case 2003:
      return faultOf('provider_rate_limited', 'AI Gateway asks for fewer requests.', wait)
    case 2009:
      return faultOf('provider_auth_failed', 'AI Gateway refused its key.')
    case 3036:
      // The day's allowance comes back at midnight UTC.
      return faultOf('provider_quota_exhausted', `The daily allowance at ${name} is used up.`, {
        retryAfterMs: Math.min(DAY_MS - (nowMs % DAY_MS), LIMITS.retryAfterMaxMs),
      })
    case 3040:
      return faultOf('provider_unavailable', `${name} is out of capacity.`, wait)
    case 3007:
    case 3008:
      return faultOf('provider_timeout', `${name} gave the request up (code ${code}).`, wait)
    case 5007:
    case 3042:
      return faultOf('provider_rejected', `${name} has no such model (code ${code}).`, { param: 'model' })
    // Of the account and this model, not of the key: the key goes on for others.
    case 3023:
    case 3041:
    case 5016:
    case 5018:
      return faultOf('provider_rejected', `${name} does not give this account the model (code ${code}).`, {
        param: 'model',
      })
    default:
      return null
  }
}
