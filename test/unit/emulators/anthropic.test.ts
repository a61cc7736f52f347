import Anthropic from '@anthropic-ai/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { problemWith, reference, type Version, versions } from '../../emulators/anthropic/spec.ts'
import { type AnthropicEmulator, startAnthropic } from '../../emulators/anthropic.ts'

/** The official client, unchanged, against the emulator: what runs here runs against the provider. */

let emulator: AnthropicEmulator
let client: Anthropic
const model = 'claude-opus-5-5'
const older = 'claude-haiku-4-5'
const max_tokens = 1_000
const ask = (content: string) => [{ role: 'user' as const, content }]

beforeAll(async () => {
  emulator = await startAnthropic({ apiKeys: ['sk-good'] })
  client = new Anthropic({ baseURL: emulator.url, apiKey: 'sk-good', maxRetries: 0 })
})
afterEach(() => emulator.reset())
afterAll(() => emulator.close())

const clientOf = (version: Version) =>
  new Anthropic({
    baseURL: emulator.url,
    apiKey: 'sk-good',
    maxRetries: 0,
    defaultHeaders: { 'anthropic-version': version },
  })

const WEATHER = {
  name: 'weather',
  description: 'of a city',
  input_schema: { type: 'object' as const, properties: { city: { type: 'string' } }, required: ['city'] },
}

describe('the official client', () => {
  it.each(versions)('has a message in version %s', async (version) => {
    const message = await clientOf(version).messages.create({
      model,
      max_tokens,
      system: 'be brief',
      messages: ask('hello [[say:good day]]'),
    })
    expect(message.content).toMatchObject([{ type: 'text', text: 'good day' }])
    expect(message).toMatchObject({ stop_reason: 'end_turn', usage: { output_tokens: 2 }, model })
    expect(problemWith(reference[version].message, message)).toBeUndefined()
    await expect.poll(() => emulator.stats().calls).toMatchObject([{ version, answered: true, usageTold: true }])
  })

  it.each(versions)('streams in version %s', async (version) => {
    const stream = clientOf(version).messages.stream({
      model,
      max_tokens,
      messages: ask('hello [[say:Grüße, 灯 🚢!]] [[split:1]] [[read:3]]'),
    })
    let text = ''
    stream.on('text', (piece) => {
      text += piece
    })
    const message = await stream.finalMessage()
    expect(text).toBe('Grüße, 灯 🚢!')
    expect(message).toMatchObject({
      content: [{ type: 'text', text }],
      usage: { cache_read_input_tokens: 3, output_tokens: 3 },
    })
    expect(problemWith(reference[version].message, message)).toBeUndefined()
    await expect
      .poll(() => emulator.stats())
      .toMatchObject({ tokens: { cacheRead: 3, output: 3 }, calls: [{ stream: true }] })
  })

  it('sees every event of a stream in its order', async () => {
    const stream = await client.messages.create({
      model,
      max_tokens,
      stream: true,
      tools: [WEATHER],
      thinking: { type: 'adaptive', display: 'summarized' },
      messages: ask('weather? [[think:Let me see.]] [[say:I look]] [[call:weather:{"city":"Rome"}]]'),
    })
    const names: string[] = []
    for await (const event of stream) {
      const name = event.type === 'content_block_delta' ? event.delta.type : event.type
      if (names.at(-1) !== name) names.push(name)
    }
    expect(names).toEqual([
      'message_start',
      'content_block_start',
      'thinking_delta',
      'signature_delta',
      'content_block_stop',
      'content_block_start',
      'text_delta',
      'content_block_stop',
      'content_block_start',
      'input_json_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ])
  })

  it('runs a loop of tools to its end, with its thoughts', async () => {
    const messages: Anthropic.MessageParam[] = ask(
      'weather in two towns? [[think:Hm.]] [[call:weather:{"city":"Rome"};weather:{"city":"Oslo"}]]',
    )
    const first = await client.messages.create({ model, max_tokens, tools: [WEATHER], messages })
    expect(first.stop_reason).toBe('tool_use')
    // Not shown, as is this model's default, but signed.
    expect(first.content[0]).toMatchObject({
      type: 'thinking',
      thinking: '',
      signature: expect.stringMatching(/.{20}/),
    })
    messages.push({ role: 'assistant', content: first.content })
    const results = first.content.flatMap((block) =>
      block.type === 'tool_use'
        ? [
            {
              type: 'tool_result' as const,
              tool_use_id: block.id,
              content: `rain in ${(block.input as { city: string }).city}`,
            },
          ]
        : [],
    )
    messages.push({ role: 'user', content: results })
    const second = await client.messages.create({ model, max_tokens, tools: [WEATHER], messages })
    expect(second.content).toMatchObject([{ type: 'text', text: 'The tools say: rain in Rome; rain in Oslo' }])
    // What was said before the thought may not change any more.
    messages[0] = { role: 'user', content: 'something else' }
    await expect(client.messages.create({ model, max_tokens, tools: [WEATHER], messages })).rejects.toMatchObject({
      status: 400,
      apiMessage: expect.stringMatching(/Invalid `signature`/),
    })
  })

  it('gets an answer that keeps to a schema', async () => {
    const schema = {
      type: 'object',
      properties: {
        city: { enum: ['Rome', 'Oslo'] },
        towers: { type: 'array', items: { type: 'integer', minimum: 3 } },
      },
      required: ['city', 'towers'],
      additionalProperties: false,
    }
    const message = await client.messages.parse({
      model,
      max_tokens,
      messages: ask('a city'),
      output_config: { format: { type: 'json_schema', schema } },
    })
    expect(message.parsed_output).toEqual({ city: 'Rome', towers: [3] })
  })

  it('sends images, and counts tokens beforehand', async () => {
    const messages: Anthropic.MessageParam[] = [
      {
        role: 'user',
        content: [
          { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } },
          { type: 'image', source: { type: 'url', url: 'https://example.com/a.jpg' } },
          { type: 'text', text: 'what?' },
        ],
      },
    ]
    const counted = await client.messages.countTokens({ model, messages })
    expect(counted.input_tokens).toBeGreaterThan(3_000)
    expect(problemWith(reference['2026-10-21'].counted, counted)).toBeUndefined()
    expect(emulator.stats().accepted).toBe(0)
    const message = await client.messages.create({ model, max_tokens, messages })
    expect(message.usage.input_tokens).toBe(counted.input_tokens)
  })

  it('lists models', async () => {
    const page = await client.models.list()
    expect(page.data.map(({ id }) => id)).toContain(model)
    expect(await client.models.retrieve(older)).toMatchObject({ id: older, max_tokens: 64_000 })
    await expect(client.models.retrieve('nothing')).rejects.toMatchObject({ status: 404 })
    const raw: unknown = await (
      await fetch(`${emulator.url}/v1/models`, {
        headers: { 'x-api-key': 'sk-good', 'anthropic-version': '2023-06-01' },
      })
    ).json()
    expect(problemWith(reference['2023-06-01'].models, raw)).toBeUndefined()
  })

  it('is told why the model declined', async () => {
    const message = await client.messages.create({ model, max_tokens, messages: ask('how to [[refuse]]') })
    expect(message).toMatchObject({ stop_reason: 'refusal', stop_details: { type: 'refusal', category: 'cyber' } })
    expect(problemWith(reference['2026-10-21'].message, message)).toBeUndefined()
  })

  it.each<[string, number, string, string | null]>([
    ['[[fail:400]]', 400, 'invalid_request_error', null],
    ['[[credit]]', 400, 'invalid_request_error', null],
    ['[[fail:401]]', 401, 'authentication_error', null],
    ['[[fail:402]]', 402, 'billing_error', null],
    ['[[fail:403]]', 403, 'permission_error', null],
    ['[[fail:404]]', 404, 'not_found_error', null],
    ['[[fail:413]]', 413, 'request_too_large', null],
    ['[[fail:429]]', 429, 'rate_limit_error', null],
    ['[[fail:429:enforced_spend_limit_reached]]', 429, 'rate_limit_error', 'enforced_spend_limit_reached'],
    ['[[fail:500]]', 500, 'api_error', null],
    ['[[fail:529]]', 529, 'overloaded_error', null],
  ])('meets the error %s', async (directive, status, type, errorCode) => {
    const refused = client.messages.create({ model, max_tokens, messages: ask(`hello ${directive}`) })
    const error = await refused.then(
      () => null,
      (caught: InstanceType<typeof Anthropic.APIError>) => caught,
    )
    expect(error).toMatchObject({ status, type, errorCode, requestID: expect.stringMatching(/^req_/) })
    for (const version of versions) expect(problemWith(reference[version].error, error?.error)).toBeUndefined()
    expect(emulator.stats()).toMatchObject({ accepted: 0, rejected: { [status]: 1 } })
  })

  it('retries an overload as its headers say, and gives up where they forbid it', async () => {
    const patient = new Anthropic({ baseURL: emulator.url, apiKey: 'sk-good', maxRetries: 2 })
    const message = await patient.messages.create({
      model,
      max_tokens,
      messages: ask('hello [[fail_once:529]] [[retry_after_ms:1]] [[say:now]]'),
    })
    expect(message.content).toMatchObject([{ text: 'now' }])
    expect(emulator.stats()).toMatchObject({ requests: 2, accepted: 1 })
    await expect(
      patient.messages.create({ model, max_tokens, messages: ask('hello [[fail:429]] [[should_retry:false]]') }),
    ).rejects.toMatchObject({ status: 429 })
    expect(emulator.stats().requests).toBe(3)
  })

  it.each(['[[error_event:overloaded_error:4]]', '[[malformed:4]]', '[[cut:900]]', '[[no_stop]]'])(
    'sees a stream fail with %s',
    async (directive) => {
      const stream = client.messages.stream({
        model,
        max_tokens,
        messages: ask(`hello ${directive} [[chunks:50]]`),
      })
      await expect(stream.finalMessage()).rejects.toThrow()
    },
  )

  it('that leaves is billed for what was generated and no more', async () => {
    const stream = await client.messages.create({
      model,
      max_tokens,
      stream: true,
      // The message, its block and a ping go before the first of the ten.
      messages: ask('hello [[chunks:900]] [[stall_stream:13]]'),
    })
    let pieces = 0
    for await (const event of stream) {
      pieces += event.type === 'content_block_delta' ? 1 : 0
      if (pieces === 10) break
    }
    await expect.poll(() => emulator.stats().clientsLeft).toBe(1)
    expect(emulator.stats()).toMatchObject({
      inflight: 0,
      tokens: { output: 10 },
      calls: [{ clientLeft: true, answered: false, usageTold: false }],
    })
  })

  it('that gives up waiting for the first byte leaves too', async () => {
    const controller = new AbortController()
    const asked = client.messages.create(
      { model, max_tokens, messages: ask('hello [[stall]]') },
      { signal: controller.signal },
    )
    const gone = expect(asked).rejects.toThrow(/abort/i)
    await expect.poll(() => emulator.stats().inflight).toBe(1)
    controller.abort()
    await gone
    await expect.poll(() => emulator.stats().clientsLeft).toBe(1)
  })
})

describe('the emulator', () => {
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${emulator.url}${path}`, {
      method: 'POST',
      headers: { 'x-api-key': 'sk-good', 'anthropic-version': '2026-10-21', ...headers },
      body: JSON.stringify(body),
    })
  const request = (more: object = {}) => ({ model, max_tokens, messages: ask('x'), ...more })
  const tools = [WEATHER]
  const enabled = { type: 'enabled', budget_tokens: 2_000 }

  it.each<[string, object, RegExp]>([
    ['a field nobody knows', { max_token: 5 }, /^max_token: Extra inputs are not permitted$/],
    ['no limit', { max_tokens: undefined }, /^max_tokens: Field required$/],
    ['no messages', { messages: [] }, /at least one message/],
    ['blank text', { messages: ask(' ') }, /non-whitespace/],
    ['a temperature', { model: older, temperature: 1 }, /^temperature: Extra inputs/],
    ['more tokens than it makes', { max_tokens: 200_000 }, /128000/],
    ['thoughts that cannot be turned off', { thinking: { type: 'disabled' } }, /thinking\.type\.disabled/],
    ['a budget where none is taken', { thinking: enabled }, /thinking\.type\.enabled/],
    ['a budget beyond the limit', { model: older, thinking: enabled }, /greater than `thinking\.budget_tokens`/],
    ['an effort where none is taken', { model: older, output_config: { effort: 'low' } }, /effort/],
    ['a forced tool where none can be', { tools, tool_choice: { type: 'any' } }, /tool_choice/],
    [
      'a forced tool while it thinks',
      { model: older, max_tokens: 3_000, thinking: enabled, tools, tool_choice: { type: 'any' } },
      /Thinking may not be enabled/,
    ],
    ['a choice of no tools', { tool_choice: { type: 'auto' } }, /tool_choice may only/],
    ['the assistant’s last word', { messages: [...ask('x'), { role: 'assistant', content: 'y' }] }, /prefill/],
    [
      'a result without a call',
      { messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a' }] }] },
      /unexpected `tool_use_id`/,
    ],
    [
      'a call without a result',
      {
        messages: [
          ...ask('x'),
          { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: {} }] },
          ...ask('y'),
        ],
      },
      /without `tool_result`/,
    ],
    [
      'a thought that it did not have',
      {
        messages: [
          ...ask('x'),
          { role: 'assistant', content: [{ type: 'thinking', thinking: 'hm', signature: 'x' }] },
          ...ask('y'),
        ],
      },
      /Invalid `signature`/,
    ],
    [
      'an open schema',
      { output_config: { format: { type: 'json_schema', schema: { type: 'object' } } } },
      /additionalProperties/,
    ],
    ['blank stops', { stop_sequences: [' '] }, /stop_sequences/],
    ['an unknown directive', { messages: ask('x [[sing]]') }, /sing/],
  ])('refuses %s', async (_what, more, message) => {
    const response = await post('/v1/messages', request(more))
    const answer = (await response.json()) as { error: { message: string } }
    expect(response.status).toBe(400)
    expect(answer.error.message).toMatch(message)
    expect(problemWith(reference['2026-10-21'].error, answer)).toBeUndefined()
    expect(response.headers.get('request-id')).toMatch(/^req_/)
  })

  it('takes a temperature in the older version alone, from models that are told how to sample', async () => {
    const sampled = { model: older, temperature: 0.5 }
    const in2023 = { 'anthropic-version': '2023-06-01' }
    expect((await post('/v1/messages', request(sampled), in2023)).status).toBe(200)
    expect((await post('/v1/messages', request({ temperature: 0.5 }), in2023)).status).toBe(400)
    expect((await post('/v1/messages', request({ ...sampled, top_p: 0.5 }), in2023)).status).toBe(400)
  })

  it('lets in by either header, and nobody without a good key or a version', async () => {
    const status = async (headers: Record<string, string>) =>
      (await fetch(`${emulator.url}/v1/messages`, { method: 'POST', headers, body: JSON.stringify(request()) })).status
    const version = { 'anthropic-version': '2023-06-01' }
    expect(await status({ ...version, 'x-api-key': 'sk-good' })).toBe(200)
    expect(await status({ ...version, authorization: 'Bearer sk-good' })).toBe(200)
    expect(await status({ ...version, 'x-api-key': 'sk-bad' })).toBe(401)
    expect(await status(version)).toBe(401)
    expect(await status({ 'x-api-key': 'sk-good' })).toBe(400)
    expect(await status({ 'x-api-key': 'sk-good', 'anthropic-version': '2025-01-01' })).toBe(400)
  })

  it('knows neither other models nor other paths', async () => {
    expect((await post('/v1/messages', request({ model: 'claude-2' }))).status).toBe(404)
    expect((await post('/v1/complete', request())).status).toBe(404)
  })

  it('holds to limits of calls and of tokens in any minute', async () => {
    emulator.control({ requestsPerMinute: 3, tokensPerMinute: 100 })
    const statuses: number[] = []
    for (let number = 0; number < 4; number += 1) statuses.push((await post('/v1/messages', request())).status)
    expect(statuses).toEqual([200, 200, 200, 429])
    const big = await post('/v1/messages', request({ model: older, messages: ask('x'.repeat(1_000)) }))
    expect(big.status).toBe(429)
    expect(Number(big.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(big.headers.get('anthropic-ratelimit-tokens-limit')).toBe('100')
    emulator.control({ clockOffsetMs: 60_001 })
    expect((await post('/v1/messages', request())).status).toBe(200)
  })

  it('is governed and read over HTTP, where it is another process', async () => {
    const control = await post('/_emulator/control', { faults: ['fail:529'], faultRate: 1 })
    expect(await control.json()).toMatchObject({ faultRate: 1 })
    expect((await post('/v1/messages', request())).status).toBe(529)
    expect((await post('/_emulator/control', { nonsense: 1 })).status).toBe(400)
    expect((await post('/_emulator/control', { faults: ['sing'] })).status).toBe(400)
    const stats = await (await fetch(`${emulator.url}/_emulator/stats`)).json()
    expect(stats).toMatchObject({ requests: 1, accepted: 0, rejected: { 529: 1 } })
    await post('/_emulator/reset', {})
    expect((await post('/v1/messages', request())).status).toBe(200)
  })

  it('answers what stalls once it is told to', async () => {
    const answer = post('/v1/messages', request({ messages: ask('x [[stall]] [[say:late]]') }))
    await expect.poll(() => emulator.stats().inflight).toBe(1)
    emulator.control({ finishNow: true })
    expect(JSON.stringify(await (await answer).json())).toContain('late')
  })

  it('bills a stream’s thoughts too, to its end', async () => {
    const response = await post(
      '/v1/messages',
      request({ messages: ask('x [[chunks:12]] [[reasoning:7]]'), stream: true }),
    )
    await response.text()
    await expect.poll(() => emulator.stats()).toMatchObject({ tokens: { output: 19, thinking: 7 } })
  })

  it('streams as many pieces as are asked for, and counts them', async () => {
    const response = await post('/v1/messages', request({ messages: ask('x [[chunks:200]]'), stream: true }))
    const text = await response.text()
    expect(text.match(/"type":"text_delta"/g)).toHaveLength(200)
    expect(text.endsWith('event: message_stop\ndata: {"type":"message_stop"}\n\n')).toBe(true)
    await expect
      .poll(() => emulator.stats())
      .toMatchObject({ tokens: { output: 200 }, calls: [{ answered: true, usageTold: true }] })
  })
})
