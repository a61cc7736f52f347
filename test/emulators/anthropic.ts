/**
 * An emulator of Anthropic's HTTP API (messages, counting of tokens, models) in the versions 2023-06-01 and 2026-10-21 that
 * keeps to its wire format, counts what it would have billed and misbehaves on request (see `anthropic/directives.ts`). Also
 * under `/v1/{account}/{gateway}/anthropic`, as behind Cloudflare AI Gateway. Import `startAnthropic`, or run it as its own
 * process: `node test/emulators/anthropic.ts --port 0`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { readFaultSetting } from './anthropic/directives.ts'
import type { AnthropicStats } from './anthropic/ledger.ts'
import { countTokens, createMessage } from './anthropic/messages.ts'
import { models } from './anthropic/models.ts'
import { type Problem, problem, turnAway } from './anthropic/problems.ts'
import {
  type AnthropicControl,
  type AnthropicOptions,
  type AnthropicSettings,
  problemWithControl,
} from './anthropic/settings.ts'
import { versions } from './anthropic/spec.ts'
import { createState, type Exchange, type State } from './anthropic/state.ts'
import { sendJson } from './openai/state.ts'

export interface AnthropicEmulator {
  /** `http://127.0.0.1:PORT`; the provider's paths begin with `/v1` below it. */
  readonly url: string
  stats(): AnthropicStats
  /** Changes settings and returns all of them. Throws a RangeError for a setting or directive that does not exist. */
  control(patch: AnthropicControl): AnthropicSettings
  /** Forgets calls and counts and goes back to the settings it started with. */
  reset(): void
  /** Stops listening, cuts every connection and clears every timer. */
  close(): Promise<void>
}

/** As the provider's edge has it. */
const maxBodyBytes = 32 * 1024 * 1024
// Longer than clients keep idle connections, so that a reused one is not cut under a request by chance.
const keepAliveMs = 65_000

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export async function startAnthropic(options: AnthropicOptions = {}): Promise<AnthropicEmulator> {
  const state = createState(options)
  const server = createServer({ keepAliveTimeout: keepAliveMs }, (request, response) => {
    handle(state, request, response).catch(() => {
      // The client went away or the handler broke; either way this connection has no answer to give.
      response.destroy()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: state.url,
    stats: () => state.ledger.stats(),
    control: (patch) => control(state, patch),
    reset: () => state.reset(),
    close: () => close(state, server),
  }
}

async function handle(state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', state.url)
  if (pathname.startsWith('/_emulator/')) return manage(state, request, response, pathname, searchParams)
  state.ledger.countRequest()
  const { headers, method } = request
  const asked = String(headers['anthropic-version'] ?? '')
  const bearer = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? ''
  const exchange: Exchange = {
    request,
    response,
    path: pathname.replace(/^\/v1\/[^/]+\/[^/]+\/anthropic(?=\/)/, ''),
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
  const body = await readJson(request)
  if (body === tooLarge) return turnAway(state, exchange, problem(413))
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

const tooLarge = Symbol('too large')

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBodyBytes) return tooLarge
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    return undefined
  }
}

/** The emulator's own paths, for runs where it is another process. */
async function manage(
  state: State,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  query: URLSearchParams,
): Promise<void> {
  const route = `${request.method} ${path.slice('/_emulator/'.length)}`
  if (route === 'GET stats') {
    const limit = query.get('calls')
    return void (await sendJson(response, 200, state.ledger.stats(limit === null ? undefined : Number(limit))))
  }
  if (route === 'POST reset') {
    state.reset()
    return void (await sendJson(response, 200, { ok: true }))
  }
  if (route !== 'POST control') return void (await sendJson(response, 404, { error: 'Not found.' }))
  try {
    await sendJson(response, 200, control(state, (await readJson(request)) as AnthropicControl))
  } catch (error) {
    await sendJson(response, 400, { error: error instanceof Error ? error.message : String(error) })
  }
}

function control(state: State, patch: AnthropicControl): AnthropicSettings {
  const wrong = problemWithControl(patch) ?? patch.faults?.map((fault) => readFaultSetting(fault).problem).find(Boolean)
  if (wrong) throw new RangeError(wrong)
  return state.control(patch)
}

function close(state: State, server: Server): Promise<void> {
  state.dispose()
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '0' },
      latency: { type: 'string', default: '0' },
      'chunk-delay': { type: 'string', default: '0' },
      'api-key': { type: 'string', multiple: true },
    },
  })
  const emulator = await startAnthropic({
    port: Number(values.port),
    latencyMs: Number(values.latency),
    chunkDelayMs: Number(values['chunk-delay']),
    ...(values['api-key'] ? { apiKeys: values['api-key'] } : {}),
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void emulator.close())
  process.stdout.write(`ready ${emulator.url}\n`)
}

if (import.meta.main) await main()
