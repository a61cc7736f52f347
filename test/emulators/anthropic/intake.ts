import { begin, withDrawn } from '../base/calls/intake.ts'
import { echoing, isCutBefore } from '../base/refusals.ts'
import { lastTextOf, type MessageBody, promptOf } from './body.ts'
import { type Directives, readDirectives, readFaultSetting } from './directives.ts'
import type { CallRecord } from './ledger.ts'
import { problem, refusalOf, turnAway } from './problems.ts'
import { promptTokensOf } from './reply.ts'
import type { Exchange, State } from './state.ts'

/** The way of every call until it is accepted, which is to say billed. */

export interface Accepted {
  id: string
  directives: Directives
  record: CallRecord
  /** For the answer, of whatever kind. */
  headers: Record<string, string>
}

export async function accept(state: State, exchange: Exchange, body: MessageBody): Promise<Accepted | null> {
  const { settings, ledger } = state
  const { model } = body
  const prompt = promptOf(body)
  const read = readDirectives(lastTextOf(body))
  if (read.problem) {
    await turnAway(state, exchange, problem(400, read.problem))
    return null
  }
  const directives = withDrawn(state, read.directives, readFaultSetting)
  const refusal = refusalOf(state, directives, prompt)
  if (refusal) {
    const message = echoing(directives, refusal.message, { ...exchange, text: prompt })
    await turnAway(state, exchange, { ...refusal, message }, directives, limitHeaders(state, exchange, model))
    return null
  }
  const limits = { requests: settings.requestsPerMinute, tokens: settings.tokensPerMinute }
  const over = state.limiter.take(`${exchange.apiKey} ${model}`, promptTokensOf(body), limits, state.now())
  if (over) {
    await turnAway(state, exchange, problem(429), directives, {
      ...limitHeaders(state, exchange, model),
      'retry-after': String(Math.ceil(over.retryAfterMs / 1_000)),
    })
    return null
  }
  if (isCutBefore(state, exchange.response, directives)) return null
  const record = ledger.accept({
    id: `msg_emulated${String(state.next()).padStart(8, '0')}`,
    model,
    apiKey: exchange.apiKey,
    version: exchange.version,
    stream: body.stream === true,
    events: 0,
    at: state.now(),
  })
  await begin(state, exchange.response, directives, record)
  const headers = { 'request-id': exchange.requestId, ...limitHeaders(state, exchange, model) }
  return { id: record.id, directives, record, headers }
}

/** Resets are times, in RFC 3339. */
function limitHeaders(state: State, { apiKey }: Exchange, model: string): Record<string, string> {
  const { requestsPerMinute, tokensPerMinute } = state.settings
  const limits = { requests: requestsPerMinute || 4_000, tokens: tokensPerMinute || 2_000_000 }
  const left = state.limiter.left(`${apiKey} ${model}`, limits, state.now())
  const reset = `${new Date(state.now() + left.resetMs).toISOString().slice(0, 19)}Z`
  const kinds = { requests: left.requests, tokens: left.tokens, 'input-tokens': left.tokens, 'output-tokens': 400_000 }
  const headers: Record<string, string> = { 'anthropic-organization-id': 'emulated' }
  for (const [kind, remaining] of Object.entries(kinds)) {
    const limit = kind === 'requests' ? limits.requests : kind === 'output-tokens' ? 400_000 : limits.tokens
    headers[`anthropic-ratelimit-${kind}-limit`] = String(limit)
    headers[`anthropic-ratelimit-${kind}-remaining`] = String(remaining)
    headers[`anthropic-ratelimit-${kind}-reset`] = reset
  }
  return headers
}
