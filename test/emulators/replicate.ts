/**
 * An emulator of Replicate's HTTP API that keeps to its wire format, counts what it would have billed and misbehaves on
 * request: by the directives of `ideogram/faults.ts` in the prompt, of which `reject` is an input that the model turns
 * away, `unsafe` an output that fails the safety check, and `quote_fail` means nothing. Import `startReplicate`, or run
 * it as its own process: `node test/emulators/replicate.ts --port 0 --latency 3000`. The base URL of the API is
 * `${url}/v1`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { readFaultSetting } from './ideogram/faults.ts'
import { readBody } from './ideogram/requests.ts'
import { type Exchange, sendJson } from './ideogram/state.ts'
import { answerWith, cancel, get, list } from './replicate/answers.ts'
import { serveFile } from './replicate/files.ts'
import type { ReplicateStats } from './replicate/ledger.ts'
import { modelBody, modelOf } from './replicate/models.ts'
import { type Caller, create, refuse } from './replicate/predictions.ts'
import { noToken, notFound, problemOf } from './replicate/problems.ts'
import {
  problemWithControl,
  type ReplicateControl,
  type ReplicateOptions,
  type ReplicateSettings,
} from './replicate/settings.ts'
import { createState, type State } from './replicate/state.ts'

export type { PredictionRecord, ReplicateStats } from './replicate/ledger.ts'
export type { ReplicateControl, ReplicateOptions, ReplicateSettings } from './replicate/settings.ts'

export interface ReplicateEmulator {
  /** `http://127.0.0.1:PORT`, without the `/v1` of the API. */
  readonly url: string
  stats(): ReplicateStats
  /** Changes settings and returns all of them. Throws a RangeError for a setting or directive that does not exist. */
  control(patch: ReplicateControl): ReplicateSettings
  /** Forgets predictions and counts and goes back to the settings it started with. */
  reset(): void
  /** Stops listening, cuts every connection and clears every timer. */
  close(): Promise<void>
}

const maxControlBytes = 1_000_000
// Longer than clients keep idle connections, so that a reused one is not cut under a request by chance.
const keepAliveMs = 65_000

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export async function startReplicate(options: ReplicateOptions = {}): Promise<ReplicateEmulator> {
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
  const exchange = { request, response, url: new URL(request.url ?? '/', state.url) }
  const path = exchange.url.pathname
  if (path.startsWith('/_emulator/')) return manage(state, exchange)
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

/** The emulator's own paths, for runs where it is another process. */
async function manage(state: State, { request, response, url }: Exchange): Promise<void> {
  const route = `${request.method} ${url.pathname.slice('/_emulator/'.length)}`
  if (route === 'GET stats') {
    const limit = url.searchParams.get('predictions')
    return void (await sendJson(response, 200, state.ledger.stats(limit === null ? undefined : Number(limit))))
  }
  if (route === 'POST reset') {
    state.reset()
    return void (await sendJson(response, 200, { ok: true }))
  }
  if (route !== 'POST control') return void (await sendJson(response, 404, { error: 'Not found.' }))
  const body = await readBody(request, maxControlBytes)
  try {
    await sendJson(response, 200, control(state, JSON.parse(body?.toString('utf8') ?? '')))
  } catch (error) {
    await sendJson(response, 400, { error: error instanceof Error ? error.message : String(error) })
  }
}

function control(state: State, patch: ReplicateControl): ReplicateSettings {
  const problem =
    problemWithControl(patch) ?? patch.faults?.map((fault) => readFaultSetting(fault).problem).find(Boolean)
  if (problem) throw new RangeError(problem)
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
      'creates-per-minute': { type: 'string', default: '600' },
      'url-lifetime': { type: 'string', default: '3600000' },
      'api-key': { type: 'string', multiple: true },
      'no-draw': { type: 'boolean', default: false },
    },
  })
  const emulator = await startReplicate({
    port: Number(values.port),
    latencyMs: Number(values.latency),
    createsPerMinute: Number(values['creates-per-minute']),
    urlLifetimeMs: Number(values['url-lifetime']),
    draw: !values['no-draw'],
    ...(values['api-key'] ? { apiKeys: values['api-key'] } : {}),
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void emulator.close())
  process.stdout.write(`ready ${emulator.url}\n`)
}

if (import.meta.main) await main()
