import { begin, withDrawn } from '../base/calls/intake.ts'
import { echoing, isCutBefore } from '../base/refusals.ts'
import { type Directives, readDirectives, readFaultSetting } from './directives.ts'
import type { CallRecord, Kind } from './ledger.ts'
import { type Problem, problem, quotaProblem, refusalOf, turnAway } from './problems.ts'
import type { Exchange, State } from './state.ts'

/** The way of every call until it is accepted, which is to say billed. */

export interface Accepted {
  /** `responseId` of the answer. */
  id: string
  directives: Directives
  record: CallRecord
}

export async function accept(
  state: State,
  exchange: Exchange,
  call: { kind: Kind; text: string; tokens: number; wrong: Problem | null },
): Promise<Accepted | null> {
  const { settings, ledger } = state
  const { model, apiKey, apiVersion } = exchange
  const read = readDirectives(call.text)
  const away = async (found: Problem): Promise<null> => {
    await turnAway(state, exchange, found)
    return null
  }
  if (read.problem) return away(problem(400, read.problem))
  const directives = withDrawn(state, read.directives, readFaultSetting)
  const refusal = call.wrong ?? refusalOf(state, directives, call.text)
  if (refusal) return away({ ...refusal, message: echoing(directives, refusal.message, { apiKey, text: call.text }) })
  const limits = { requests: settings.requestsPerMinute, tokens: settings.tokensPerMinute }
  const over = state.limiter.take(`${apiKey} ${model}`, call.tokens, limits, state.now())
  if (over) {
    const counted = over.kind === 'requests' ? 'GenerateRequests' : 'GenerateContentInputTokens'
    return away(quotaProblem(`${counted}PerMinutePerProjectPerModel-FreeTier`, model, over.retryAfterMs))
  }
  if (isCutBefore(state, exchange.response, directives)) return null
  const stream = exchange.method === 'streamGenerateContent'
  const id = `emulated${String(state.next()).padStart(8, '0')}`
  const record = ledger.accept({ id, kind: call.kind, model, apiVersion, apiKey, stream, events: 0, at: state.now() })
  await begin(state, exchange.response, directives, record)
  return { id, directives, record }
}
