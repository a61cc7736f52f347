/**
 * An emulator of Replicate's HTTP API that keeps to its wire format, counts what it would have billed and misbehaves on
 * request: by the directives of `ideogram/faults.ts` in the prompt, of which `reject` is an input that the model turns
 * away, `unsafe` an output that fails the safety check, and `quote_fail` means nothing. Import `startReplicate`, or run
 * it as its own process: `node test/emulators/replicate.ts --port 0 --latency 3000`. The base URL of the API is
 * `${url}/v1`.
 */
import { parseArgs } from 'node:util'
import { announce, commonFlags, optionsOf } from './base/process.ts'
import { type Emulator, serve } from './base/server.ts'
import { type Exchange, sendJson } from './base/wire.ts'
import { answerWith, cancel, get, list } from './replicate/answers.ts'
import { serveFile } from './replicate/files.ts'
import type { ReplicateStats } from './replicate/ledger.ts'
import { modelBody, modelOf } from './replicate/models.ts'
import { type Caller, create, refuse } from './replicate/predictions.ts'
import { noToken, notFound, problemOf } from './replicate/problems.ts'
import type { ReplicateControl, ReplicateOptions, ReplicateSettings } from './replicate/settings.ts'
import { createState, type State } from './replicate/state.ts'

export type { PredictionRecord, ReplicateStats } from './replicate/ledger.ts'
export type { ReplicateControl, ReplicateOptions, ReplicateSettings } from './replicate/settings.ts'

export type ReplicateEmulator = Emulator<ReplicateStats, ReplicateSettings, ReplicateControl>

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export function startReplicate(options: ReplicateOptions = {}): Promise<ReplicateEmulator> {
  const state = createState(options)
  return serve(state, options.port, { handle: (exchange) => handle(state, exchange), listed: 'predictions' })
}

async function handle(state: State, exchange: Exchange): Promise<void> {
  const { request, response } = exchange
  const path = exchange.url.pathname
  state.ledger.totals.requests += 1
  if (path.startsWith('/delivery/')) return serveFile(state, exchange)
  const route = `${request.method} ${path.replace(/^\/v1(?=\/)/, '')}`
  const isCreate = /^POST \/(models\/[^/]+\/[^/]+\/)?predictions$/.test(route)
  const apiKey = /^(?:Bearer|Token) (.+)$/.exec(request.headers.authorization ?? '')?.[1]
  if (apiKey === undefined || state.settings.apiKeys?.includes(apiKey) === false) {
    if (isCreate) state.ledger.countRejected(401)
    const { body } = apiKey === undefined ? noToken : problemOf(401)
    return void (await sendJson(response, 401, body))
  }
  const { createsPerMinute, createsBurst, requestsPerMinute } = state.settings
  const { allowed, headers, resetSeconds } = isCreate
    ? state.limiter.take(`create ${apiKey}`, createsPerMinute, createsBurst, state.now())
    : state.limiter.take(apiKey, requestsPerMinute, requestsPerMinute, state.now())
  const caller = { exchange, apiKey, headers }
  if (!allowed) {
    const { status, body } = problemOf(429, resetSeconds)
    return isCreate ? refuse(state, caller, status, body) : answerWith(exchange, headers)(status, body)
  }
  await dispatch(state, caller, route)
}

async function dispatch(state: State, caller: Caller, route: string): Promise<void> {
  const { exchange, apiKey, headers } = caller
  const answer = answerWith(exchange, headers)
  if (route === 'POST /predictions') return create(state, caller, undefined)
  if (route === 'GET /predictions') return list(state, exchange, answer, apiKey)
  if (route === 'GET /account') return answer(200, { type: 'user', username: 'emulated', name: 'Emulated' })
  if (route === 'GET /webhooks/default/secret') return answer(200, { key: state.webhookSecret })
  const ofPrediction = /^(GET|POST) \/predictions\/([\w-]+)(\/cancel)?$/.exec(route)
  if (ofPrediction?.[1] === 'GET' && !ofPrediction[3]) {
    return get(state, exchange, answer, ofPrediction[2] ?? '', apiKey)
  }
  if (ofPrediction?.[1] === 'POST' && ofPrediction[3]) return cancel(state, answer, ofPrediction[2] ?? '', apiKey)
  const ofModel = /^(GET|POST) \/models\/([^/]+\/[^/]+?)(\/predictions)?$/.exec(route)
  const model = modelOf(ofModel?.[2] ?? '')
  if (model && ofModel?.[1] === 'GET' && !ofModel[3]) return answer(200, modelBody(model))
  if (model && ofModel?.[1] === 'POST' && ofModel[3]) return create(state, caller, model)
  return answer(notFound.status, notFound.body)
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ...commonFlags,
      'creates-per-minute': { type: 'string', default: '600' },
      'url-lifetime': { type: 'string', default: '3600000' },
      'no-draw': { type: 'boolean', default: false },
    },
  })
  const createsPerMinute = Number(values['creates-per-minute'])
  const urlLifetimeMs = Number(values['url-lifetime'])
  announce(await startReplicate({ ...optionsOf(values), createsPerMinute, urlLifetimeMs, draw: !values['no-draw'] }))
}

if (import.meta.main) await main()
