import OpenAI from 'openai'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { vectorOf } from '../../emulators/openai/embeddings.ts'
import { answers, problemWith } from '../../emulators/openai/spec.ts'
import { type OpenAiEmulator, startOpenAi } from '../../emulators/openai.ts'

/** The official client, unchanged, against the emulator: what runs here runs against the provider. */

let emulator: OpenAiEmulator
let client: OpenAI
const model = 'gpt-5-mini'
const ask = (content: string) => [{ role: 'user' as const, content }]

beforeAll(async () => {
  emulator = await startOpenAi({ apiKeys: ['sk-good'], draw: false })
  client = new OpenAI({ baseURL: `${emulator.url}/v1`, apiKey: 'sk-good', maxRetries: 0 })
})
afterEach(() => emulator.reset())
afterAll(() => emulator.close())

describe('the official client', () => {
  it('chats', async () => {
    const completion = await client.chat.completions.create({ model, messages: ask('hello [[say:good day]]') })
    expect(completion.choices[0]?.message.content).toBe('good day')
    expect(completion.usage?.completion_tokens).toBe(2)
    await expect.poll(() => emulator.stats()).toMatchObject({ clientsLeft: 0, calls: [{ answered: true }] })
    expect(problemWith(answers.chat, completion)).toBeUndefined()
  })

  it('streams, with usage in the last chunk', async () => {
    const stream = await client.chat.completions.create({
      model,
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
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: expect.any(Number) } })
    for (const chunk of chunks.slice(0, -1))
      expect(problemWith(answers.chunk, { ...chunk, usage: undefined })).toBeUndefined()
    expect(problemWith(answers.chunk, chunks.at(-1))).toBeUndefined()
    expect(emulator.stats().calls).toMatchObject([{ answered: true, usageTold: true, stream: true }])
  })

  it('runs a loop of tools to its end', async () => {
    const runner = client.chat.completions.runTools({
      model,
      messages: ask('weather in two towns? [[call:weather:{"city":"Rome"};weather:{"city":"Oslo"}]]'),
      tools: [
        {
          type: 'function',
          function: {
            name: 'weather',
            description: 'of a city',
            parse: JSON.parse,
            parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
            function: ({ city }: { city: string }) => `rain in ${city}`,
          },
        },
      ],
    })
    expect(await runner.finalContent()).toBe('The tool says: rain in Oslo')
    expect(runner.messages.filter(({ role }) => role === 'tool')).toHaveLength(2)
  })

  it('gets an answer that keeps to a schema', async () => {
    const schema = {
      type: 'object',
      properties: { city: { enum: ['Rome', 'Oslo'] }, towers: { type: 'array', items: { $ref: '#/$defs/tower' } } },
      required: ['city', 'towers'],
      additionalProperties: false,
      $defs: {
        tower: { type: 'object', properties: { height: { type: 'integer', minimum: 3 } }, required: ['height'] },
      },
    }
    const completion = await client.chat.completions.parse({
      model,
      messages: ask('a city'),
      response_format: { type: 'json_schema', json_schema: { name: 'city', schema, strict: true } },
    })
    expect(JSON.parse(completion.choices[0]?.message.content ?? '')).toEqual({ city: 'Rome', towers: [{ height: 3 }] })
  })

  it('embeds, in base64 by default and in numbers when asked', async () => {
    const wanted = [...vectorOf('a lamp', 256)]
    for (const encoding_format of [undefined, 'float', 'base64'] as const) {
      const { data, usage } = await client.embeddings.create({
        model: 'text-embedding-3-small',
        input: ['a lamp', 'the sea'],
        dimensions: 256,
        ...(encoding_format ? { encoding_format } : {}),
      })
      expect(usage.prompt_tokens).toBe(4)
      const vector = data[0]?.embedding as unknown
      const read =
        typeof vector === 'string'
          ? [...new Float32Array(Uint8Array.from(Buffer.from(vector, 'base64')).buffer)]
          : vector
      expect(read).toEqual(wanted)
    }
  })

  it('makes pictures, and is told when one is not allowed', async () => {
    const made = await client.images.generate({ model: 'gpt-image-2', prompt: 'a lamp', n: 2, size: '1024x1024' })
    expect(
      made.data?.map(({ b64_json }) =>
        Buffer.from(b64_json ?? '', 'base64')
          .subarray(1, 4)
          .toString(),
      ),
    ).toEqual(['PNG', 'PNG'])
    expect(problemWith(answers.image, made)).toBeUndefined()
    await expect(client.images.generate({ model: 'gpt-image-2', prompt: 'a lamp [[reject]]' })).rejects.toMatchObject({
      status: 400,
      code: 'moderation_blocked',
    })
    await expect(client.images.generate({ model: 'gpt-image-1', prompt: 'a lamp' })).rejects.toMatchObject({
      status: 404,
    })
    expect(emulator.stats()).toMatchObject({ accepted: 1, images: 2 })
  })

  it('lists models', async () => {
    const ids: string[] = []
    for await (const { id } of client.models.list()) ids.push(id)
    expect(ids).toContain('gpt-5-mini')
    await expect(client.models.retrieve('nothing')).rejects.toMatchObject({ status: 404 })
  })

  it.each<[string, number, string | null]>([
    ['[[fail:400:context_length_exceeded]]', 400, 'context_length_exceeded'],
    ['[[fail:401]]', 401, 'invalid_api_key'],
    ['[[fail:404]]', 404, 'model_not_found'],
    ['[[fail:429]]', 429, 'rate_limit_exceeded'],
    ['[[fail:429:insufficient_quota]]', 429, 'insufficient_quota'],
    ['[[fail:500]]', 500, null],
    ['[[fail:503]]', 503, 'server_is_overloaded'],
  ])('meets the error %s', async (directive, status, code) => {
    const refused = client.chat.completions.create({ model, messages: ask(`hello ${directive}`) })
    await expect(refused).rejects.toMatchObject({ status, code, requestID: expect.stringMatching(/^req_/) })
    expect(emulator.stats()).toMatchObject({ accepted: 0, rejected: { [status]: 1 } })
  })

  it('retries a 429 as its headers say, and gives up where they forbid it', async () => {
    const patient = new OpenAI({ baseURL: `${emulator.url}/v1`, apiKey: 'sk-good', maxRetries: 2 })
    const completion = await patient.chat.completions.create({
      model,
      messages: ask('hello [[fail_once:429]] [[retry_after_ms:1]] [[say:now]]'),
    })
    expect(completion.choices[0]?.message.content).toBe('now')
    expect(emulator.stats()).toMatchObject({ requests: 2, accepted: 1 })
    await expect(
      patient.chat.completions.create({ model, messages: ask('hello [[fail:429]] [[should_retry:false]]') }),
    ).rejects.toMatchObject({ status: 429 })
    expect(emulator.stats().requests).toBe(3)
  })

  it.each(['[[error_event:server_error:2]]', '[[malformed:2]]', '[[cut:900]]'])(
    'sees a stream fail with %s',
    async (directive) => {
      const read = async () => {
        const stream = await client.chat.completions.create({
          model,
          messages: ask(`hello ${directive} [[chunks:50]]`),
          stream: true,
        })
        for await (const _ of stream);
      }
      await expect(read()).rejects.toThrow()
    },
  )

  it('that leaves is billed for what was generated and no more', async () => {
    const stream = await client.chat.completions.create({
      model,
      messages: ask('hello [[chunks:1000]] [[stall_stream:11]]'),
      stream: true,
    })
    let pieces = 0
    for await (const chunk of stream) {
      pieces += chunk.choices[0]?.delta.content ? 1 : 0
      if (pieces === 10) break
    }
    await expect.poll(() => emulator.stats().clientsLeft).toBe(1)
    expect(emulator.stats()).toMatchObject({
      inflight: 0,
      tokens: { completion: 10 },
      calls: [{ clientLeft: true, answered: false, usageTold: false }],
    })
  })
})

describe('the emulator', () => {
  const post = (path: string, body: unknown, key = 'sk-good') =>
    fetch(`${emulator.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}` },
      body: JSON.stringify(body),
    })

  it.each<[string, object, string | null]>([
    ['a field nobody knows', { model, messages: ask('x'), max_token: 5 }, 'max_token'],
    ['no messages', { model, messages: [] }, 'messages'],
    ['a wrong number', { model: 'gpt-4o', messages: ask('x'), temperature: 3 }, 'temperature'],
    ['the older limit', { model, messages: ask('x'), max_tokens: 5 }, 'max_tokens'],
    ['a temperature where it reasons', { model, messages: ask('x'), temperature: 0.5 }, 'temperature'],
    ['a choice of no tools', { model, messages: ask('x'), tool_choice: 'auto' }, 'tool_choice'],
    ['options of no stream', { model, messages: ask('x'), stream_options: { include_usage: true } }, 'stream_options'],
    ['an unknown directive', { model, messages: ask('x [[sing]]') }, null],
  ])('refuses %s', async (_what, body, param) => {
    const response = await post('/v1/chat/completions', body)
    const answer = (await response.json()) as { error: { param: string } }
    expect(response.status).toBe(400)
    expect(answer.error.param).toBe(param)
    expect(problemWith(answers.error, answer)).toBeUndefined()
  })

  it('lets nobody in without a good key', async () => {
    expect((await post('/v1/chat/completions', { model, messages: ask('x') }, 'sk-bad')).status).toBe(401)
    expect((await fetch(`${emulator.url}/v1/models`)).status).toBe(401)
  })

  it('holds to limits of calls and of tokens in any minute', async () => {
    emulator.control({ requestsPerMinute: 3, tokensPerMinute: 100 })
    const statuses: number[] = []
    for (let number = 0; number < 4; number += 1)
      statuses.push(
        (await post('/v1/chat/completions', { model, messages: ask('x'), max_completion_tokens: 10 })).status,
      )
    expect(statuses).toEqual([200, 200, 200, 429])
    const big = await post('/v1/chat/completions', { model: 'gpt-4o', messages: ask('x'), max_completion_tokens: 200 })
    expect([big.status, ((await big.json()) as { error: { type: string } }).error.type]).toEqual([429, 'tokens'])
    emulator.control({ clockOffsetMs: 60_001 })
    expect((await post('/v1/chat/completions', { model, messages: ask('x') })).status).toBe(200)
  })

  it('is governed and read over HTTP, where it is another process', async () => {
    const control = await post('/_emulator/control', { faults: ['fail:503'], faultRate: 1 })
    expect(await control.json()).toMatchObject({ faultRate: 1 })
    expect((await post('/v1/chat/completions', { model, messages: ask('x') })).status).toBe(503)
    expect((await post('/_emulator/control', { nonsense: 1 })).status).toBe(400)
    expect((await post('/_emulator/control', { faults: ['sing'] })).status).toBe(400)
    const stats = await (await fetch(`${emulator.url}/_emulator/stats`)).json()
    expect(stats).toMatchObject({ requests: 1, accepted: 0, rejected: { 503: 1 } })
    await post('/_emulator/reset', {})
    expect((await post('/v1/chat/completions', { model, messages: ask('x') })).status).toBe(200)
  })

  it('answers what stalls once it is told to', async () => {
    const answer = post('/v1/chat/completions', { model, messages: ask('x [[stall]] [[say:late]]') })
    await expect.poll(() => emulator.stats().inflight).toBe(1)
    emulator.control({ finishNow: true })
    expect(JSON.stringify(await (await answer).json())).toContain('late')
  })

  it('streams as many chunks as are asked for, and counts them', async () => {
    const response = await post('/v1/chat/completions', { model, messages: ask('x [[chunks:200]]'), stream: true })
    const text = await response.text()
    expect(text.match(/^data: \{/gm)).toHaveLength(202)
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    expect(emulator.stats()).toMatchObject({ tokens: { completion: 200 }, calls: [{ chunks: 202, answered: true }] })
  })
})
