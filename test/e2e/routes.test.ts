import OpenAI from 'openai'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Client } from '../../src/cli/client.ts'
import type { ProviderView } from '../../src/contract/instance.ts'
import type { Job } from '../../src/contract/job.ts'
import { type AiGatewayEmulator, startAiGateway } from '../emulators/ai-gateway.ts'
import type { AnthropicEmulator } from '../emulators/anthropic.ts'
import type { OpenAiEmulator } from '../emulators/openai.ts'
import { type ReplicateEmulator, startReplicate } from '../emulators/replicate.ts'
import { afterFile, api, neverSay, startEmulator, startProduct } from './harness.ts'
import {
  ask,
  CHAT,
  CLAUDE,
  EMBEDDING,
  GEMINI,
  ledgerAtRest,
  micros,
  startAnthropicHere,
  startGeminiHere,
  startOpenAiHere,
} from './line.ts'

/** Providers behind AI Gateway, through the built product: what reaches them, what it costs, and who is to blame. */

const TOKEN = 'gateway-token-of-the-tests'
const KEY = 'sk-emulated-0123456789'
/** Workers AI's credentials name their account, which the provider itself never sees. */
const ACCOUNT = 'fedcba9876543210fedcba9876543210'
const WORKERS = 'workers-ai/@cf/openai/gpt-oss-120b'
const base = '/v1/instances/routes'

let openai: OpenAiEmulator
let anthropic: AnthropicEmulator
let replicate: ReplicateEmulator
let ideogram: Awaited<ReturnType<typeof startEmulator>>
let gateway: AiGatewayEmulator
let root: Client
let client: OpenAI

const route = (more: object = {}) => ({
  type: 'ai_gateway',
  account: gateway.account,
  gateway: gateway.gateway,
  origin: gateway.url,
  ...more,
})

beforeAll(async () => {
  openai = await startOpenAiHere({ apiKeys: [KEY] })
  anthropic = await startAnthropicHere()
  const gemini = await startGeminiHere()
  const workers = await startOpenAiHere({ server: 'workers-ai', apiKeys: [KEY] })
  replicate = await startReplicate()
  afterFile(() => replicate.close())
  ideogram = await startEmulator({ draw: false })
  gateway = await startAiGateway({
    token: TOKEN,
    providers: {
      openai: `${openai.url}/v1`,
      anthropic: anthropic.url,
      'google-ai-studio': gemini.url,
      'workers-ai': workers.url,
      replicate: `${replicate.url}/v1`,
      ideogram: ideogram.url,
    },
  })
  afterFile(() => gateway.close())
  const product = await startProduct()
  root = api(product.url)
  await root.ask('POST', '/v1/instances', { id: 'routes' })
  for (const provider of ['openai', 'anthropic', 'google', 'workers-ai', 'replicate', 'ideogram']) {
    await root.ask('PUT', `${base}/providers/${provider}`, { route: route() })
    const account = provider === 'workers-ai' ? `${ACCOUNT}:` : ''
    const secret = neverSay(`cf-aig=${neverSay(TOKEN)};${account}${neverSay(KEY)}`)
    await root.ask('POST', `${base}/providers/${provider}/credentials`, { name: 'main', secret })
  }
  const { key } = await root.ask<{ key: string }>('POST', `${base}/keys`, { name: 'app', role: 'user' })
  client = new OpenAI({ baseURL: `${product.url}${base}`, apiKey: neverSay(key), maxRetries: 0 })
})

beforeEach(async () => {
  gateway.passed.length = 0
  gateway.control({ cache: false, faults: [], token: TOKEN, keys: {} })
  await reroute('openai', route())
})

const books = async (attempts = 0) => {
  const { settled_usd, presumed_usd, difference_usd, attempts: counted } = await ledgerAtRest({ root, base }, attempts)
  return { settled_usd, presumed_usd, difference_usd, attempts: counted }
}
const imageJob = (models: string[], more: object = {}) =>
  root.ask<Job>(
    'POST',
    `${base}/jobs`,
    { type: 'image.generate', models, input: { prompt: neverSay('a lighthouse at dawn') }, ...more },
    { prefer: 'wait=60' },
  )
const textJob = (content: string, more: object = {}, model = CHAT) =>
  root.ask<Job>(
    'POST',
    `${base}/jobs`,
    { type: 'text.generate', models: [model], input: { messages: ask(content) }, ...more },
    { prefer: 'wait=60' },
  )
const reroute = (provider: string, to: object | null) => root.ask('PUT', `${base}/providers/${provider}`, { route: to })

const HEADERS = {
  'cf-aig-authorization': `Bearer ${TOKEN}`,
  'cf-aig-max-attempts': '1',
  'cf-aig-skip-cache': 'true',
}

const GEMINI_PATH = `/v1/models/${GEMINI.split('/')[1]}`

describe('through AI Gateway', () => {
  /** A model, the gateway's name of its provider, and the paths that whole answers and streams have there. */
  test.each([
    [CHAT, 'openai', '/chat/completions', '/chat/completions'],
    [CLAUDE, 'anthropic', '/v1/messages', '/v1/messages'],
    [GEMINI, 'google-ai-studio', `${GEMINI_PATH}:generateContent`, `${GEMINI_PATH}:streamGenerateContent?alt=sse`],
    [WORKERS, 'workers-ai', '/v1/chat/completions', '/v1/chat/completions'],
  ])('a chat of %s is answered and streamed, with both keys and a single try', async (model, slug, ...paths) => {
    const before = await books()
    const whole = await client.chat.completions.create({ model, messages: ask('hello [[say:good day]]') })
    expect(whole.choices[0]?.message.content).toBe('good day')
    const stream = await client.chat.completions.create({
      model,
      messages: ask('hello [[say:good day again]]'),
      stream: true,
      stream_options: { include_usage: true },
    })
    let text = ''
    let cost: unknown = null
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      if (chunk.usage) cost = (chunk.usage as { cost_usd?: number }).cost_usd
    }
    expect(text).toBe('good day again')
    expect(gateway.passed.map((one) => [one.provider, one.path, one.sent, one.headers])).toEqual([
      [slug, paths[0], 1, HEADERS],
      [slug, paths[1], 1, HEADERS],
    ])
    const after = await books(before.attempts + 2)
    const told = Number((whole.usage as { cost_usd?: number }).cost_usd) + Number(cost)
    expect(micros(after.settled_usd - before.settled_usd)).toBe(micros(told))
    expect(after.difference_usd).toBe(0)
  })

  test.each([
    [EMBEDDING, 1_536, '/embeddings'],
    ['google/gemini-embedding-001', 3_072, '/v1/models/gemini-embedding-001:batchEmbedContents'],
    ['workers-ai/@cf/baai/bge-small-en-v1.5', 384, '/v1/embeddings'],
  ])('texts are embedded by %s', async (model, dimensions, path) => {
    const { data } = await client.embeddings.create({ model, input: ['one', 'two'] })
    expect(data.map(({ embedding }) => embedding.length)).toEqual([dimensions, dimensions])
    expect(gateway.passed.map((one) => [one.path, one.headers])).toEqual([[path, HEADERS]])
  })

  test.each([
    [CHAT, 'openai'],
    [GEMINI, 'google-ai-studio'],
    [WORKERS, 'workers-ai'],
  ])('a text job of %s in a lane ends', async (model, slug) => {
    expect(await textJob('hello [[say:nothing]]', {}, model)).toMatchObject({ status: 'succeeded' })
    expect(gateway.passed).toMatchObject([{ provider: slug, headers: HEADERS, status: 200 }])
  })

  test.each([
    ['openai/gpt-image-2', ['POST']],
    ['google/gemini-2.5-flash-image', ['POST']],
    ['ideogram/ideogram-3', ['POST', 'GET']],
    ['replicate/black-forest-labs/flux-schnell', ['POST', 'GET']],
  ])('a picture of %s is made, asked after and stored', async (model, methods) => {
    const job = await imageJob([model])
    expect(job).toMatchObject({ status: 'succeeded', attempts: [{ outcome: 'done' }] })
    expect(new Set(gateway.passed.map(({ method }) => method))).toEqual(new Set(methods))
    for (const one of gateway.passed) expect(one).toMatchObject({ headers: HEADERS, sent: 1 })
    expect((await books()).difference_usd).toBe(0)
  })

  // Workers AI's own envelope is the gateway's, with other numbers: out of room is not the gateway's "too fast".
  test.each([
    [CHAT, 503],
    [GEMINI, 503],
    [WORKERS, 429],
  ])('a provider that fails is asked again by Switchyard alone: %s with %i', async (model, refusal) => {
    const job = await textJob(`hello [[fail_once:${refusal}]]`, {}, model)
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_unavailable', 'done'])
    expect(gateway.passed.map(({ sent, status }) => [sent, status])).toEqual([
      [1, refusal],
      [1, 200],
    ])
  })

  test('an answer of its cache costs nothing, on the line, in a stream and as a job', async () => {
    await reroute('openai', route({ cache: true }))
    gateway.control({ cache: true })
    const messages = ask('hello [[say:kept for later]]')
    const create = () => client.chat.completions.create({ model: CHAT, messages }).withResponse()
    const first = await create()
    expect(Number(first.response.headers.get('x-switchyard-cost-usd'))).toBeGreaterThan(0)
    const paid = await books()
    const second = await create()
    expect(second.data.choices[0]?.message.content).toBe('kept for later')
    expect(second.data.usage).toMatchObject({ prompt_tokens: first.data.usage?.prompt_tokens, cost_usd: 0 })
    expect(second.response.headers.get('x-switchyard-cost-usd')).toBe('0')
    const streamed = async () => {
      const options = { stream: true as const, stream_options: { include_usage: true } }
      const stream = await client.chat.completions.create({ model: CHAT, messages, ...options })
      const chunks = []
      for await (const chunk of stream) chunks.push(chunk)
      return chunks.at(-1)?.usage
    }
    expect(await streamed()).not.toMatchObject({ cost_usd: 0 })
    await books(paid.attempts + 1)
    expect(await streamed()).toMatchObject({ cost_usd: 0 })
    const job = () => textJob('hello [[say:kept as a job]]')
    expect((await job()).cost_usd).toBeGreaterThan(0)
    const before = await books(paid.attempts + 2)
    expect(await job()).toMatchObject({ status: 'succeeded', cost_usd: 0, attempts: [{ outcome: 'done' }] })
    expect(gateway.passed.map(({ cached }) => cached)).toEqual([false, true, false, true, false, true])
    // Of all these only the two that the provider answered stand in the books.
    expect(before.attempts).toBe(paid.attempts + 2)
    expect(await books()).toEqual(before)
  })

  test('pictures are new ones, whatever the cache is set to', async () => {
    await reroute('openai', route({ cache: true }))
    gateway.control({ cache: true })
    for (const model of ['openai/gpt-image-2', 'openai/gpt-image-2']) {
      const { cost_usd } = await imageJob([model])
      expect(cost_usd).toBeGreaterThan(0)
    }
    expect(gateway.passed.map(({ cached }) => cached)).toEqual([false, false])
  })
})

describe('an error of AI Gateway', () => {
  test.each([
    [2001, 'provider_rejected', 0],
    [2016, 'content_rejected', 0],
    [2005, 'outcome_unknown', null],
    [2017, 'content_rejected', null],
  ])('%i ends a text and a picture as %s', async (code, fault, cost_usd) => {
    for (const model of [CHAT, GEMINI, WORKERS]) {
      gateway.control({ faults: [code] })
      const text = await textJob('hello', { max_attempts: 1 }, model)
      expect([model, text]).toMatchObject([model, { status: 'failed', error: { code: fault }, cost_usd }])
      expect(text.error?.message).toContain('AI Gateway')
    }
    gateway.control({ faults: [code] })
    const picture = await imageJob(['openai/gpt-image-2'], { max_attempts: 1 })
    expect(picture).toMatchObject({ status: 'failed', error: { code: fault }, cost_usd })
    expect(picture.error?.message).toContain('AI Gateway')
  })

  test('that asks for patience is waited for', async () => {
    gateway.control({ faults: [2003] })
    const job = await textJob('hello')
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_rate_limited', 'done'])
  })

  test('of the prompt on the line books nothing', async () => {
    const before = await books()
    gateway.control({ faults: [2016] })
    await expect(client.chat.completions.create({ model: CHAT, messages: ask('hello there') })).rejects.toMatchObject({
      status: 502,
      error: { code: 'content_rejected' },
    })
    expect(await books()).toEqual(before)
  })

  test('that refuses its token switches the credential off, and its mended secret on', async () => {
    gateway.control({ token: 'another-token-of-the-tests' })
    await expect(client.chat.completions.create({ model: CLAUDE, messages: ask('hello there') })).rejects.toThrow()
    const path = `${base}/providers/anthropic/credentials`
    const { data } = await root.ask<{ data: { enabled: boolean }[] }>('GET', path)
    expect(data[0]?.enabled).toBe(false)
    const secret = neverSay(`cf-aig=another-token-of-the-tests;${KEY}`)
    await root.ask('PATCH', `${path}/main`, { secret })
    const answer = await client.chat.completions.create({ model: CLAUDE, messages: ask('hello [[say:back]]') })
    expect(answer.choices[0]?.message.content).toBe('back')
    await root.ask('PATCH', `${path}/main`, { secret: `cf-aig=${TOKEN};${KEY}` })
  })
})

describe('a credential with a gateway’s token', () => {
  test('may leave the provider’s key to the gateway', async () => {
    const path = `${base}/providers/openai/credentials/main`
    gateway.control({ keys: { openai: `Bearer ${KEY}` } })
    await root.ask('PATCH', path, { secret: neverSay(`cf-aig=${TOKEN};`) })
    const answer = await client.chat.completions.create({ model: CHAT, messages: ask('hello [[say:let in]]') })
    expect(answer.choices[0]?.message.content).toBe('let in')
    await root.ask('PATCH', path, { secret: `cf-aig=${TOKEN};${KEY}` })
  })

  test('shows the provider nothing of it where the route is taken away', async () => {
    await root.ask('PUT', `${base}/providers/openai`, { route: null, base_url: `${openai.url}/v1` })
    const answer = await client.chat.completions.create({ model: CHAT, messages: ask('hello [[say:straight]]') })
    expect(answer.choices[0]?.message.content).toBe('straight')
    expect(gateway.passed).toEqual([])
    expect(openai.stats().calls.at(-1)?.apiKey).toBe(KEY)
    const view = await root.ask<ProviderView>('PUT', `${base}/providers/openai`, { route: route(), base_url: null })
    expect(view.route).toEqual(route())
  })
})
