import { type Directives, numberOf, readDirectives, readFaultSetting } from './directives.ts'
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
  const directives = withDrawn(state, read.directives)
  ledger.countDirectives(directives)
  const refusal = call.wrong ?? refusalOf(state, directives, call.text)
  if (refusal) return away(refusal)
  const limits = { requests: settings.requestsPerMinute, tokens: settings.tokensPerMinute }
  const over = state.limiter.take(`${apiKey} ${model}`, call.tokens, limits, state.now())
  if (over) {
    const counted = over.kind === 'requests' ? 'GenerateRequests' : 'GenerateContentInputTokens'
    return away(quotaProblem(`${counted}PerMinutePerProjectPerModel-FreeTier`, model, over.retryAfterMs))
  }
  if (directives.has('cut_before')) {
    ledger.countRejected('cut')
    exchange.response.destroy()
    return null
  }
  const stream = exchange.method === 'streamGenerateContent'
  const id = `emulated${String(state.next()).padStart(8, '0')}`
  const record = ledger.accept({ id, kind: call.kind, model, apiVersion, apiKey, stream, at: state.now() })
  exchange.response.once('close', () => ledger.settle(record, state.now(), 'left'))
  await state.wait(settings.latencyMs)
  if (directives.has('stall')) await state.wait(numberOf(directives, 'stall', 0, 24 * 60 * 60 * 1000))
  return { id, directives, record }
}

/** Directives of the call, or, in chaos runs, one of the faults that are set. */
function withDrawn(state: State, directives: Directives): Directives {
  const { faultRate, faults } = state.settings
  if (faultRate === 0 || faults.length === 0 || state.chance() >= faultRate) return directives
  const drawn = faults[Math.floor(state.chance() * faults.length)] ?? ''
  return new Map([...directives, ...readFaultSetting(drawn).directives])
}
