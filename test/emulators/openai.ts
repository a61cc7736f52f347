/**
 * An emulator of OpenAI's HTTP API (chat completions, embeddings, images, models) that keeps to its wire format, counts what it
 * would have billed and misbehaves on request (see `openai/directives.ts`). With `server` it takes on the manners of Ollama,
 * vLLM, llama.cpp or Workers AI; under `/v1/{account}/{gateway}/openai` it answers as through Cloudflare AI Gateway. Import
 * `startOpenAi`, or run it as its own process: `node test/emulators/openai.ts --port 0 --server vllm`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { chat } from './openai/chat.ts'
import { readFaultSetting } from './openai/directives.ts'
import { type EmbedBody, embed } from './openai/embeddings.ts'
import { generateImages, type ImageBody } from './openai/images.ts'
import type { OpenAiStats } from './openai/ledger.ts'
import { type NativeBody, nativeChat, nativeEmbed, nativeTags } from './openai/native.ts'
import { errorBody, problem, turnAway } from './openai/problems.ts'
import type { ChatBody } from './openai/reply.ts'
import {
  type OpenAiControl,
  type OpenAiOptions,
  type OpenAiSettings,
  problemWithControl,
  servers,
} from './openai/settings.ts'
import { problemWith, requests } from './openai/spec.ts'
import { createState, type Exchange, type State, sendJson } from './openai/state.ts'

export type { CallRecord, OpenAiStats } from './openai/ledger.ts'
export type { OpenAiControl, OpenAiOptions, OpenAiSettings } from './openai/settings.ts'

export interface OpenAiEmulator {
  /** `http://127.0.0.1:PORT`; the base of OpenAI's paths is `/v1` below it. */
  readonly url: string
  stats(): OpenAiStats
  /** Changes settings and returns all of them. Throws a RangeError for a setting or directive that does not exist. */
  control(patch: OpenAiControl): OpenAiSettings
  /** Forgets calls and counts and goes back to the settings it started with. */
  reset(): void
  /** Stops listening, cuts every connection and clears every timer. */
  close(): Promise<void>
}

const maxBodyBytes = 64 * 1024 * 1024
// Longer than clients keep idle connections, so that a reused one is not cut under a request by chance.
const keepAliveMs = 65_000

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export async function startOpenAi(options: OpenAiOptions = {}): Promise<OpenAiEmulator> {
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

const bases = [
  { pattern: /^\/v1\/[^/]+\/[^/]+\/(?:openai|workers-ai\/v1)(\/.+)$/, gateway: true },
  { pattern: /^\/client\/v4\/accounts\/[0-9a-f]{32}\/ai\/v1(\/.+)$/, gateway: false },
  { pattern: /^\/v1(\/.+)$/, gateway: false },
]

async function handle(state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', state.url)
  if (pathname.startsWith('/_emulator/')) return manage(state, request, response, pathname, searchParams)
  state.ledger.countRequest()
  const base = bases.find(({ pattern }) => pattern.test(pathname))
  const exchange: Exchange = {
    request,
    response,
    path: base?.pattern.exec(pathname)?.[1] ?? '',
    apiKey: /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '',
    gateway: base?.gateway ?? false,
  }
  const { settings } = state
  if (settings.server === 'ollama' && pathname.startsWith('/api/')) return native(state, { ...exchange, native: true })
  const ownServer = settings.server !== 'openai' && settings.server !== 'workers-ai' && settings.apiKeys === null
  if (!ownServer && (exchange.apiKey === '' || settings.apiKeys?.includes(exchange.apiKey) === false))
    return turnAway(state, exchange, problem(401, undefined, 'Incorrect API key provided.'))
  if (request.method === 'GET' && exchange.path.startsWith('/models')) return models(state, exchange)
  const path = exchange.path as keyof typeof requests
  if (!requests[path])
    return turnAway(state, exchange, problem(404, null, `Invalid URL (${request.method} ${pathname})`))
  if (request.method !== 'POST') return turnAway(state, exchange, problem(405, null, 'Not allowed.'))
  const body = await readJson(request)
  if (body === undefined)
    return turnAway(state, exchange, problem(400, null, 'We could not parse the JSON body of your request.'))
  // Servers of one's own take fields that the reference does not have.
  const wrong = settings.validate && settings.server === 'openai' ? problemWith(requests[path], body) : undefined
  if (wrong) return turnAway(state, exchange, problem(400, null, wrong.message, wrong.param))
  if (path === '/chat/completions') return chat(state, exchange, body as ChatBody)
  if (path === '/embeddings') return embed(state, exchange, body as EmbedBody)
  return generateImages(state, exchange, body as ImageBody)
}

/** Ollama's own API, which its own client speaks (https://docs.ollama.com/api). */
async function native(state: State, exchange: Exchange): Promise<void> {
  const { pathname } = new URL(exchange.request.url ?? '/', state.url)
  if (pathname === '/api/tags') return nativeTags(exchange)
  const body = (await readJson(exchange.request)) as NativeBody | undefined
  if (body === undefined || typeof body.model !== 'string')
    return turnAway(state, exchange, problem(400, null, 'model is required'))
  if (pathname === '/api/chat') return nativeChat(state, exchange, body)
  if (pathname === '/api/embed') return nativeEmbed(state, exchange, body)
  return turnAway(state, exchange, problem(404, null, '404 page not found'))
}

const listed = ['gpt-5-mini', 'gpt-4o-mini', 'text-embedding-3-small', 'gpt-image-2']

async function models(state: State, { path, response }: Exchange): Promise<void> {
  const model = (id: string) => ({ id, object: 'model', created: 1_700_000_000, owned_by: 'system' })
  if (path === '/models') return void (await sendJson(response, 200, { object: 'list', data: listed.map(model) }))
  const id = decodeURIComponent(path.slice('/models/'.length))
  if (listed.includes(id)) return void (await sendJson(response, 200, model(id)))
  await sendJson(response, 404, errorBody(state.settings.server, problem(404, undefined, 'No such model.', 'model')))
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBodyBytes) return undefined
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
    await sendJson(response, 200, control(state, (await readJson(request)) as OpenAiControl))
  } catch (error) {
    await sendJson(response, 400, { error: error instanceof Error ? error.message : String(error) })
  }
}

function control(state: State, patch: OpenAiControl): OpenAiSettings {
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
      server: { type: 'string', default: 'openai' },
      latency: { type: 'string', default: '0' },
      'chunk-delay': { type: 'string', default: '0' },
      'api-key': { type: 'string', multiple: true },
      'no-draw': { type: 'boolean', default: false },
    },
  })
  const server = servers.find((known) => known === values.server)
  if (!server) throw new RangeError(`--server is one of ${servers.join(', ')}`)
  const emulator = await startOpenAi({
    port: Number(values.port),
    server,
    latencyMs: Number(values.latency),
    chunkDelayMs: Number(values['chunk-delay']),
    draw: !values['no-draw'],
    ...(values['api-key'] ? { apiKeys: values['api-key'] } : {}),
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void emulator.close())
  process.stdout.write(`ready ${emulator.url}\n`)
}

if (import.meta.main) await main()
