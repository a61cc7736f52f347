/**
 * An emulator of Cloudflare AI Gateway (https://developers.cloudflare.com/ai-gateway/) in front of other emulators: it forwards
 * what comes under `/v1/{account}/{gateway}/{provider}`, adds its headers, keeps answers in a cache where it is set to, tries
 * again where the request does not say how often, and has errors of its own. Import `startAiGateway`, or run it as its own
 * process: `node test/emulators/ai-gateway.ts --port 0 --provider openai=http://127.0.0.1:9103/v1`.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'

export type AiGatewaySettings = {
  /** Asked for in `cf-aig-authorization`; empty lets everybody through. */
  token: string
  /** Keys that the gateway brings itself, as the whole `authorization` header by provider. */
  keys: Record<string, string>
  /** Whether good answers are kept, and given again to the same request. */
  cache: boolean
  /** How often a request that does not say is sent on while the provider fails. */
  attempts: number
  /** Numbers of its own errors, given to the next requests instead of an answer: 2001, 2003, 2005, 2009, 2016, 2017. */
  faults: number[]
}

export type AiGatewayOptions = Partial<AiGatewaySettings> & {
  /** 0 (the default) takes a free port. */
  port?: number
  account?: string
  gateway?: string
  /** Where each provider's paths begin, by its name in the gateway's addresses. */
  providers: Record<string, string>
}

/** One request as it came, whatever became of it. */
export type Passed = {
  provider: string
  method: string
  path: string
  /** Those of the gateway, `cf-aig-…`. */
  headers: Record<string, string>
  /** How often it was sent on. */
  sent: number
  status: number
  cached: boolean
}

export interface AiGatewayEmulator {
  /** `http://127.0.0.1:PORT`: the origin of a route. */
  readonly url: string
  readonly account: string
  readonly gateway: string
  readonly passed: Passed[]
  control(patch: Partial<AiGatewaySettings>): void
  close(): Promise<void>
}

type Kept = { status: number; headers: Headers; body: Buffer }
type State = {
  options: AiGatewayOptions & { account: string; gateway: string }
  settings: AiGatewaySettings
  passed: Passed[]
  cache: Map<string, Kept>
}

const ERRORS: Record<number, { status: number; message: string }> = {
  2001: { status: 400, message: 'Please configure AI Gateway in the Cloudflare dashboard' },
  2003: { status: 429, message: 'Rate limited' },
  2005: { status: 400, message: 'Failed to get response from provider' },
  2008: { status: 400, message: 'Invalid provider' },
  2009: { status: 401, message: 'Unauthorized' },
  2016: { status: 424, message: 'Prompt blocked due to security configurations' },
  2017: { status: 424, message: 'Response blocked due to security configurations' },
}

/** Starts the gateway on 127.0.0.1. Rejects when the port is taken. */
export async function startAiGateway(options: AiGatewayOptions): Promise<AiGatewayEmulator> {
  const { port = 0, account = '0123456789abcdef0123456789abcdef', gateway = 'main' } = options
  const { token = '', keys = {}, cache = false, attempts = 3, faults = [] } = options
  const settings = { token, keys, cache, attempts, faults: [...faults] }
  const state: State = { options: { ...options, account, gateway }, settings, passed: [], cache: new Map() }
  const server = createServer((request, response) => {
    handle(state, request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    account,
    gateway,
    passed: state.passed,
    control: (patch) => void Object.assign(settings, patch),
    close: () => close(server),
  }
}

async function handle(state: State, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { account, gateway, providers } = state.options
  const [, asked, named, rest = ''] = /^\/v1\/([^/]+)\/([^/]+)\/(.*)$/s.exec(request.url ?? '') ?? []
  const provider = Object.keys(providers).find((slug) => rest.startsWith(`${slug}/`))
  const body = await readAll(request)
  const passed: Passed = {
    provider: provider ?? '',
    method: request.method ?? '',
    path: rest.slice((provider ?? '').length),
    headers: ownHeaders(request),
    sent: 0,
    status: 0,
    cached: false,
  }
  state.passed.push(passed)
  const { settings } = state
  if (asked !== account || named !== gateway) return refuse(passed, response, 2001)
  if (settings.token !== '' && passed.headers['cf-aig-authorization'] !== `Bearer ${settings.token}`)
    return refuse(passed, response, 2009)
  if (!provider) return refuse(passed, response, 2008)
  const fault = settings.faults.shift()
  // What blocks an answer has one to block, and so has what loses it.
  if (fault !== undefined && fault !== 2017 && fault !== 2005) return refuse(passed, response, fault)
  const key = cacheKey(request, passed, body)
  const kept = settings.cache && passed.headers['cf-aig-skip-cache'] !== 'true' ? state.cache.get(key) : undefined
  if (kept) return giveKept(passed, response, kept)
  const answer = await sendOn(state, request, response, passed, body)
  if (fault !== undefined) {
    await answer.body?.cancel()
    return refuse(passed, response, fault)
  }
  await giveOn(state, passed, response, answer, key)
}

/** Tried again only where the gateway decides how often: a request that says 1 is sent once. */
async function sendOn(
  { options, settings }: State,
  request: IncomingMessage,
  response: ServerResponse,
  passed: Passed,
  body: Buffer,
): Promise<Response> {
  const { provider, method, path } = passed
  const attempts = Number(passed.headers['cf-aig-max-attempts'] ?? settings.attempts)
  const headers = new Headers(
    Object.entries(request.headers).flatMap(([name, value]): [string, string][] =>
      name.startsWith('cf-aig-') || HOP.has(name) ? [] : [[name, String(value)]],
    ),
  )
  const stored = settings.keys[provider]
  if (stored !== undefined) headers.set('authorization', stored)
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  for (;;) {
    passed.sent += 1
    const answer = await fetch(`${options.providers[provider]}${path}`, {
      method,
      headers,
      redirect: 'manual',
      signal: gone.signal,
      ...(body.length > 0 ? { body: new Uint8Array(body) } : {}),
    })
    if (answer.status < 500 || passed.sent >= attempts) return answer
    await answer.body?.cancel()
  }
}

/** Of one connection, and what `fetch` has undone. */
const HOP = new Set(['host', 'connection', 'content-length', 'transfer-encoding', 'content-encoding', 'keep-alive'])

async function giveOn(
  { settings, cache }: State,
  passed: Passed,
  response: ServerResponse,
  answer: Response,
  key: string,
): Promise<void> {
  passed.status = answer.status
  const keeps = settings.cache && passed.method === 'POST' && answer.status === 200
  response.writeHead(answer.status, headersOf(answer.headers, 'MISS'))
  response.flushHeaders()
  if (!answer.body) return void response.end()
  if (!keeps) return pipeline(Readable.fromWeb(answer.body as never), response)
  const body = Buffer.from(await answer.arrayBuffer())
  cache.set(key, { status: answer.status, headers: answer.headers, body })
  response.end(body)
}

function giveKept(passed: Passed, response: ServerResponse, { status, headers, body }: Kept): void {
  passed.status = status
  passed.cached = true
  response.writeHead(status, headersOf(headers, 'HIT'))
  response.end(body)
}

function headersOf(headers: Headers, cacheStatus: 'HIT' | 'MISS'): Record<string, string> {
  const kept = [...headers].filter(([name]) => !HOP.has(name))
  return { ...Object.fromEntries(kept), 'cf-aig-cache-status': cacheStatus, 'cf-aig-log-id': 'log', 'cf-aig-step': '0' }
}

function refuse(passed: Passed, response: ServerResponse, code: number): void {
  const { status, message } = ERRORS[code] ?? { status: 400, message: 'Error' }
  passed.status = status
  const error = [{ code, message }]
  const body = { success: false, result: [], messages: [], error, name: 'AiGatewayError', internalCode: code }
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

/** As the gateway makes it: other keys and other words are other requests. */
const cacheKey = ({ headers }: IncomingMessage, { provider, method, path }: Passed, body: Buffer): string =>
  createHash('sha256')
    .update(`${method} ${provider} ${path} ${headers.authorization ?? headers['x-api-key'] ?? ''}\n`)
    .update(body)
    .digest('hex')

const ownHeaders = ({ headers }: IncomingMessage): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (name.startsWith('cf-aig-') ? [[name, String(value)]] : [])),
  )

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '0' },
      provider: { type: 'string', multiple: true, default: [] },
      token: { type: 'string', default: '' },
      cache: { type: 'boolean', default: false },
    },
  })
  const providers = Object.fromEntries(values.provider.map((text) => text.split(/=(.*)/s).slice(0, 2)))
  const emulator = await startAiGateway({ ...values, port: Number(values.port), providers })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void emulator.close())
  process.stdout.write(`ready ${emulator.url}\n`)
}

if (import.meta.main) await main()
