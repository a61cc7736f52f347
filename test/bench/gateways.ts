import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startChatUpstream, UPSTREAM_TEXT } from './chat-upstream.ts'
import { exchange } from './load.ts'
import { bundlePortkey, startPortkey } from './portkey.ts'
import { endings, type Product, rootClient, startProduct, startProductPlain } from './product.ts'
import { writeRequest } from './wire.ts'
import { startWorkerMiniflare, startWorkerPlain } from './worker-host.ts'
import type { World } from './world.ts'

/** What the gateway is measured beside: the provider itself, a bare proxy and Portkey, on Node and on Workers. */

export type Gateway = {
  name: string
  url: URL
  pids: number[]
  whole: Buffer
  stream: Buffer
  /** Throws when a call ended otherwise than it should. */
  verify: () => Promise<void>
}

export const DIRECT = 'the provider itself'
export const ON = ['workerd', 'miniflare'] as const
export const nameOf = {
  product: (on: string) => `product on ${on}`,
  proxy: (on: string) => `bare proxy on ${on}`,
  portkey: (on: string) => `Portkey on ${on}`,
}

const INSTANCE = 'gateway'
const SECRET = 'secret-of-the-bench'

export const startGateways = async (world: World): Promise<Gateway[]> => {
  const upstream = await startChatUpstream()
  world.atEnd(upstream.stop)
  const provider = new URL('/v1', upstream.url).href
  const gateways = [gateway(DIRECT, upstream, '/v1', 'gpt-4o-mini')]
  for (const on of ON) {
    const state = join(world.folder, `gateway-${on}`)
    const product = await (on === 'workerd' ? startProductPlain : startProduct)(state)
    world.atEnd(product.stop)
    gateways.push(await addChats(product, nameOf.product(on), provider))
  }
  const portkey = await startPortkey()
  world.atEnd(portkey.stop)
  const toPortkey = {
    authorization: `Bearer ${SECRET}`,
    'x-portkey-provider': 'openai',
    'x-portkey-custom-host': provider,
  }
  gateways.push(gateway(nameOf.portkey('Node'), portkey, '/v1', 'gpt-4o-mini', toPortkey))
  const source = (name: string) => readFileSync(join(import.meta.dirname, 'workers', name), 'utf8')
  const proxies = { 'proxy.js': source('proxy.js') }
  const portkeys = { 'portkey.js': source('portkey.js'), 'portkey-bundle.js': await bundlePortkey() }
  const text = { UPSTREAM: provider, SECRET }
  for (const on of ON) {
    const start = on === 'workerd' ? startWorkerPlain : startWorkerMiniflare
    const proxy = await start({ modules: proxies, text, state: join(world.folder, `proxy-${on}`) })
    world.atEnd(proxy.stop)
    gateways.push(gateway(nameOf.proxy(on), proxy, '/v1', 'gpt-4o-mini'))
    const peer = await start({ modules: portkeys, text: {}, state: join(world.folder, `portkey-${on}`) })
    world.atEnd(peer.stop)
    gateways.push(gateway(nameOf.portkey(on), peer, '/v1', 'gpt-4o-mini', toPortkey))
  }
  for (const one of gateways) await answersWell(one)
  return gateways
}

/** An instance whose chats have a key, limits, budgets to hold money in, a price and a log: nothing is left out. */
export const addChats = async (product: Product, name: string, provider: string): Promise<Gateway> => {
  const root = rootClient(product)
  const base = `/v1/instances/${INSTANCE}`
  await root.ask('POST', '/v1/instances', { id: INSTANCE })
  const limits = { concurrency: 500, requests_per_minute: 1_000_000, tokens_per_minute: 50_000_000 }
  await root.ask('PUT', `${base}/providers/openai`, { base_url: provider, limits })
  await root.ask('POST', `${base}/providers/openai/credentials`, { name: 'main', secret: SECRET })
  const budget = { limit_usd: 10_000_000, window: 'month', alert_at: [0.5, 1] }
  await root.ask('PUT', `${base}/budgets/instance`, budget)
  const { key } = await root.ask<{ key: string }>('POST', `${base}/keys`, { name: 'bench', role: 'user' })
  const at = { url: product.url, pids: product.pids }
  const own = gateway(name, at, base, 'openai/gpt-4o-mini', { authorization: `Bearer ${key}` })
  return { ...own, verify: () => allSucceeded(product.state) }
}

const allSucceeded = async (state: string): Promise<void> => {
  // The last are settled behind their answers.
  for (let left = 100; left > 0; left -= 1) {
    const { queued = 0, running = 0, succeeded = 0, ...others } = endings(state, INSTANCE)
    if (Object.keys(others).length > 0) throw new Error(`chats did not succeed: ${JSON.stringify(others)}`)
    if (queued + running === 0 && succeeded > 0) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('chats were not settled')
}

const MESSAGES = [
  { role: 'system', content: 'You answer in one sentence.' },
  { role: 'user', content: 'The lamp turns over the grey sea and back. What do ships that pass in the dark see?' },
]

const gateway = (
  name: string,
  server: { url: URL; pid: number } | { url: URL; pids: number[] },
  base: string,
  model: string,
  headers: Record<string, string> = {},
): Gateway => {
  const url = new URL(`${base}/chat/completions`, server.url)
  const request = (more: object) =>
    writeRequest('POST', url, headers, JSON.stringify({ model, messages: MESSAGES, max_tokens: 200, ...more }))
  return {
    name,
    url,
    pids: 'pids' in server ? server.pids : [server.pid],
    whole: request({}),
    stream: request({ stream: true, stream_options: { include_usage: true } }),
    verify: async () => {},
  }
}

/** A server that is quick because it answers something else would spoil the figures. */
const answersWell = async ({ name, url, whole, stream }: Gateway): Promise<void> => {
  const one = await exchange(url, whole)
  const many = await exchange(url, stream)
  const text = [...many.matchAll(/"content":"([^"]*)"/g)].map(([, piece]) => piece).join('')
  if (!one.includes(UPSTREAM_TEXT) || text !== UPSTREAM_TEXT || !many.includes('data: [DONE]'))
    throw new Error(`${name} does not answer as the provider does: ${one.slice(0, 200)} ${many.slice(0, 200)}`)
}
