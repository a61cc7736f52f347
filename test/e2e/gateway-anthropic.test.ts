import type OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AnthropicEmulator } from '../emulators/anthropic.ts'
import { ask, CLAUDE, type Line, ledgerAtRest, micros, startAnthropicHere, startLine } from './line.ts'

/** OpenAI's official client, unchanged, on Claude: what differs between the two never shows, and costs are Anthropic's. */

let anthropic: AnthropicEmulator
let line: Line
let client: OpenAI

beforeAll(async () => {
  anthropic = await startAnthropicHere()
  line = await startLine({ anthropic })
  client = line.client
})
afterAll(async () => {
  const ledger = await ledgerAtRest(line)
  expect([ledger.held_usd, ledger.difference_usd]).toEqual([0, 0])
})

/** USD per million tokens of Claude Sonnet 4.6 (https://platform.claude.com/docs/en/about-claude/pricing). */
const USD_PER_MTOK = { input: 3, output: 15, cacheRead: 0.3, cacheWrite5m: 3.75 }

/** In micro-USD, of what the emulator has billed for its last call. */
const lastCost = (): number => {
  const { tokens } = anthropic.stats().calls.at(-1) ?? { tokens: null }
  if (!tokens) throw new Error('nothing was billed')
  const { input, output, cacheRead, cacheWrite5m } = USD_PER_MTOK
  return Math.round(
    tokens.input * input + tokens.output * output + tokens.cacheRead * cacheRead + tokens.cacheWrite5m * cacheWrite5m,
  )
}

/** Runs a call and answers what the books have grown by. */
const booked = async (call: () => Promise<unknown>): Promise<number> => {
  const before = await ledgerAtRest(line)
  await call()
  const after = await ledgerAtRest(line, before.attempts + 1)
  return micros(after.settled_usd - before.settled_usd)
}

const SAID = 'Grüße, 灯 🚢!'
const WEATHER: OpenAI.ChatCompletionTool = {
  type: 'function',
  function: {
    name: 'weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}
const PICTURE =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

describe('OpenAI’s client with Claude', () => {
  test('chats, at the price of Anthropic', async () => {
    let told = 0
    const cost = await booked(async () => {
      const { data, response } = await client.chat.completions
        .create({ model: CLAUDE, messages: ask(`hello, you [[say:${SAID}]]`) })
        .withResponse()
      expect(data.choices[0]).toMatchObject({ message: { content: SAID }, finish_reason: 'stop' })
      told = micros(Number(response.headers.get('x-switchyard-cost-usd')))
    })
    expect([cost, told]).toEqual([lastCost(), lastCost()])
  })

  test('pays cached parts of a prompt at their own price', async () => {
    const prompt = `${'long ago '.repeat(500)} [[read:600]] [[written:200]]`
    const cost = await booked(() => client.chat.completions.create({ model: CLAUDE, messages: ask(prompt) }))
    expect(anthropic.stats().calls.at(-1)?.tokens).toMatchObject({ cacheRead: 600, cacheWrite5m: 200 })
    expect(cost).toBe(lastCost())
  })

  test('streams, with the usage and its cost in the last chunk', async () => {
    let text = ''
    let told: unknown
    const cost = await booked(async () => {
      const stream = await client.chat.completions.create({
        model: CLAUDE,
        messages: ask(`hello, stream [[say:${SAID}]] [[split:1]]`),
        stream: true,
        stream_options: { include_usage: true },
      })
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? ''
        told = chunk.usage ?? told
      }
    })
    expect(text).toBe(SAID)
    expect(cost).toBe(lastCost())
    expect(micros((told as { cost_usd: number }).cost_usd)).toBe(cost)
  })

  test('runs a loop of tools in which the model gets its signed thoughts back', async () => {
    const question = ask('How is it? [[think:first the map]] [[call:weather:{"city":"Rome"};weather:{"city":"Köln"}]]')
    const base = { model: CLAUDE, tools: [WEATHER], reasoning_effort: 'high' as const }
    const first = await client.chat.completions.create({ ...base, messages: question })
    const message = first.choices[0]?.message
    if (!message) throw new Error('no answer')
    expect(message).toMatchObject({
      reasoning_content: 'first the mapfirst the map 1',
      extra_content: { anthropic: {} },
    })
    expect(message.tool_calls?.map(({ id }) => id).length).toBe(2)
    const results = (message.tool_calls ?? []).map(({ id }) => ({
      role: 'tool' as const,
      tool_call_id: id,
      content: 'rain',
    }))
    const second = await client.chat.completions.create({ ...base, messages: [...question, message, ...results] })
    expect(second.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: expect.any(String) } })
    // Without them, or with others, the provider refuses the turn: they did go back as they came.
    const forged = JSON.parse(JSON.stringify(message).replace(/"signature":"[^"]{8}/, '"signature":"AAAAAAAA'))
    await expect(
      client.chat.completions.create({ ...base, messages: [...question, forged, ...results] }),
    ).rejects.toMatchObject({ status: 502, code: 'provider_rejected' })
  })

  test('streams a loop of tools with thoughts', async () => {
    const question = ask('How is it now? [[think:first the sky]] [[call:weather:{"city":"Rome"}]]')
    const base = { model: CLAUDE, tools: [WEATHER], reasoning_effort: 'high' as const }
    const stream = client.chat.completions.stream({ ...base, messages: question })
    let thoughts = ''
    let state: unknown
    stream.on('chunk', ({ choices }) => {
      const delta = choices[0]?.delta as { reasoning_content?: string; extra_content?: unknown } | undefined
      thoughts += delta?.reasoning_content ?? ''
      state = delta?.extra_content ?? state
    })
    const message = (await stream.finalChatCompletion()).choices[0]?.message
    const [call] = message?.tool_calls ?? []
    if (!message || call?.type !== 'function') throw new Error('no tool was called')
    expect(thoughts).toBe('first the sky')
    expect(JSON.parse(call.function.arguments)).toEqual({ city: 'Rome' })
    const said = {
      role: 'assistant' as const,
      content: message.content,
      tool_calls: [{ id: call.id, type: 'function' as const, function: call.function }],
      extra_content: state,
    }
    const second = await client.chat.completions.create({
      ...base,
      messages: [...question, said, { role: 'tool', tool_call_id: call.id, content: 'sun' }],
    })
    expect(second.choices[0]?.message.content).toContain('sun')
  })

  test('shows it a picture', async () => {
    const before = anthropic.stats().tokens.input
    const answer = await client.chat.completions.create({
      model: CLAUDE,
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
    // As the emulator bills a picture.
    expect(anthropic.stats().tokens.input - before).toBeGreaterThan(1_600)
  })

  test.each([
    ['a schema', { type: 'json_schema', json_schema: { name: 'person', strict: true, schema: person() } } as const],
    ['JSON of any kind', { type: 'json_object' } as const],
  ])('gets %s', async (_name, response_format) => {
    const answer = await client.chat.completions.create({ model: CLAUDE, messages: ask('who?'), response_format })
    const value = JSON.parse(answer.choices[0]?.message.content ?? '')
    if (response_format.type === 'json_schema') expect(value).toEqual({ name: expect.any(String) })
    else expect(typeof value).toBe('object')
  })

  test.each([
    ['provider_rejected', '[[context]]'],
    ['content_rejected', '[[filtered]]'],
  ])('is told of %s, and not to try again', async (code, directive) => {
    const before = anthropic.stats().requests
    const patient = client.withOptions({ maxRetries: 3 })
    const call = patient.chat.completions.create({ model: CLAUDE, messages: ask(`please, please ${directive}`) })
    await expect(call).rejects.toMatchObject({ status: 502, code })
    expect(anthropic.stats().requests).toBe(before + 1)
  })
})

function person() {
  return { type: 'object', properties: { name: { type: 'string' } }, required: ['name'], additionalProperties: false }
}
