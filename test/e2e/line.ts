import OpenAI from 'openai'
import type { Client } from '../../src/cli/client.ts'
import { startAnthropic } from '../emulators/anthropic.ts'
import { startGemini } from '../emulators/gemini.ts'
import { type OpenAiOptions, startOpenAi } from '../emulators/openai.ts'
import { afterFile, api, neverSay, startProduct } from './harness.ts'
import { until } from './support.ts'

/** What tests of calls on the line need: an instance with providers of text behind it, and its books at rest. */

export const CHAT = 'openai/gpt-5-mini'
export const CLAUDE = 'anthropic/claude-sonnet-4-6'
export const GEMINI = 'google/gemini-3-flash-preview'
export const EMBEDDING = 'openai/text-embedding-3-small'

export type Ledger = {
  settled_usd: number
  presumed_usd: number
  held_usd: number
  difference_usd: number
  attempts: number
}

export type Line = {
  instance: string
  base: string
  root: Client
  key: string
  /** The instance's own address, for clients. */
  url: string
  /** The official client, which does not repeat by itself. */
  client: OpenAI
}

const SECRET = 'sk-emulated-0123456789'

export const startOpenAiHere = async (options: OpenAiOptions = {}) => {
  const emulator = await startOpenAi({ draw: false, ...options })
  afterFile(() => emulator.close())
  return emulator
}

export const startAnthropicHere = async () => {
  const emulator = await startAnthropic()
  afterFile(() => emulator.close())
  return emulator
}

/** It lets in the credential of the tests alone. */
export const startGeminiHere = async () => {
  const emulator = await startGemini({ draw: false, apiKeys: [SECRET] })
  afterFile(() => emulator.close())
  return emulator
}

/** An instance whose providers stand at the given addresses, and a user's key. */
export const provisionLine = async (
  product: { url: string },
  providers: Record<string, { url: string; limits?: Record<string, number>; settings?: Record<string, unknown> }>,
  instance = 'line',
): Promise<Line> => {
  const base = `/v1/instances/${instance}`
  const root = api(product.url)
  await root.ask('POST', '/v1/instances', { id: instance })
  for (const [name, { url, limits, settings }] of Object.entries(providers)) {
    const at = name === 'anthropic' ? url : `${url}/v1`
    await root.ask('PUT', `${base}/providers/${name}`, { base_url: at, ...(limits ? { limits } : {}), ...settings })
    await root.ask('POST', `${base}/providers/${name}/credentials`, { name: 'main', secret: neverSay(SECRET) })
  }
  const { key } = await root.ask<{ key: string }>('POST', `${base}/keys`, { name: 'app', role: 'user' })
  const url = `${product.url}${base}`
  return {
    instance,
    base,
    root,
    key: neverSay(key),
    url,
    client: new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 }),
  }
}

export const startLine = async (
  providers: Parameters<typeof provisionLine>[1],
  env: Record<string, string> = {},
): Promise<Line & { product: Awaited<ReturnType<typeof startProduct>> }> => {
  const product = await startProduct({ env })
  return { product, ...(await provisionLine(product, providers)) }
}

/** The books once every call is closed. */
export const ledgerAtRest = ({ root, base }: Pick<Line, 'root' | 'base'>, attempts = 0): Promise<Ledger> =>
  until(
    () => root.ask<Ledger>('GET', `${base}/ledger`),
    (ledger) => ledger.held_usd === 0 && ledger.attempts >= attempts,
  )

export const micros = (usd: number): number => Math.round(usd * 1e6)

export const ask = (content: string) => [{ role: 'user' as const, content: neverSay(content) }]
