import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { Completion } from '../../../src/contract/completion.ts'
import type { Context } from '../../../src/edge/context.ts'
import { chat, embeddings } from '../../../src/edge/gateway.ts'
import { createVault } from '../../../src/instance/vault.ts'
import { LIMITS } from '../../../src/limits.ts'
import { type FakeForeground, fakeForeground } from '../../unit/gateway/fake-foreground.ts'
import { ORIGIN, openSite, type Site, send } from '../support/client.ts'
import { expectProblem } from '../support/problem.ts'

const KEY = `sy_0123456789abcdef_${'A'.repeat(43)}`
const chatBody = (more: Record<string, unknown> = {}) => ({
  model: 'openai/gpt-5-mini',
  messages: [{ role: 'user', content: 'Hello' }],
  ...more,
})
const post = (path: string, json: unknown, headers: Record<string, string> = {}) =>
  send('POST', `/v1/instances/prod/${path}`, { key: KEY, json, headers })

describe('what is asked', () => {
  test('needs a key', async () => {
    for (const path of ['chat/completions', 'embeddings', 'images/generations'])
      expectProblem(await send('POST', `/v1/instances/prod/${path}`, { json: chatBody() }), 401, 'unauthenticated')
  })

  test.each<[string, string, unknown, string]>([
    ['a chat without a model', 'chat/completions', { messages: chatBody()['messages'] }, 'model'],
    ['a chat without messages', 'chat/completions', { model: 'x' }, 'messages'],
    ['an empty chat', 'chat/completions', chatBody({ messages: [] }), 'messages'],
    ['a misspelt field', 'chat/completions', chatBody({ temprature: 1 }), 'temprature'],
    ['audio', 'chat/completions', chatBody({ modalities: ['audio'] }), 'modalities.0'],
    [
      'a part of another kind',
      'chat/completions',
      chatBody({ messages: [{ role: 'user', content: [{ type: 'file' }] }] }),
      'messages.0.content.0.type',
    ],
    [
      'options of no stream',
      'chat/completions',
      chatBody({ stream_options: { include_usage: true } }),
      'stream_options',
    ],
    ['two limits', 'chat/completions', chatBody({ max_tokens: 1, max_completion_tokens: 2 }), 'max_tokens'],
    ['a field of ours that is wrong', 'chat/completions', chatBody({ prefer: 'speedy' }), 'prefer'],
    ['embeddings of nothing', 'embeddings', { model: 'x', input: '' }, 'input'],
    ['embeddings of mixed kinds', 'embeddings', { model: 'x', input: ['a', 1] }, 'input.1'],
    ['a picture of nothing', 'images/generations', { prompt: '' }, 'prompt'],
    ['too many pictures', 'images/generations', { prompt: 'x', n: 99 }, 'n'],
    ['a streamed picture', 'images/generations', { prompt: 'x', stream: true }, 'stream'],
  ])('is refused with the name of its field: %s', async (_what, path, body, param) => {
    const answer = await post(path, body)
    expectProblem(answer, 400, 'invalid_request')
    expect(answer.body.error.param).toBe(param)
  })

  test.each([
    ['none', ' must be an object.'],
    [7, ' must be an object.'],
    [true, ' must be an object.'],
    [['a'], ' must be an object.'],
    [{ a: 7 }, '.a must be text.'],
  ])('that is no metadata is told in one sentence, in the body and in the header: %j', async (metadata, sentence) => {
    const inBody = await post('chat/completions', chatBody({ metadata }))
    expect(inBody.body.error).toMatchObject({ code: 'invalid_request', message: `metadata${sentence}` })
    const header = 'x-switchyard-metadata'
    const inHeader = await post('chat/completions', chatBody(), { [header]: JSON.stringify(metadata) })
    expect(inHeader.body.error).toMatchObject({ param: header, message: `${header}${sentence}` })
  })

  test('is refused with the name of its header', async () => {
    const answer = await post('chat/completions', chatBody(), { 'x-switchyard-max-cost-usd': 'much' })
    expectProblem(answer, 400, 'invalid_request')
    expect(answer.body.error.param).toBe('x-switchyard-max-cost-usd')
  })

  test('may be larger than a job, up to its own bound', async () => {
    const content = 'x'.repeat(2 * LIMITS.bodyBytes)
    const taken = await post('chat/completions', chatBody({ messages: [{ role: 'user', content }], extra: 1 }))
    expect(taken.body.error.param).toBe('extra')
    const raw = 'x'.repeat(LIMITS.chatBodyBytes + 1)
    const large = await send('POST', '/v1/instances/prod/chat/completions', { key: KEY, raw })
    expectProblem(large, 413, 'payload_too_large')
  })

  test.each([
    '{"model":"x","messages":[{"role":"user","content":"x"}],"__proto__":{"a":1}}',
    '{"model":"x","messages":[{"role":"user","content":"x"}],"metadata":{"\\u005f_proto__":"a"}}',
    '{"model":"x","messages":[{"role":"user","content":"x","constructor":1}]}',
  ])('holds no key that is reserved: %s', async (raw) => {
    const answer = await send('POST', '/v1/instances/prod/chat/completions', { key: KEY, raw })
    expectProblem(answer, 400, 'invalid_request')
    expect(answer.body.error.message).toContain('reserved')
  })

  test('may speak of reserved names', async () => {
    const content = 'the constructor of a __proto__ \\u0041 "quoted \\" brackets [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["'
    const answer = await post('chat/completions', chatBody({ messages: [{ role: 'user', content }], extra: 1 }))
    expect(answer.body.error.param).toBe('extra')
  })
})

describe('a call in the runtime', () => {
  let foreground: FakeForeground
  const chunk = (content: string, finish: string | null = null) =>
    `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"${content}"},"finish_reason":${JSON.stringify(finish)}}]}\n\n`
  const STREAM = [chunk('Hel'), chunk('lo'), chunk('', 'stop'), 'data: [DONE]\n\n']

  beforeEach(async () => {
    const sealed = await createVault(env.MASTER_KEY).seal('sk-secret', 'main')
    foreground = fakeForeground({ sealed })
  })

  const call = async (
    body: Record<string, unknown>,
    handle: typeof chat = chat,
    headers: Record<string, string> = {},
  ): Promise<{ response: Response; settled(): Promise<void> }> => {
    const execution = createExecutionContext()
    const request = new Request(`${ORIGIN}/v1/instances/prod/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
    const context: Context = {
      request,
      env,
      url: new URL(request.url),
      requestId: 'req_1',
      params: { instance: 'prod' },
      query: {},
      startedAtMs: Date.now(),
      waitUntil: (work) => execution.waitUntil(work),
    }
    const response = await handle(context, async () => foreground)
    return { response, settled: () => waitOnExecutionContext(execution) }
  }

  const providerAnswers = (answer: (init: RequestInit | undefined) => Response) =>
    vi.spyOn(globalThis, 'fetch').mockImplementation(async (_input, init) => answer(init))

  test('opens the sealed secret, and streams what comes', async () => {
    const sent = providerAnswers(
      () => new Response(STREAM.join(''), { headers: { 'content-type': 'text/event-stream' } }),
    )
    const { response, settled } = await call(chatBody({ stream: true }))
    expect(await response.text()).toBe(STREAM.join(''))
    await settled()
    expect(new Headers(sent.mock.calls[0]?.[1]?.headers).get('authorization')).toBe('Bearer sk-secret')
    expect(foreground.closed).toMatchObject([{ end: { fault: null, delivered: true, usage: { estimated: true } } }])
  })

  test('answers in one piece', async () => {
    const message = { role: 'assistant', content: 'Hi', refusal: null }
    providerAnswers(() =>
      Response.json({
        id: 'c',
        model: 'm',
        choices: [{ index: 0, message, finish_reason: 'stop' }],
        usage: { prompt_tokens: 1, completion_tokens: 1 },
      }),
    )
    const { response, settled } = await call(chatBody(), chat, { 'x-switchyard-metadata': '{"a":"b"}' })
    expect((await response.json()) as Completion).toMatchObject({
      choices: [{ message }],
      usage: { cost_usd: 0.000_003 },
    })
    await settled()
    expect(foreground.opened[0]?.metadata).toEqual({ a: 'b' })
    expect(foreground.closed).toHaveLength(1)
  })

  test('that breaks while it answers is closed, and its lease is not kept for ever', async () => {
    providerAnswers(() =>
      Response.json({
        id: 'c',
        model: 'm',
        choices: [{ index: 0, message: { role: 'assistant', content: 'Hi', refusal: null }, finish_reason: 'stop' }],
      }),
    )
    foreground.cost = () => {
      throw new Error('broken')
    }
    await expect(call(chatBody())).rejects.toThrow('broken')
    await vi.waitFor(() => expect(foreground.closed).toMatchObject([{ end: { fault: { code: 'outcome_unknown' } } }]))
  })

  test('embeds', async () => {
    providerAnswers(() =>
      Response.json({ object: 'list', model: 'm', data: [{ object: 'embedding', index: 0, embedding: [0.5, 1] }] }),
    )
    const { response } = await call({ model: 'openai/text-embedding-3-small', input: 'a' }, embeddings)
    expect(await response.json()).toMatchObject({ data: [{ embedding: [0.5, 1] }], usage: { estimated: true } })
  })

  test('that its client leaves is closed, and its provider told', async () => {
    const cancelled = vi.fn()
    providerAnswers(() => {
      const body = new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode(chunk('Hel'))),
        cancel: cancelled,
      })
      return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
    })
    const { response, settled } = await call(chatBody({ stream: true }))
    const reader = response.body?.getReader()
    await reader?.read()
    await reader?.cancel()
    await settled()
    expect(cancelled).toHaveBeenCalled()
    expect(foreground.closed).toMatchObject([{ end: { fault: { code: 'canceled' }, abandoned: true } }])
  })
})

type Model = { id: string; object: string; created: number; owned_by: string; types: string[] }

describe('models', () => {
  let site: Site
  beforeEach(async () => {
    site = await openSite()
  })

  test('are listed as OpenAI lists them, images and text', async () => {
    const { body } = await site.send<{ object: string; data: Model[] }>('GET', '/models')
    expect(body.object).toBe('list')
    for (const model of body.data) {
      expect(model).toMatchObject({ object: 'model', created: expect.any(Number), owned_by: expect.any(String) })
      expect(model.id.startsWith(`${model.owned_by}/`)).toBe(true)
    }
    const typesOf = (id: string) => body.data.find((model) => model.id === id)?.types
    expect(typesOf('openai/gpt-5-mini')).toEqual(['text.generate@1'])
    expect(typesOf('openai/text-embedding-3-small')).toEqual(['text.embed@1'])
    expect(typesOf('ideogram/ideogram-3')).toEqual(['image.generate@1'])
    expect(new Set(body.data.map(({ id }) => id)).size).toBe(body.data.length)
  })

  test.each([
    ['openai/gpt-5-mini', 'text.generate@1'],
    ['openai%2Fgpt-5-mini', 'text.generate@1'],
    ['openai/text-embedding-3-small', 'text.embed@1'],
    ['ideogram/ideogram-3', 'image.generate@1'],
    ['ollama/library/llama3:8b', 'text.generate@1'],
  ])('are told one by one: %s', async (name, type) => {
    const { status, body } = await site.send<Model>('GET', `/models/${name}`)
    expect([status, body.id, body.types[0]]).toEqual([200, decodeURIComponent(name), type])
  })

  test.each(['openai/none', 'none', '%E0%A4%A'])('that are not there are not found: %s', async (name) => {
    expectProblem(await site.send('GET', `/models/${name}`), 404, 'not_found')
  })
})
