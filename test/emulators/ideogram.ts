/**
 * An emulator of Ideogram's HTTP API that keeps to its wire format, counts what it would have billed and misbehaves on
 * request (see `ideogram/faults.ts`). Import `startIdeogram`, or run it as its own process:
 * `node test/emulators/ideogram.ts --port 0 --latency 3000`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { poll } from './ideogram/answers.ts'
import { readFaultSetting } from './ideogram/faults.ts'
import { generate } from './ideogram/generate.ts'
import { serveImage } from './ideogram/images.ts'
import type { IdeogramStats } from './ideogram/ledger.ts'
import { readBody } from './ideogram/requests.ts'
import {
  type IdeogramControl,
  type IdeogramOptions,
  type IdeogramSettings,
  problemWithControl,
} from './ideogram/settings.ts'
import { operations } from './ideogram/spec.ts'
import { createState, type Exchange, type State, sendJson } from './ideogram/state.ts'

export type { GenerationRecord, IdeogramStats } from './ideogram/ledger.ts'
export type { IdeogramControl, IdeogramOptions, IdeogramSettings } from './ideogram/settings.ts'

export interface IdeogramEmulator {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string
  stats(): IdeogramStats
  /** Changes settings and returns all of them. Throws a RangeError for a setting or directive that does not exist. */
  control(patch: IdeogramControl): IdeogramSettings
  /** Forgets generations and counts and goes back to the settings it started with. */
  reset(): void
  /** Stops listening, cuts every connection and clears every timer. */
  close(): Promise<void>
}

const maxControlBytes = 1_000_000
// Longer than clients keep idle connections, so that a reused one is not cut under a request by chance.
const keepAliveMs = 65_000

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export async function startIdeogram(options: IdeogramOptions = {}): Promise<IdeogramEmulator> {
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
  if (path === '/v1/.well-known/jwks.json') return void (await sendJson(response, 200, state.keys.jwks()))
  if (path.startsWith('/api/images/ephemeral/')) return serveImage(state, exchange)
  const operation = operations.get(path)
  const generationId = /^\/v[12]\/generations\/([\w-]+)$/.exec(path)?.[1]
  if (!operation && !generationId) return void (await sendJson(response, 404, { error: 'Not found.' }))
  const wanted = operation ? 'POST' : 'GET'
  if (request.method !== wanted) {
    return void (await sendJson(response, 405, { error: 'Method not allowed.' }, { allow: wanted }))
  }
  const apiKey = request.headers['api-key']
  if (typeof apiKey !== 'string' || apiKey === '' || state.settings.apiKeys?.includes(apiKey) === false) {
    if (operation) state.ledger.countRejected(401)
    return void (await sendJson(response, 401, { error: 'Not authorized.' }))
  }
  const account = state.settings.accounts[apiKey] ?? apiKey
  state.ledger.countKey(apiKey)
  if (operation) await generate(state, exchange, operation, account)
  else await poll(state, exchange, generationId ?? '', account)
}

/** The emulator's own paths, for runs where it is another process. */
async function manage(state: State, { request, response, url }: Exchange): Promise<void> {
  const route = `${request.method} ${url.pathname.slice('/_emulator/'.length)}`
  if (route === 'GET stats') {
    const limit = url.searchParams.get('generations')
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

function control(state: State, patch: IdeogramControl): IdeogramSettings {
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
      'max-inflight': { type: 'string', default: '10' },
      'url-lifetime': { type: 'string', default: '3600000' },
      'api-key': { type: 'string', multiple: true },
      'no-draw': { type: 'boolean', default: false },
    },
  })
  const emulator = await startIdeogram({
    port: Number(values.port),
    latencyMs: Number(values.latency),
    maxInflight: Number(values['max-inflight']),
    urlLifetimeMs: Number(values['url-lifetime']),
    draw: !values['no-draw'],
    ...(values['api-key'] ? { apiKeys: values['api-key'] } : {}),
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void emulator.close())
  process.stdout.write(`ready ${emulator.url}\n`)
}

if (import.meta.main) await main()
