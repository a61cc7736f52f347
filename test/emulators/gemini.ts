/**
 * An emulator of Gemini's HTTP API (generateContent, streamGenerateContent, embeddings, images, models), `v1` and `v1beta`,
 * that keeps to its wire format, counts what it would have billed and misbehaves on request (see `gemini/directives.ts`).
 * Under `/v1/{account}/{gateway}/google-ai-studio` it answers as through Cloudflare AI Gateway. Import `startGemini`, or run
 * it as its own process: `node test/emulators/gemini.ts --port 0`.
 */
import { parseArgs } from 'node:util'
import { announce, commonFlags, optionsOf } from './base/process.ts'
import { type Emulator, serve } from './base/server.ts'
import { type Exchange as AnyExchange, parseJson, readBody } from './base/wire.ts'
import type { GenerateBody } from './gemini/body.ts'
import { type BatchBody, type EmbedBody, embed } from './gemini/embeddings.ts'
import { generate } from './gemini/generate.ts'
import type { GeminiStats } from './gemini/ledger.ts'
import { errorBody, keyProblem, problem, turnAway } from './gemini/problems.ts'
import { promptTokensOf } from './gemini/reply.ts'
import type { GeminiControl, GeminiOptions, GeminiSettings } from './gemini/settings.ts'
import { problemWith, requests } from './gemini/spec.ts'
import { createState, type Exchange, type State } from './gemini/state.ts'
import { sendJson } from './gemini/wire.ts'

export type { CallRecord, GeminiStats } from './gemini/ledger.ts'
export type { GeminiControl, GeminiOptions, GeminiSettings } from './gemini/settings.ts'

export type GeminiEmulator = Emulator<GeminiStats, GeminiSettings, GeminiControl>

const maxBodyBytes = 64 * 1024 * 1024

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export function startGemini(options: GeminiOptions = {}): Promise<GeminiEmulator> {
  const state = createState(options)
  return serve(state, options.port, { handle: (exchange) => handle(state, exchange), listed: 'calls' })
}

const path = /^(?:\/v1\/[^/]+\/[^/]+\/google-ai-studio)?\/(v1|v1beta)\/models(?:\/([^/:]+)(?::(\w+))?)?$/

async function handle(state: State, incoming: AnyExchange): Promise<void> {
  state.ledger.countRequest()
  const { request, response, url } = incoming
  const [, apiVersion = '', model = '', method = ''] = path.exec(url.pathname) ?? []
  const given = request.headers['x-goog-api-key'] ?? url.searchParams.get('key') ?? ''
  const apiKey = Array.isArray(given) ? (given[0] ?? '') : given
  const exchange: Exchange = {
    ...incoming,
    apiVersion,
    model: decodeURIComponent(model),
    method,
    apiKey,
    sse: url.searchParams.get('alt') === 'sse',
  }
  if (apiVersion === '') return turnAway(state, exchange, problem(404, 'Not Found'))
  if (apiKey === '') return turnAway(state, exchange, problem(403, "Method doesn't allow unregistered callers."))
  if (state.settings.apiKeys?.includes(apiKey) === false) return turnAway(state, exchange, keyProblem())
  if (request.method === 'GET' && method === '') return models(exchange)
  const validate = Object.hasOwn(requests, method) ? requests[method as keyof typeof requests] : undefined
  if (!validate || request.method !== 'POST') return turnAway(state, exchange, problem(404, 'Not Found'))
  const body = parseJson(await readBody(request, maxBodyBytes))
  if (typeof body !== 'object' || body === null)
    return turnAway(state, exchange, problem(400, 'Invalid JSON payload received.'))
  const wrong = state.settings.validate ? problemWith(validate, { ...filled(exchange), ...body }) : undefined
  if (wrong) return turnAway(state, exchange, problem(400, wrong))
  if (method === 'countTokens') {
    const inner = (body as { generateContentRequest?: GenerateBody }).generateContentRequest ?? (body as GenerateBody)
    return void (await sendJson(response, 200, { totalTokens: promptTokensOf(inner) }))
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
  if (id === '') return void (await sendJson(response, 200, { models: listed.map(entry) }))
  if (listed.includes(id)) return void (await sendJson(response, 200, entry(id)))
  await sendJson(response, 404, errorBody(problem(404, `Model is not found: models/${id} for api version v1`)))
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ...commonFlags,
      'chunk-delay': { type: 'string', default: '0' },
      'no-draw': { type: 'boolean', default: false },
    },
  })
  const chunkDelayMs = Number(values['chunk-delay'])
  announce(await startGemini({ ...optionsOf(values), chunkDelayMs, draw: !values['no-draw'] }))
}

if (import.meta.main) await main()
