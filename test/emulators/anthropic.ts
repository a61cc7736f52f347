/**
 * An emulator of Anthropic's HTTP API (messages, counting of tokens, models) in the versions 2023-06-01 and 2026-10-21 that
 * keeps to its wire format, counts what it would have billed and misbehaves on request (see `anthropic/directives.ts`). Also
 * under `/v1/{account}/{gateway}/anthropic`, as behind Cloudflare AI Gateway. Import `startAnthropic`, or run it as its own
 * process: `node test/emulators/anthropic.ts --port 0`.
 */
import { parseArgs } from 'node:util'
import type { AnthropicStats } from './anthropic/ledger.ts'
import { countTokens, createMessage } from './anthropic/messages.ts'
import { models } from './anthropic/models.ts'
import { type Problem, problem, turnAway } from './anthropic/problems.ts'
import { versions } from './anthropic/spec.ts'
import {
  type AnthropicControl,
  type AnthropicOptions,
  type AnthropicSettings,
  createState,
  type Exchange,
  type State,
} from './anthropic/state.ts'
import { announce, commonFlags, optionsOf } from './base/process.ts'
import { type Emulator, serve } from './base/server.ts'
import { type Exchange as AnyExchange, parseJson, readBody, sendJson } from './base/wire.ts'

export type AnthropicEmulator = Emulator<AnthropicStats, AnthropicSettings, AnthropicControl>

/** As the provider's edge has it. */
const maxBodyBytes = 32 * 1024 * 1024

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export function startAnthropic(options: AnthropicOptions = {}): Promise<AnthropicEmulator> {
  const state = createState(options)
  return serve(state, options.port, { handle: (exchange) => handle(state, exchange), listed: 'calls' })
}

async function handle(state: State, incoming: AnyExchange): Promise<void> {
  state.ledger.countRequest()
  const { headers, method } = incoming.request
  const asked = String(headers['anthropic-version'] ?? '')
  const bearer = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? ''
  const exchange: Exchange = {
    ...incoming,
    path: incoming.url.pathname.replace(/^\/v1\/[^/]+\/[^/]+\/anthropic(?=\/)/, ''),
    // Where both are sent, this is the one that counts.
    apiKey: String(headers['x-api-key'] ?? bearer),
    version: versions.find((known) => known === asked) ?? '2023-06-01',
    requestId: `req_emulated${String(state.next()).padStart(8, '0')}`,
  }
  const wrong = wrongAtTheDoor(state, exchange, asked)
  if (wrong) return turnAway(state, exchange, wrong)
  if (method === 'GET' && /^\/v1\/models(\/|$)/.test(exchange.path)) return listModels(state, exchange)
  const isCount = exchange.path === '/v1/messages/count_tokens'
  if (!isCount && exchange.path !== '/v1/messages') return turnAway(state, exchange, problem(404, 'Not Found'))
  if (method !== 'POST')
    return turnAway(state, exchange, { ...problem(405, 'Method Not Allowed'), type: 'invalid_request_error' })
  const bytes = await readBody(incoming.request, maxBodyBytes)
  if (!bytes) return turnAway(state, exchange, problem(413))
  const body = parseJson(bytes)
  if (body === undefined) return turnAway(state, exchange, problem(400, 'The request body is not valid JSON'))
  return isCount ? countTokens(state, exchange, body) : createMessage(state, exchange, body)
}

function wrongAtTheDoor(state: State, { apiKey }: Exchange, version: string): Problem | null {
  if (apiKey === '') return problem(401, 'x-api-key header is required')
  if (state.settings.apiKeys?.includes(apiKey) === false) return problem(401)
  if (version === '') return problem(400, 'anthropic-version: header is required')
  return versions.some((known) => known === version)
    ? null
    : problem(400, `anthropic-version: "${version}" is not a valid version`)
}

async function listModels(state: State, exchange: Exchange): Promise<void> {
  const { path, response, requestId } = exchange
  const model = (id: string) => ({
    type: 'model',
    id,
    display_name: id,
    created_at: '2026-01-01T00:00:00Z',
    capabilities: null,
    max_input_tokens: 1_000_000,
    max_tokens: models[id]?.maxTokens ?? null,
  })
  const headers = { 'request-id': requestId }
  const ids = Object.keys(models)
  if (path === '/v1/models') {
    const list = { data: ids.map(model), has_more: false, first_id: ids[0] ?? null, last_id: ids.at(-1) ?? null }
    return void (await sendJson(response, 200, list, headers))
  }
  const id = decodeURIComponent(path.slice('/v1/models/'.length))
  if (!models[id]) return turnAway(state, exchange, problem(404, `model: ${id}`))
  await sendJson(response, 200, model(id), headers)
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { ...commonFlags, 'chunk-delay': { type: 'string', default: '0' } },
  })
  announce(await startAnthropic({ ...optionsOf(values), chunkDelayMs: Number(values['chunk-delay']) }))
}

if (import.meta.main) await main()
