/**
 * An emulator of Ideogram's HTTP API that keeps to its wire format, counts what it would have billed and misbehaves on
 * request (see `ideogram/faults.ts`). Import `startIdeogram`, or run it as its own process:
 * `node test/emulators/ideogram.ts --port 0 --latency 3000`.
 */
import { parseArgs } from 'node:util'
import { announce, commonFlags, optionsOf } from './base/process.ts'
import { type Emulator, serve } from './base/server.ts'
import { type Exchange, sendJson } from './base/wire.ts'
import { poll } from './ideogram/answers.ts'
import { generate } from './ideogram/generate.ts'
import { serveImage } from './ideogram/images.ts'
import type { IdeogramStats } from './ideogram/ledger.ts'
import type { IdeogramControl, IdeogramOptions, IdeogramSettings } from './ideogram/settings.ts'
import { operations } from './ideogram/spec.ts'
import { createState, type State } from './ideogram/state.ts'

export type { GenerationRecord, IdeogramStats } from './ideogram/ledger.ts'
export type { IdeogramControl, IdeogramOptions, IdeogramSettings } from './ideogram/settings.ts'

export type IdeogramEmulator = Emulator<IdeogramStats, IdeogramSettings, IdeogramControl>

/** Starts the emulator on 127.0.0.1. Rejects when the port is taken. */
export function startIdeogram(options: IdeogramOptions = {}): Promise<IdeogramEmulator> {
  const state = createState(options)
  return serve(state, options.port, { handle: (exchange) => handle(state, exchange), listed: 'generations' })
}

async function handle(state: State, exchange: Exchange): Promise<void> {
  const { request, response } = exchange
  const path = exchange.url.pathname
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

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ...commonFlags,
      'max-inflight': { type: 'string', default: '10' },
      'url-lifetime': { type: 'string', default: '3600000' },
      'no-draw': { type: 'boolean', default: false },
    },
  })
  const maxInflight = Number(values['max-inflight'])
  const urlLifetimeMs = Number(values['url-lifetime'])
  announce(await startIdeogram({ ...optionsOf(values), maxInflight, urlLifetimeMs, draw: !values['no-draw'] }))
}

if (import.meta.main) await main()
