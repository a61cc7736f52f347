/**
 * An emulator of OpenAI's HTTP API (chat completions, embeddings, images, models) that keeps to its wire format, counts what it
 * would have billed and misbehaves on request (see `openai/directives.ts`). With `server` it takes on the manners of Ollama,
 * vLLM, llama.cpp or Workers AI; under `/v1/{account}/{gateway}/openai` it answers as through Cloudflare AI Gateway. Import
 * `startOpenAi`, or run it as its own process: `node test/emulators/openai.ts --port 0 --server vllm`.
 */
import { parseArgs } from 'node:util'
import { announce, commonFlags, optionsOf } from './base/process.ts'
import { type Emulator, serve } from './base/server.ts'
import { type Exchange as AnyExchange, parseJson, readBody, sendJson } from './base/wire.ts'
import { chat } from './openai/chat.ts'
import { type EmbedBody, embed } from './openai/embeddings.ts'
import { generateImages, type ImageBody } from './openai/images.ts'
import type { OpenAiStats } from './openai/ledger.ts'
import { type NativeBody, nativeChat, nativeEmbed, nativeTags } from './openai/native.ts'
import { errorBody, problem, turnAway } from './openai/problems.ts'
import type { ChatBody } from './openai/reply.ts'
import { type OpenAiControl, type OpenAiOptions, type OpenAiSettings, servers } from './openai/settings.ts'
import { problemWith, requests } from './openai/spec.ts'
import { createState, type Exchange, type State } from './openai/state.ts'

export type { CallRecord, OpenAiStats } from './openai/ledger.ts'
export type { OpenAiControl, OpenAiOptions, OpenAiSettings } from './openai/settings.ts'

export type OpenAiEmulator = Emulator<OpenAiStats, OpenAiSettings, OpenAiControl>

const maxBodyBytes = 64 * 1024 * 1024

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export function startOpenAi(options: OpenAiOptions = {}): Promise<OpenAiEmulator> {
  const state = createState(options)
  return serve(state, options.port, { handle: (exchange) => handle(state, exchange), listed: 'calls' })
}

const bases = [
  { pattern: /^\/v1\/[^/]+\/[^/]+\/(?:openai|workers-ai\/v1)(\/.+)$/, gateway: true },
  { pattern: /^\/client\/v4\/accounts\/[0-9a-f]{32}\/ai\/v1(\/.+)$/, gateway: false },
  { pattern: /^\/v1(\/.+)$/, gateway: false },
]

async function handle(state: State, incoming: AnyExchange): Promise<void> {
  state.ledger.countRequest()
  const { request, url } = incoming
  const { pathname } = url
  const base = bases.find(({ pattern }) => pattern.test(pathname))
  const exchange: Exchange = {
    ...incoming,
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
  const body = parseJson(await readBody(request, maxBodyBytes))
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
  const { pathname } = exchange.url
  if (pathname === '/api/tags') return nativeTags(exchange)
  const body = parseJson(await readBody(exchange.request, maxBodyBytes)) as NativeBody | undefined
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

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ...commonFlags,
      server: { type: 'string', default: 'openai' },
      'chunk-delay': { type: 'string', default: '0' },
      'no-draw': { type: 'boolean', default: false },
    },
  })
  const server = servers.find((known) => known === values.server)
  if (!server) throw new RangeError(`--server is one of ${servers.join(', ')}`)
  const chunkDelayMs = Number(values['chunk-delay'])
  announce(await startOpenAi({ ...optionsOf(values), server, chunkDelayMs, draw: !values['no-draw'] }))
}

if (import.meta.main) await main()
