import OpenAI from 'openai'
import { beforeAll, describe, expect, test } from 'vitest'
import type { UsageReport } from '../../src/contract/usage-report.ts'
import type { CallRecord, GeminiEmulator } from '../emulators/gemini.ts'
import { ask, GEMINI, type Line, ledgerAtRest, micros, startGeminiHere, startLine } from './line.ts'
import { until } from './support.ts'

/** OpenAI's official client, unchanged, on Gemini: what differs between the two never shows, and costs are Google's. */

const EMBEDDING = 'google/gemini-embedding-001'

let gemini: GeminiEmulator
let line: Line
let client: OpenAI

beforeAll(async () => {
  gemini = await startGeminiHere()
  line = await startLine({ google: gemini })
  client = line.client
})

/** USD per million tokens (https://ai.google.dev/gemini-api/docs/pricing); thoughts are paid as what is said. */
const USD_PER_MTOK = { input: 0.5, cached: 0.05, output: 3, embedding: 0.15 }

/** In micro-USD, of what the emulator has billed for a call. */
const costOf = ({ kind, tokens }: CallRecord): number => {
  const { prompt, cached, toolUse, candidates, thoughts } = tokens
  const { input, output } = USD_PER_MTOK
  if (kind === 'embed') return Math.round(prompt * USD_PER_MTOK.embedding)
  return Math.round(
    (prompt - cached + toolUse) * input + cached * USD_PER_MTOK.cached + (candidates + thoughts) * output,
  )
}
const lastCall = (): CallRecord => {
  const call = gemini.stats().calls.at(-1)
  if (!call) throw new Error('nothing was asked')
  return call
}

const SAID = 'Grüße, 灯 🚢!'
const CITY = {
  type: 'object' as const,
  properties: { city: { type: 'string' as const } },
  required: ['city'],
}
const WEATHER: OpenAI.ChatCompletionFunctionTool = {
  type: 'function',
  function: { name: 'weather', parameters: CITY },
}
const TWO_CITIES = '[[call:weather:{"city":"Rome"};weather:{"city":"Köln"}]]'
const PICTURE =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

describe('OpenAI’s client with Gemini', () => {
  test('chats, with as many answers as asked for, at the price of Google', async () => {
    const { data, response } = await client.chat.completions
      .create({
        model: GEMINI,
        messages: [
          { role: 'system', content: 'Be brief.' },
          ...ask(`hello, you ${'long ago '.repeat(300)} [[say:${SAID}]] [[cached:200]] [[thoughts:40]]`),
        ],
        n: 2,
        seed: 7,
      })
      .withResponse()
    expect(data.choices.map(({ index, message, finish_reason }) => [index, message.content, finish_reason])).toEqual([
      [0, SAID, 'stop'],
      [1, SAID, 'stop'],
    ])
    const { tokens } = lastCall()
    expect(tokens).toMatchObject({ cached: 200, thoughts: 40 })
    expect(data.usage).toMatchObject({
      prompt_tokens: tokens.prompt,
      completion_tokens: tokens.candidates + 40,
      prompt_tokens_details: { cached_tokens: 200 },
      completion_tokens_details: { reasoning_tokens: 40 },
    })
    expect(micros(Number(response.headers.get('x-switchyard-cost-usd')))).toBe(costOf(lastCall()))
    expect(response.headers.get('x-switchyard-model')).toBe(GEMINI)
    expect(response.headers.get('x-switchyard-attempts')).toBe('1')
  })

  test('streams them, with the usage and its cost in the last chunk', async () => {
    const stream = await client.chat.completions.create({
      model: GEMINI,
      messages: ask(`hello, stream [[say:${SAID}]] [[split:1]]`),
      n: 2,
      stream: true,
      stream_options: { include_usage: true },
    })
    const texts = ['', '']
    const reasons: unknown[] = []
    let usage: unknown
    for await (const { choices, usage: told } of stream) {
      for (const { index, delta, finish_reason } of choices) {
        texts[index] += delta.content ?? ''
        if (finish_reason) reasons[index] = finish_reason
      }
      usage = told ?? usage
    }
    expect([texts, reasons]).toEqual([
      [SAID, SAID],
      ['stop', 'stop'],
    ])
    expect(lastCall()).toMatchObject({ stream: true })
    expect(micros((usage as { cost_usd: number }).cost_usd)).toBe(costOf(lastCall()))
  })

  test('runs a loop of tools in which parallel calls go back with the model’s signature', async () => {
    const question = ask(`How is it? ${TWO_CITIES}`)
    const base = { model: GEMINI, tools: [WEATHER] }
    const first = await client.chat.completions.create({ ...base, messages: question })
    const message = first.choices[0]?.message
    const calls = (message?.tool_calls ?? []).filter((call) => call.type === 'function')
    if (!message) throw new Error('no answer')
    expect(first.choices[0]?.finish_reason).toBe('tool_calls')
    expect(calls.map(({ function: { arguments: args } }) => JSON.parse(args))).toEqual([
      { city: 'Rome' },
      { city: 'Köln' },
    ])
    expect(calls[0]).toMatchObject({ extra_content: { google: { thought_signature: expect.any(String) } } })
    const results = calls.map(({ id }, at) => ({
      role: 'tool' as const,
      tool_call_id: id,
      content: at === 0 ? 'rain' : '{"sky":"blue"}',
    }))
    // The second first: they are told apart by their ids.
    const messages = [...question, message, ...results.toReversed()]
    const second = await client.chat.completions.create({ ...base, messages })
    expect(second.choices[0]).toMatchObject({ finish_reason: 'stop' })
    expect(second.choices[0]?.message.content).toBe('The tools say: {"output":"rain"} {"sky":"blue"}')
    // A signature that the model did not give is refused: the good one did go back as it came.
    const forged = JSON.parse(
      JSON.stringify(message).replace(/"thought_signature":"[^"]{8}/, '"thought_signature":"AAAAAAAA'),
    )
    await expect(
      client.chat.completions.create({ ...base, messages: [...question, forged, ...results] }),
    ).rejects.toMatchObject({ status: 502, code: 'provider_rejected' })
  })

  test('runs tools by itself, streaming', async () => {
    const asked: unknown[] = []
    const runner = client.chat.completions.runTools({
      model: GEMINI,
      messages: ask(`How is it now? ${TWO_CITIES}`),
      stream: true,
      tools: [
        {
          type: 'function',
          function: {
            name: 'weather',
            description: 'The weather of a city',
            parameters: CITY,
            parse: (text) => JSON.parse(text),
            function: ({ city }: { city: string }) => {
              asked.push(city)
              return `rain in ${city}`
            },
          },
        },
      ],
    })
    expect(await runner.finalContent()).toContain('rain in Köln')
    expect(asked).toEqual(['Rome', 'Köln'])
  })

  test.each([
    ['a schema', { type: 'json_schema', json_schema: { name: 'person', strict: true, schema: person() } } as const],
    ['JSON of any kind', { type: 'json_object' } as const],
  ])('gets %s', async (_name, response_format) => {
    const answer = await client.chat.completions.create({ model: GEMINI, messages: ask('who?'), response_format })
    const value = JSON.parse(answer.choices[0]?.message.content ?? '')
    if (response_format.type === 'json_schema') expect(value).toEqual({ name: expect.any(String) })
    else expect(typeof value).toBe('object')
  })

  test('shows it a picture', async () => {
    const answer = await client.chat.completions.create({
      model: GEMINI,
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'what is it? [[say:a dot]]' },
            { type: 'image_url', image_url: { url: PICTURE } },
          ],
        },
      ],
    })
    expect(answer.choices[0]?.message.content).toBe('a dot')
    expect(lastCall().tokens.imageIn).toBeGreaterThan(0)
    expect(answer.usage?.prompt_tokens).toBe(lastCall().tokens.prompt)
  })

  test('embeds, as numbers and as base64, whole and shortened', async () => {
    const input = ['one '.repeat(400), 'two '.repeat(400)]
    const numbers = await client.embeddings.create({ model: EMBEDDING, input, encoding_format: 'float' })
    const { data: packed, response } = await client.embeddings.create({ model: EMBEDDING, input }).withResponse()
    expect(numbers.data.map(({ embedding }) => embedding.length)).toEqual([3_072, 3_072])
    expect(packed.data[1]?.embedding.length).toBe(3_072)
    expect(packed.data[1]?.embedding[7]).toBeCloseTo(numbers.data[1]?.embedding[7] ?? 9, 5)
    expect(packed.usage.prompt_tokens).toBe(lastCall().tokens.prompt)
    expect(micros(Number(response.headers.get('x-switchyard-cost-usd')))).toBe(costOf(lastCall()))
    const short = await client.embeddings.create({ model: EMBEDDING, input: 'one', dimensions: 256 })
    expect(short.data[0]?.embedding.length).toBe(256)
  })

  test('is answered at the second try where the model was overloaded', async () => {
    const { data, response } = await client.chat.completions
      .create({ model: GEMINI, messages: ask('hello again [[fail_once:503]] [[say:there]]') })
      .withResponse()
    expect([data.choices[0]?.message.content, response.headers.get('x-switchyard-attempts')]).toEqual(['there', '2'])
  })

  test.each([
    ['a prompt that is too long, which costs nothing', 'provider_rejected', '[[context]]', false],
    ['a prompt that is blocked, of which nobody says what it costs', 'content_rejected', '[[block:SAFETY]]', true],
  ])('is told of %s, and not to try again', async (_what, code, directive, presumes) => {
    const before = { requests: gemini.stats().requests, books: await ledgerAtRest(line) }
    const patient = client.withOptions({ maxRetries: 3 })
    const call = patient.chat.completions.create({ model: GEMINI, messages: ask(`please, please ${directive}`) })
    await expect(call).rejects.toMatchObject({ status: 502, code })
    expect(gemini.stats().requests).toBe(before.requests + 1)
    const { settled_usd, presumed_usd } = await ledgerAtRest(line)
    expect([settled_usd, presumed_usd > before.books.presumed_usd]).toEqual([before.books.settled_usd, presumes])
  })

  test('is told of a stream that fails in its middle, and pays for what it got', async () => {
    const stream = await client.chat.completions.create({
      model: GEMINI,
      messages: ask('tell me [[chunks:20]] [[error_event:503:6]]'),
      stream: true,
    })
    let text = ''
    const reading = (async () => {
      for await (const { choices } of stream) text += choices[0]?.delta.content ?? ''
    })()
    await expect(reading).rejects.toMatchObject({ code: 'provider_unavailable' })
    await expect(reading).rejects.toThrow(OpenAI.APIError)
    expect(text.length).toBeGreaterThan(0)
    expect(lastCall().tokens.candidates).toBeGreaterThan(0)
  })
})

test('what Google has billed is what the books say, call by call and to the last micro-dollar', async () => {
  const { calls, accepted } = gemini.stats()
  const billed = calls.reduce((sum, call) => sum + costOf(call), 0)
  const ledger = await ledgerAtRest(line, accepted)
  expect([micros(ledger.settled_usd), ledger.difference_usd]).toEqual([billed, 0])
  const { total } = await until(
    () => line.root.ask<UsageReport>('GET', `${line.base}/usage`),
    (usage) => usage.total.attempts >= calls.length,
  )
  expect(total.errors).toEqual({ provider_rejected: 2, content_rejected: 1, provider_unavailable: 2 })
})

function person() {
  return { type: 'object', properties: { name: { type: 'string' } }, required: ['name'], additionalProperties: false }
}
