import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type OpenAiEmulator, startOpenAi } from '../emulators/openai.ts'
import { afterFile, api, startEmulator, startProduct } from './harness.ts'
import { provision, until } from './support.ts'

/** The official client, unchanged, against an instance: chats, streams, tools, schemas, embeddings, errors, and the books behind them. */

const MODEL = 'openai/gpt-5-mini'
const ask = (content: string) => [{ role: 'user' as const, content }]

type Ledger = { settled_usd: number; presumed_usd: number; held_usd: number; difference_usd: number; attempts: number }

let emulator: OpenAiEmulator
let images: Awaited<ReturnType<typeof startEmulator>>
let client: OpenAI
let base: string
let url: string
let root: ReturnType<typeof api>

beforeAll(async () => {
  emulator = await startOpenAi({ apiKeys: ['sk-good-0123456789'], draw: false })
  afterFile(() => emulator.close())
  images = await startEmulator({})
  const product = await startProduct()
  url = product.url
  const ready = await provision(product.url, { baseUrl: images.url })
  base = ready.base
  root = ready.root
  await root.ask('PUT', `${base}/providers/openai`, { base_url: `${emulator.url}/v1` })
  await root.ask('POST', `${base}/providers/openai/credentials`, { name: 'main', secret: 'sk-good-0123456789' })
  client = new OpenAI({ baseURL: `${product.url}${base}`, apiKey: ready.key, maxRetries: 0 })
})
afterAll(async () => {
  const ledger = await rest()
  expect([ledger.held_usd, ledger.difference_usd]).toEqual([0, 0])
})

/** The books once every call is closed. */
const rest = (): Promise<Ledger> =>
  until(
    () => root.ask<Ledger>('GET', `${base}/ledger`),
    ({ held_usd }) => held_usd === 0,
  )

describe('the official client of OpenAI', () => {
  test('chats, and the answer says who served it and what it cost, as the books do', async () => {
    const before = await rest()
    const { data, response } = await client.chat.completions
      .create({ model: MODEL, messages: ask('hello [[say:good day]]') })
      .withResponse()
    expect(data.choices[0]?.message.content).toBe('good day')
    expect(response.headers.get('x-switchyard-model')).toBe(MODEL)
    expect(response.headers.get('x-switchyard-attempts')).toBe('1')
    const cost = Number(response.headers.get('x-switchyard-cost-usd'))
    expect(cost).toBeGreaterThan(0)
    const after = await until(
      () => rest(),
      ({ attempts }) => attempts === before.attempts + 1,
    )
    expect(Math.round((after.settled_usd - before.settled_usd) * 1e6)).toBe(Math.round(cost * 1e6))
  })

  test('streams, with the usage and its cost in the last chunk', async () => {
    const stream = await client.chat.completions.create({
      model: MODEL,
      messages: ask('hello [[say:Grüße, 灯 🚢!]] [[split:1]]'),
      stream: true,
      stream_options: { include_usage: true },
    })
    let text = ''
    const chunks = []
    for await (const chunk of stream) {
      chunks.push(chunk)
      text += chunk.choices[0]?.delta.content ?? ''
    }
    expect(text).toBe('Grüße, 灯 🚢!')
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { cost_usd: expect.any(Number) } })
  })

  test('leaves a stream in its middle, which stops the provider and books what was made', async () => {
    const before = await rest()
    emulator.control({ chunkDelayMs: 20 })
    const stream = await client.chat.completions.create({
      model: MODEL,
      messages: ask('[[chunks:400]]'),
      stream: true,
    })
    let seen = 0
    for await (const chunk of stream) if ((chunk.choices[0]?.delta.content ?? '') !== '' && ++seen === 5) break
    const after = await until(
      () => rest(),
      ({ attempts }) => attempts === before.attempts + 1,
    )
    emulator.control({ chunkDelayMs: 0 })
    expect(after.settled_usd).toBeGreaterThan(before.settled_usd)
    const { data } = await api(url, client.apiKey).ask<{ data: { status: string; type: string }[] }>(
      'GET',
      `${base}/jobs?limit=1`,
    )
    expect(data[0]).toMatchObject({ status: 'canceled', type: 'text.generate@1' })
  })

  test('runs a loop of tools to its end', async () => {
    const tools: OpenAI.ChatCompletionTool[] = [
      {
        type: 'function',
        function: {
          name: 'weather',
          parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
        },
      },
    ]
    const first = await client.chat.completions.create({
      model: MODEL,
      messages: ask('Cologne?'),
      tools,
      tool_choice: 'required',
    })
    const message = first.choices[0]?.message
    const call = message?.tool_calls?.[0]
    if (!message || call?.type !== 'function') throw new Error('no tool was called')
    const second = await client.chat.completions.create({
      model: MODEL,
      tools,
      messages: [...ask('Cologne?'), message, { role: 'tool', tool_call_id: call.id, content: 'rain' }],
    })
    expect(second.choices[0]?.finish_reason).toBe('stop')
  })

  test('gets JSON by a schema', async () => {
    const schema = {
      type: 'object',
      properties: { name: { type: 'string' }, age: { type: 'integer' } },
      required: ['name', 'age'],
      additionalProperties: false,
    }
    const answer = await client.chat.completions.create({
      model: MODEL,
      messages: ask('who?'),
      response_format: { type: 'json_schema', json_schema: { name: 'person', schema, strict: true } },
    })
    expect(JSON.parse(answer.choices[0]?.message.content ?? '')).toEqual({
      name: expect.any(String),
      age: expect.any(Number),
    })
  })

  test('embeds, as numbers and as base64', async () => {
    const model = 'openai/text-embedding-3-small'
    const numbers = await client.embeddings.create({ model, input: ['one', 'two'], encoding_format: 'float' })
    const packed = await client.embeddings.create({ model, input: ['one', 'two'] })
    expect(numbers.data.map(({ embedding }) => embedding.length)).toEqual([1536, 1536])
    expect(packed.data[1]?.embedding.length).toBe(1536)
    expect(numbers.data[0]?.embedding[0]).toBeCloseTo(packed.data[0]?.embedding[0] ?? 9, 5)
  })

  test('makes a picture, and lists the models', async () => {
    const made = await client.images.generate({
      model: 'ideogram/ideogram-3',
      prompt: 'a lighthouse',
      response_format: 'b64_json',
    })
    expect(Buffer.from(made.data?.[0]?.b64_json ?? '', 'base64').length).toBeGreaterThan(50)
    const ids = []
    for await (const model of client.models.list()) ids.push(model.id)
    expect(ids).toEqual(expect.arrayContaining([MODEL, 'ideogram/ideogram-3']))
  })

  test('that loses patience with a picture and asks again under its Idempotency-Key buys it once, and gets it', async () => {
    const before = images.stats().accepted
    const patience = { timeout: 1_500, maxRetries: 20, headers: { 'Idempotency-Key': 'a slow lighthouse' } }
    const asked = { model: 'ideogram/ideogram-3', prompt: 'a slow lighthouse [[slow:4000]]' }
    const made = await client.images.generate(asked, patience)
    expect(Buffer.from(made.data?.[0]?.b64_json ?? '', 'base64').length).toBeGreaterThan(50)
    expect(images.stats().accepted).toBe(before + 1)
  })

  test('is told of a bad request, an unknown model and a bad key in its own error classes', async () => {
    await expect(client.chat.completions.create({ model: MODEL, messages: [] })).rejects.toThrow(OpenAI.BadRequestError)
    await expect(client.chat.completions.create({ model: 'openai/none', messages: ask('x') })).rejects.toThrow(
      OpenAI.APIError,
    )
    const stranger = new OpenAI({ baseURL: `${url}${base}`, apiKey: 'sy_none', maxRetries: 0 })
    await expect(stranger.chat.completions.create({ model: MODEL, messages: ask('x') })).rejects.toThrow(
      OpenAI.AuthenticationError,
    )
  })

  test('falls back before the first byte, and says so', async () => {
    const other = await startOpenAi({ server: 'ollama', draw: false })
    afterFile(() => other.close())
    await root.ask('PUT', `${base}/providers/ollama`, { base_url: `${other.url}/v1` })
    // A server of one's own that lets everybody in needs no credential.
    emulator.control({ faultRate: 1, faults: ['fail:503'] })
    const models = { models: ['ollama/llama3.2'] }
    const { data, response } = await client.chat.completions
      .create({ model: MODEL, messages: ask('hello [[say:from the other]]'), ...models })
      .withResponse()
    emulator.control({ faultRate: 0 })
    expect(data.choices[0]?.message.content).toBe('from the other')
    expect(response.headers.get('x-switchyard-model')).toBe('ollama/llama3.2')
    expect(Number(response.headers.get('x-switchyard-attempts'))).toBeGreaterThan(1)
  })
})
