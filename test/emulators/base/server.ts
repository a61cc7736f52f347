import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { CommonSettings, ControlOf } from './settings.ts'
import type { EmulatorState } from './state.ts'
import { type Exchange, readBody, sendJson } from './wire.ts'

/** A running emulator, to whoever started it. */
export interface Emulator<Stats, Own extends CommonSettings, Told extends ControlOf<Own>> {
  /** `http://127.0.0.1:PORT`, without the base path of the provider's API. */
  readonly url: string
  stats(): Stats
  /** Changes settings and returns all of them. Throws a RangeError for a setting or directive that does not exist. */
  control(patch: Told): Own
  /** Forgets what was asked and counted and goes back to the settings it started with. */
  reset(): void
  /** Stops listening, cuts every connection and clears every timer. */
  close(): Promise<void>
}

/** As much of a state as the emulator's own paths need. */
interface Governed {
  url: string
  ledger: { stats(limit?: number): unknown }
  control(patch: unknown): unknown
  reset(): void
}

/** The provider's own paths, and what the list in its stats is called. */
interface Service {
  handle(exchange: Exchange): Promise<void>
  listed: string
}

const maxControlBytes = 1_000_000
// Longer than clients keep idle connections, so that a reused one is not cut under a request by chance.
const keepAliveMs = 65_000

/** Starts an emulator on 127.0.0.1. Rejects when the port is taken. */
export async function serve<Stats, Own extends CommonSettings, Told extends ControlOf<Own>>(
  state: EmulatorState<Own, Told> & { ledger: { stats(): Stats } },
  port: number | undefined,
  service: Service,
): Promise<Emulator<Stats, Own, Told>> {
  const server = createServer({ keepAliveTimeout: keepAliveMs }, (request, response) => {
    receive(state, service, request, response).catch(() => {
      // The client went away or the handler broke; either way this connection has no answer to give.
      response.destroy()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port ?? 0, '127.0.0.1', resolve)
  })
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: state.url,
    stats: () => state.ledger.stats(),
    control: (patch) => state.control(patch),
    reset: () => state.reset(),
    close: () => close(state, server),
  }
}

async function receive(
  state: Governed,
  { handle, listed }: Service,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const exchange = { request, response, url: new URL(request.url ?? '/', state.url) }
  if (exchange.url.pathname.startsWith('/_emulator/')) return manage(state, exchange, listed)
  await handle(exchange)
}

/** The emulator's own paths, for runs where it is another process. */
async function manage(state: Governed, { request, response, url }: Exchange, listed: string): Promise<void> {
  const route = `${request.method} ${url.pathname.slice('/_emulator/'.length)}`
  if (route === 'GET stats') {
    const limit = url.searchParams.get(listed)
    return void (await sendJson(response, 200, state.ledger.stats(limit === null ? undefined : Number(limit))))
  }
  if (route === 'POST reset') {
    state.reset()
    return void (await sendJson(response, 200, { ok: true }))
  }
  if (route !== 'POST control') return void (await sendJson(response, 404, { error: 'Not found.' }))
  const body = await readBody(request, maxControlBytes)
  try {
    await sendJson(response, 200, state.control(JSON.parse(body?.toString('utf8') ?? '')))
  } catch (error) {
    await sendJson(response, 400, { error: error instanceof Error ? error.message : String(error) })
  }
}

function close(state: { dispose(): void }, server: Server): Promise<void> {
  state.dispose()
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
