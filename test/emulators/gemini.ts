/**
 * An emulator of Gemini's HTTP API (generateContent, streamGenerateContent, embeddings, images, models), `v1` and `v1beta`,
 * that keeps to its wire format, counts what it would have billed and misbehaves on request (see `gemini/directives.ts`).
 * Under `/v1/{account}/{gateway}/google-ai-studio` it answers as through Cloudflare AI Gateway. Import `startGemini`, or run
 * it as its own process: `node test/emulators/gemini.ts --port 0`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import type { GenerateBody } from './gemini/body.ts'
import { readFaultSetting } from './gemini/directives.ts'
import { type BatchBody, type EmbedBody, embed } from './gemini/embeddings.ts'
import { generate } from './gemini/generate.ts'
import type { GeminiStats } from './gemini/ledger.ts'
import { errorBody, keyProblem, problem, turnAway } from './gemini/problems.ts'
import { promptTokensOf } from './gemini/reply.ts'
import { type GeminiControl, type GeminiOptions, type GeminiSettings, problemWithControl } from './gemini/settings.ts'
import { problemWith, requests } from './gemini/spec.ts'
import { createState, type Exchange, type State } from './gemini/state.ts'
import { sendJson } from './gemini/wire.ts'

export type { CallRecord, GeminiStats } from './gemini/ledger.ts'
export type { GeminiControl, GeminiOptions, GeminiSettings } from './gemini/settings.ts'

export interface GeminiEmulator {
  /** `http://127.0.0.1:PORT`, without a version. */
  readonly url: string
  stats(): GeminiStats
  /** Changes settings and returns all of them. Throws a RangeError for a setting or directive that does not exist. */
  control(patch: GeminiControl): GeminiSettings
  /** Forgets calls and counts and goes back to the settings it started with. */
  reset(): void
  /** Stops listening, cuts every connection and clears every timer. */
  close(): Promise<void>
}

const maxBodyBytes = 64 * 1024 * 1024
// Longer than clients keep idle connections, so that a reused one is not cut under a request by chance.
const keepAliveMs = 65_000

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export async function startGemini(options: GeminiOptions = {}): Promise<GeminiEmulator> {
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

const path = /^(?:\/v1\/[^/]+\/[^/]+\/google-ai-studio)?\/(v1|v1beta)\/models(?:\/([^/:]+)(?::(\w+))?)?$/

async function handle(state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', state.url)
  if (pathname.startsWith('/_emulator/')) return manage(state, request, response, pathname, searchParams)
  state.ledger.countRequest()
  const [, apiVersion = '', model = '', method = ''] = path.exec(pathname) ?? []
  const given = request.headers['x-goog-api-key'] ?? searchParams.get('key') ?? ''
  const apiKey = Array.isArray(given) ? (given[0] ?? '') : given
  const exchange: Exchange = {
    request,
    response,
    apiVersion,
    model: decodeURIComponent(model),
    method,
    apiKey,
    sse: searchParams.get('alt') === 'sse',
  }
  if (apiVersion === '') return turnAway(state, exchange, problem(404, 'Not Found'))
  if (apiKey === '') return turnAway(state, exchange, problem(403, "Method doesn't allow unregistered callers."))
  if (state.settings.apiKeys?.includes(apiKey) === false) return turnAway(state, exchange, keyProblem())
  if (request.method === 'GET' && method === '') return models(exchange)
  const validate = Object.hasOwn(requests, method) ? requests[method as keyof typeof requests] : undefined
  if (!validate || request.method !== 'POST') return turnAway(state, exchange, problem(404, 'Not Found'))
  const body = await readJson(request)
  if (body === undefined) return turnAway(state, exchange, problem(400, 'Invalid JSON payload received.'))
  const wrong = state.settings.validate ? problemWith(validate, { ...filled(exchange), ...body }) : undefined
  if (wrong) return turnAway(state, exchange, problem(400, wrong))
  if (method === 'countTokens') {
    const inner = (body as { generateContentRequest?: GenerateBody }).generateContentRequest ?? (body as GenerateBody)
    return sendJson(response, 200, { totalTokens: promptTokensOf(inner) })
  }
  if (method === 'generateContent' || method === 'streamGenerateContent')
    return generate(state, exchange, body as GenerateBody)
  return embed(state, exchange, body as EmbedBody | BatchBody)
}

/** The address names the model where the body does not. */
const filled = ({ model, method }: Exchange): object =>
  method === 'generateContent' || method === 'streamGenerateContent' ? { model: `models/${model}` } : {}

const listed = ['gemini-3.8-flash', 'gemini-2.5-flash', 'gemini-2.5-flash-image', 'gemini-embedding-001']

async function models({ model: id, response }: Exchange): Promise<void> {
  const entry = (name: string) => ({
    name: `models/${name}`,
    baseModelId: name,
    version: '001',
    displayName: name,
    inputTokenLimit: 1_048_576,
    outputTokenLimit: 65_536,
    supportedGenerationMethods: /embedding/.test(name) ? ['embedContent'] : ['generateContent', 'countTokens'],
  })
  if (id === '') return sendJson(response, 200, { models: listed.map(entry) })
  if (listed.includes(id)) return sendJson(response, 200, entry(id))
  await sendJson(response, 404, errorBody(problem(404, `Model is not found: models/${id} for api version v1`)))
}

async function readJson(request: IncomingMessage): Promise<object | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBodyBytes) return undefined
    chunks.push(chunk)
  }
  try {
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    return typeof body === 'object' && body !== null ? body : undefined
  } catch {
    return undefined
  }
}

/** The emulator's own paths, for runs where it is another process. */
async function manage(
  state: State,
  request: IncomingMessage,
  response: ServerResponse,
  pathname: string,
  query: URLSearchParams,
): Promise<void> {
  const route = `${request.method} ${pathname.slice('/_emulator/'.length)}`
  if (route === 'GET stats') {
    const limit = query.get('calls')
    return sendJson(response, 200, state.ledger.stats(limit === null ? undefined : Number(limit)))
  }
  if (route === 'POST reset') {
    state.reset()
    return sendJson(response, 200, { ok: true })
  }
  if (route !== 'POST control') return sendJson(response, 404, { error: 'Not found.' })
  try {
    await sendJson(response, 200, control(state, (await readJson(request)) as GeminiControl))
  } catch (error) {
    await sendJson(response, 400, { error: error instanceof Error ? error.message : String(error) })
  }
}

function control(state: State, patch: GeminiControl): GeminiSettings {
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
      'no-draw': { type: 'boolean', default: false },
    },
  })
  const emulator = await startGemini({
    port: Number(values.port),
    latencyMs: Number(values.latency),
    chunkDelayMs: Number(values['chunk-delay']),
    draw: !values['no-draw'],
    ...(values['api-key'] ? { apiKeys: values['api-key'] } : {}),
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void emulator.close())
  process.stdout.write(`ready ${emulator.url}\n`)
}

if (import.meta.main) await main()
