import { describe, expect, it, vi } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { type CallTools, runChat, runEmbed, startChat, type TextAttempt } from '../../../src/job/text-call.ts'
import { LIMITS } from '../../../src/limits.ts'
import { answers, problemWith } from '../../emulators/openai/spec.ts'
import {
  deaf,
  events,
  type FakeAi,
  fakeAi,
  native,
  nativeEvents,
  throwing,
  USED,
  upstreamError,
} from '../../worker/support/fake-ai.ts'
import { inputOf } from './text-call.ts'

/** Workers AI by the binding: the same answers, faults and bounds as over REST. */

const LLAMA = 'workers-ai/@cf/meta/llama-3.3-70b-instruct-fp8-fast'
const OSS = 'workers-ai/@cf/openai/gpt-oss-20b'
const BGE = 'workers-ai/@cf/baai/bge-m3'
const TOOL = { type: 'function' as const, function: { name: 'f', parameters: { type: 'object', properties: {} } } }

const attempt = (model: string, more: Partial<TextAttempt> = {}): TextAttempt => ({
  model,
  baseUrl: 'https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1',
  route: { type: 'binding' },
  timeoutMs: 30_000,
  credential: null,
  deadlineAtMs: Date.now() + 600_000,
  ...more,
})

const toolsOf = (ai: FakeAi | undefined, signal = new AbortController().signal): CallTools => ({
  vault: { open: async () => null },
  allowPrivate: false,
  ai,
  signal,
  now: () => Date.now(),
  fetch: () => {
    throw new Error('nothing goes over HTTP')
  },
})

const complete = (ai: FakeAi, input: ChatInput = inputOf('hello'), model = LLAMA, more: Partial<TextAttempt> = {}) =>
  runChat(attempt(model, more), input, { id: 'chatcmpl-ours' }, toolsOf(ai))

const stream = async (ai: FakeAi, input: ChatInput = inputOf('hello'), model = LLAMA) => {
  const started = await startChat(attempt(model), input, { id: 'chatcmpl-ours' }, toolsOf(ai))
  if (started.kind !== 'streaming') throw new Error(`did not begin: ${JSON.stringify(started)}`)
  const failed = await started.begin()
  const chunks = []
  while (failed === null) {
    const pieces = await started.next()
    if (pieces === null) break
    for (const { json } of pieces) chunks.push(JSON.parse(json))
  }
  const end = started.end()
  await started.close()
  return { chunks, end, failed, requestId: started.providerRequestId }
}

describe('what is asked', () => {
  it('is the model and its input, without the model’s name in it or a message without content', async () => {
    const ai = fakeAi()
    const call = { id: 'c1', type: 'function' as const, function: { name: 'f', arguments: '{}' } }
    const { messages } = inputOf('hello')
    const asked = {
      messages: [
        ...messages,
        { role: 'assistant' as const, content: null, tool_calls: [call] },
        { role: 'tool' as const, tool_call_id: 'c1', content: 'rain' },
      ],
      tools: [TOOL],
    }
    await complete(ai, asked)
    expect(ai.runs[0]?.model).toBe('@cf/meta/llama-3.3-70b-instruct-fp8-fast')
    expect(ai.runs[0]?.inputs).not.toHaveProperty('model')
    expect(ai.runs[0]?.inputs['messages']).toMatchObject([{ role: 'user' }, { content: '', tool_calls: [call] }, {}])
  })

  it.each([
    [LLAMA, { type: 'object' }],
    [OSS, { name: 'person', schema: { type: 'object' } }],
  ])('bears a schema as the model wants it: %s', async (model, json_schema) => {
    const ai = fakeAi()
    const schema = { name: 'person', schema: { type: 'object' } }
    await complete(ai, inputOf('who?', { response_format: { type: 'json_schema', json_schema: schema } }), model)
    expect(ai.runs[0]?.inputs['response_format']).toEqual({ type: 'json_schema', json_schema })
  })

  it('of embeddings is their texts', async () => {
    const ai = fakeAi()
    await runEmbed(attempt(BGE), { input: 'a' }, toolsOf(ai))
    expect(ai.runs).toMatchObject([{ model: '@cf/baai/bge-m3', inputs: { text: ['a'] } }])
  })
})

describe('a whole answer', () => {
  const contentOf = async (response: Response, more: Partial<ChatInput> = {}) => {
    const ai = fakeAi()
    ai.next.push(() => response)
    const { outcome } = await complete(ai, inputOf('hello', more))
    if (outcome.kind === 'completed') expect(problemWith(answers.chat, outcome.completion)).toBeUndefined()
    return outcome
  }

  it('in the model’s own form is a completion', async () => {
    expect(await contentOf(native('Hello'))).toMatchObject({
      completion: {
        id: 'chatcmpl-ours',
        model: '@cf/meta/llama-3.3-70b-instruct-fp8-fast',
        choices: [{ message: { content: 'Hello' }, finish_reason: 'stop' }],
      },
      usage: { inputTokens: 11, outputTokens: 7 },
      providerRequestId: 'ai-req-1',
    })
  })

  it('in the form of OpenAI is read as it is', async () => {
    const choices = [{ index: 0, message: { role: 'assistant', content: 'Hi' }, finish_reason: 'length' }]
    expect(await contentOf(Response.json({ id: 'theirs', choices, usage: USED }))).toMatchObject({
      completion: { id: 'theirs', choices: [{ message: { content: 'Hi' }, finish_reason: 'length' }] },
    })
  })

  it('that has as many tokens as it may says that it is cut, for the model does not', async () => {
    const finishOf = async (limit: number) => {
      const outcome = await contentOf(native('Hello'), { max_completion_tokens: limit })
      return outcome.kind === 'completed' && outcome.completion.choices[0]?.finish_reason
    }
    expect(await finishOf(USED.completion_tokens)).toBe('length')
    expect(await finishOf(USED.completion_tokens + 1)).toBe('stop')
  })

  it('that was asked for as JSON, and comes parsed, is text again', async () => {
    expect(await contentOf(native({ name: 'Ada' }))).toMatchObject({
      completion: { choices: [{ message: { content: '{"name":"Ada"}' } }] },
    })
  })

  it('that calls tools calls them, flat or not', async () => {
    const flat = { name: 'f', arguments: { a: 'ü' } }
    const known = { id: 'c2', type: 'function', function: { name: 'f', arguments: '{}' } }
    expect(await contentOf(native(null, { tool_calls: [flat, known] }), { tools: [TOOL] })).toMatchObject({
      completion: {
        choices: [
          {
            message: {
              content: null,
              tool_calls: [
                { id: 'call_0', type: 'function', function: { name: 'f', arguments: '{"a":"ü"}' } },
                { id: 'c2', function: { arguments: '{}' } },
              ],
            },
            finish_reason: 'tool_calls',
          },
        ],
      },
    })
  })

  it('that calls a tool with a long number keeps every digit of it', async () => {
    const body = '{"response":null,"tool_calls":[{"name":"f","arguments":{"id":9007199254740993}}]}'
    const headers = { 'content-type': 'application/json' }
    expect(await contentOf(new Response(body, { headers }), { tools: [TOOL] })).toMatchObject({
      completion: { choices: [{ message: { tool_calls: [{ function: { arguments: '{"id":9007199254740993}' } }] } }] },
    })
  })

  it('of embeddings has a vector for each text', async () => {
    const { outcome, sent } = await runEmbed(attempt(BGE), { input: ['a', 'b'] }, toolsOf(fakeAi()))
    expect(outcome).toMatchObject({ kind: 'completed', usage: null })
    expect(outcome.kind === 'completed' && outcome.vectors.map((vector) => [...vector])).toEqual([
      [0.5, 0],
      [0.5, 1],
    ])
    expect(sent).toBe(true)
  })

  it.each([
    ['that is no JSON', new Response('Hello')],
    ['that says nothing', Response.json({})],
  ])('%s is malformed', async (_what, response) => {
    expect(await contentOf(response)).toMatchObject({ kind: 'fault', code: 'provider_protocol_error' })
  })

  it('that is longer than is read is lost', async () => {
    const ai = fakeAi()
    ai.next.push(() => native('x'.repeat(LIMITS.textAnswerBytes)))
    expect((await complete(ai)).outcome).toMatchObject({ code: 'outcome_unknown' })
  })
})

describe('a stream', () => {
  const streamOf = (response: Response, more: Partial<ChatInput> = {}) => {
    const ai = fakeAi()
    ai.next.push(() => response)
    return stream(ai, inputOf('hello', more))
  }
  const textOf = (chunks: { choices: { delta: { content?: string } }[] }[]) =>
    chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')

  it('of the model’s own events is one of chunks, with its usage', async () => {
    const { chunks, end, requestId } = await streamOf(nativeEvents())
    expect(textOf(chunks)).toBe('Hello')
    expect(chunks[0]).toMatchObject({ choices: [{ delta: { role: 'assistant' } }] })
    for (const chunk of chunks) expect(problemWith(answers.chunk, chunk)).toBeUndefined()
    expect(end).toMatchObject({ fault: null, finish: 'stop', usage: { inputTokens: 11, outputTokens: 7 } })
    expect(requestId).toBe('ai-req-1')
  })

  it('that has as many tokens as it may says at its end that it is cut', async () => {
    const limited = await streamOf(nativeEvents(), { max_completion_tokens: USED.completion_tokens })
    expect(limited.end).toMatchObject({ fault: null, finish: 'length' })
    expect(limited.chunks.at(-1)).toMatchObject({ choices: [{ finish_reason: 'length' }] })
    const free = await streamOf(nativeEvents(), { max_completion_tokens: USED.completion_tokens + 1 })
    expect(free.end).toMatchObject({ fault: null, finish: 'stop' })
  })

  it('of chunks goes through as it came', async () => {
    const chunk = (content: string, finish_reason: string | null = null) => ({
      id: 'theirs',
      object: 'chat.completion.chunk',
      created: 1,
      model: 'm',
      choices: [{ index: 0, delta: { content }, finish_reason }],
    })
    const { chunks, end } = await streamOf(events([chunk('a "choices" b'), chunk('', 'stop'), '[DONE]']))
    expect(chunks).toEqual([chunk('a "choices" b'), chunk('', 'stop')])
    expect(end.fault).toBeNull()
  })

  it('that speaks of "choices" in its own form is taken for what it is', async () => {
    const { chunks } = await streamOf(events([{ response: 'the "choices" are' }, { response: ' two' }, '[DONE]']))
    expect(textOf(chunks)).toBe('the "choices" are two')
  })

  it('that calls tools in events of their own calls each of them, with every digit', async () => {
    const called = (name: string, id: string) =>
      `{"response":"","tool_calls":[{"name":"${name}","arguments":{"id":${id}}}]}`
    const parts = [called('f', '9007199254740993'), called('g', '1'), '[DONE]']
    const { chunks, end } = await streamOf(events(parts), { tools: [TOOL] })
    const calls = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? [])
    expect(calls.map(({ index, id, function: of }) => [index, id, of?.name, of?.arguments])).toEqual([
      [0, 'call_0', 'f', '{"id":9007199254740993}'],
      [1, 'call_1', 'g', '{"id":1}'],
    ])
    expect(end).toMatchObject({ fault: null, finish: 'tool_calls' })
  })

  it('that calls a tool says so at its end', async () => {
    const parts = [
      { response: '', tool_calls: [{ index: 0, id: 'c1', type: 'function', function: { name: 'f', arguments: '' } }] },
      { response: '', tool_calls: [{ index: 0, function: { arguments: '{"a":1}' } }] },
      { response: null, tool_calls: [{ id: null, type: null, index: 0, function: { name: null, arguments: '' } }] },
      { response: '', usage: USED },
      '[DONE]',
    ]
    const { chunks, end } = await streamOf(events(parts), { tools: [TOOL] })
    const calls = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? [])
    expect(calls.map((call) => call.function?.arguments ?? '').join('')).toBe('{"a":1}')
    expect(calls[0]).toMatchObject({ index: 0, id: 'c1', function: { name: 'f' } })
    expect(end).toMatchObject({ fault: null, finish: 'tool_calls', usage: { outputTokens: 7 } })
  })

  it.each<[string, (object | string)[], AttemptFaultCode]>([
    ['breaks off', [{ response: 'a' }], 'outcome_unknown'],
    ['is empty', ['[DONE]'], 'provider_protocol_error'],
    ['holds what cannot be read', [{ response: 'a' }, '{'], 'provider_protocol_error'],
    ['holds what nobody knows', [{ response: 'a' }, { something: 1 }], 'provider_protocol_error'],
    [
      'tells an error by its number',
      [{ response: 'a' }, { internalCode: 3040, description: 'x' }],
      'provider_unavailable',
    ],
    ['tells an error in the envelope', [{ success: false, errors: [{ code: 3007 }] }], 'provider_timeout'],
  ])('that %s fails', async (_what, parts, code) => {
    const { end } = await streamOf(events(parts))
    expect(end.fault).toMatchObject({ code })
  })
})

/** By the numbers of https://developers.cloudflare.com/workers-ai/platform/errors/, as over REST. */
const NUMBERS: [number, number, AttemptFaultCode, object][] = [
  [3036, 429, 'provider_quota_exhausted', {}],
  [3040, 429, 'provider_unavailable', {}],
  [3007, 408, 'provider_timeout', {}],
  [5007, 400, 'provider_rejected', { param: 'model' }],
  [5018, 403, 'provider_rejected', { param: 'model' }],
  [3042, 404, 'provider_rejected', { param: 'model' }],
  [3006, 413, 'provider_rejected', {}],
  [5004, 400, 'provider_rejected', {}],
  [1234, 500, 'provider_unavailable', {}],
]

describe('an error', () => {
  const PRIVATE = 'a private prompt'
  const fails = async (reply: FakeAi['next'][0]) => {
    const ai = fakeAi()
    ai.next.push(reply)
    const { outcome, sent } = await complete(ai, inputOf(PRIVATE))
    expect(JSON.stringify(outcome)).not.toContain(PRIVATE)
    expect(sent).toBe(true)
    return outcome
  }

  it.each(NUMBERS)('%i that is thrown means the same as over REST', async (number, _status, code, more) => {
    const error = upstreamError(`${number}: ${PRIVATE} is too much`)
    expect(await fails(throwing(error))).toMatchObject({ kind: 'fault', code, ...more })
    expect(await fails(throwing(new Error(`InferenceUpstreamError: ${number}: x`)))).toMatchObject({ code })
  })

  it.each(NUMBERS)('%i that is answered means the same as over REST', async (internalCode, status, code, more) => {
    const body = { internalCode, name: 'AiError', message: PRIVATE, description: PRIVATE }
    expect(await fails(() => Response.json(body, { status }))).toMatchObject({ kind: 'fault', code, ...more })
    const envelope = { success: false, errors: [{ code: internalCode, message: PRIVATE }] }
    expect(await fails(() => Response.json(envelope, { status }))).toMatchObject({ kind: 'fault', code, ...more })
  })

  it('without a number leaves open what was bought', async () => {
    expect(await fails(throwing(new TypeError(PRIVATE)))).toMatchObject({ code: 'outcome_unknown' })
    expect(await fails(throwing('text'))).toMatchObject({ code: 'outcome_unknown' })
  })

  it('of embeddings is told by the same table', async () => {
    const ai = fakeAi()
    ai.next.push(throwing(upstreamError('3040: no capacity')))
    const { outcome } = await runEmbed(attempt(BGE), { input: 'a' }, toolsOf(ai))
    expect(outcome).toMatchObject({ code: 'provider_unavailable' })
  })
})

describe('bounds', () => {
  it('end a call whose binding heeds no signal, and let go of what comes late', async () => {
    const ai = fakeAi()
    const { promise, resolve: answer } = Promise.withResolvers<Response>()
    const cancel = vi.fn()
    ai.next.push(() => promise)
    const { outcome } = await complete(ai, inputOf('hello'), LLAMA, { timeoutMs: 20 })
    expect(outcome).toMatchObject({ code: 'provider_timeout' })
    expect(ai.runs[0]?.signal.aborted).toBe(true)
    answer(new Response(new ReadableStream({ cancel })))
    await expect.poll(() => cancel.mock.calls.length).toBe(1)
  })

  it('of the deadline end it as such', async () => {
    const ai = fakeAi()
    ai.next.push(deaf)
    const { outcome } = await complete(ai, inputOf('hello'), LLAMA, { deadlineAtMs: Date.now() + 20 })
    expect(outcome).toMatchObject({ code: 'deadline_exceeded' })
  })

  it('are the client’s too: who leaves ends it, before it is sent and after', async () => {
    const ai = fakeAi()
    ai.next.push(deaf)
    const abort = new AbortController()
    const call = runChat(attempt(LLAMA), inputOf('hello'), { id: 'x' }, toolsOf(ai, abort.signal))
    await expect.poll(() => ai.runs.length).toBe(1)
    abort.abort()
    expect((await call).outcome).toMatchObject({ code: 'canceled' })
    expect(ai.runs[0]?.signal.aborted).toBe(true)
    const late = await runChat(attempt(LLAMA), inputOf('hello'), { id: 'x' }, toolsOf(ai, abort.signal))
    expect([late.outcome, late.sent, ai.runs.length]).toMatchObject([{ code: 'canceled' }, false, 1])
  })

  it('end a stream whose client leaves, and the run with it', async () => {
    const ai = fakeAi()
    const cancel = vi.fn()
    const first = new TextEncoder().encode('data: {"response":"a"}\n\n')
    const body = new ReadableStream({ start: (controller) => controller.enqueue(first), cancel })
    ai.next.push(() => new Response(body, { headers: { 'content-type': 'text/event-stream' } }))
    const abort = new AbortController()
    const started = await startChat(attempt(LLAMA), inputOf('hello'), { id: 'x' }, toolsOf(ai, abort.signal))
    if (started.kind !== 'streaming') throw new Error('it did not begin')
    expect(await started.begin()).toBeNull()
    await started.next()
    const rest = started.next()
    abort.abort()
    expect(await rest).toBeNull()
    expect(started.end().fault).toMatchObject({ code: 'canceled' })
    await expect.poll(() => cancel.mock.calls.length).toBe(1)
  })
})

describe('a deployment without the binding', () => {
  it('says so, and sends nothing', async () => {
    const ended = await runChat(attempt(LLAMA), inputOf('hello'), { id: 'x' }, toolsOf(undefined))
    expect(ended).toMatchObject({ outcome: { code: 'no_provider' }, sent: false })
  })
})
