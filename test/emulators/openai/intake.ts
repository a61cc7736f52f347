import { begin, withDrawn } from '../base/calls/intake.ts'
import { numberOf } from '../base/directives.ts'
import { echoing, isCutBefore } from '../base/refusals.ts'
import { type Directives, readDirectives, readFaultSetting } from './directives.ts'
import type { CallRecord, Kind } from './ledger.ts'
import { gatewayError, problem, refusalOf, turnAway } from './problems.ts'
import type { Exchange, State } from './state.ts'

/** The way of every call until it is accepted, which is to say billed. */

export interface Accepted {
  id: string
  /** Unix seconds. */
  createdAt: number
  directives: Directives
  record: CallRecord
  /** For the answer, of whatever kind. */
  headers: Record<string, string>
}

export async function accept(
  state: State,
  exchange: Exchange,
  call: { kind: Kind; model: string; stream: boolean; text: string; tokens: number },
): Promise<Accepted | null> {
  const { settings, ledger } = state
  const read = readDirectives(call.text)
  if (read.problem) {
    await turnAway(state, exchange, problem(400, null, read.problem))
    return null
  }
  const directives = withDrawn(state, read.directives, readFaultSetting)
  if (exchange.gateway && (await gatewayRefuses(state, exchange, directives))) return null
  const headers = headersOf(state, exchange, call.model)
  const refusal = modelProblem(state, call) ?? refusalOf(state, directives, call.text)
  if (refusal) {
    const message = echoing(directives, refusal.message, { ...exchange, text: call.text })
    await turnAway(state, exchange, { ...refusal, message }, directives, headers)
    return null
  }
  const limits = { requests: settings.requestsPerMinute, tokens: settings.tokensPerMinute }
  const over = state.limiter.take(`${exchange.apiKey} ${call.model}`, call.tokens, limits, state.now())
  if (over) {
    await turnAway(state, exchange, { ...problem(429), type: over.kind }, directives, {
      ...headersOf(state, exchange, call.model),
      'retry-after-ms': String(Math.ceil(over.retryAfterMs)),
    })
    return null
  }
  if (isCutBefore(state, exchange.response, directives)) return null
  const number = state.next()
  const record = ledger.accept({
    id: idOf(state, number),
    kind: call.kind,
    model: call.model,
    apiKey: exchange.apiKey,
    stream: call.stream,
    chunks: 0,
    at: state.now(),
  })
  await begin(state, exchange.response, directives, record)
  return {
    id: record.id,
    createdAt: Math.floor(record.at / 1000),
    directives,
    record,
    headers: { ...headersOf(state, exchange, call.model), ...gatewayHeaders(exchange, directives, number) },
  }
}

function modelProblem(state: State, { model }: { model: string }) {
  const { server } = state.settings
  if (server === 'ollama' && model === 'missing')
    return problem(404, null, `model "${model}" not found, try pulling it first`)
  const known = server !== 'openai' || /^(gpt-|o\d|text-embedding-|chatgpt-)/.test(model)
  const retired = /^(dall-e|gpt-image-1$)/.test(model)
  return known && !retired
    ? null
    : problem(404, 'model_not_found', 'The model does not exist or you do not have access to it.', 'model')
}

const idOf = (state: State, number: number): string =>
  state.settings.server === 'ollama' ? `chatcmpl-${number}` : `chatcmpl-emulated${String(number).padStart(8, '0')}`

/** Servers of one's own tell nothing of limits. */
function headersOf(state: State, exchange: Exchange, model: string): Record<string, string> {
  const { server, requestsPerMinute, tokensPerMinute } = state.settings
  if (server === 'workers-ai') return { 'cf-ray': `emulated${state.next()}-AMS` }
  if (server !== 'openai') return {}
  const limits = { requests: requestsPerMinute || 10_000, tokens: tokensPerMinute || 2_000_000 }
  const left = state.limiter.left(`${exchange.apiKey} ${model}`, limits, state.now())
  return {
    'x-request-id': `req_emulated${state.next()}`,
    'openai-organization': 'emulated',
    'openai-processing-ms': '1',
    'openai-version': '2020-10-01',
    'x-ratelimit-limit-requests': String(limits.requests),
    'x-ratelimit-limit-tokens': String(limits.tokens),
    'x-ratelimit-remaining-requests': String(left.requests),
    'x-ratelimit-remaining-tokens': String(left.tokens),
    'x-ratelimit-reset-requests': durationOf(left.resetMs),
    'x-ratelimit-reset-tokens': durationOf(left.resetMs),
  }
}

/** `6m0s`, `1.2s`, `120ms`. */
function durationOf(ms: number): string {
  if (ms < 1_000) return `${Math.ceil(ms)}ms`
  const minutes = Math.floor(ms / 60_000)
  return `${minutes > 0 ? `${minutes}m` : ''}${Math.round((ms - minutes * 60_000) / 10) / 100}s`
}

async function gatewayRefuses(state: State, exchange: Exchange, directives: Directives): Promise<boolean> {
  const { gatewayToken } = state.settings
  if (gatewayToken !== '' && exchange.request.headers['cf-aig-authorization'] !== `Bearer ${gatewayToken}`) {
    await gatewayError(state, exchange, 401, 2009, 'Unauthorized')
    return true
  }
  const code = numberOf(directives, 'guardrail', 0, 0)
  if (code === 0) return false
  const words: Record<number, string> = {
    2003: 'Rate limited',
    2016: 'Prompt blocked due to security configurations',
    2017: 'Response blocked due to security configurations',
  }
  await gatewayError(state, exchange, code === 2003 ? 429 : 424, code, words[code] ?? 'Error')
  return true
}

const gatewayHeaders = (exchange: Exchange, directives: Directives, number: number): Record<string, string> =>
  exchange.gateway
    ? {
        'cf-aig-cache-status': directives.has('cache_hit') ? 'HIT' : 'MISS',
        'cf-aig-log-id': `log${number}`,
        'cf-aig-step': '0',
      }
    : {}
