import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import type { CompletionChunk } from '../../../src/contract/completion.ts'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { LIMITS } from '../../../src/limits.ts'
import { anthropicText } from '../../../src/providers/anthropic-text.ts'
import { type AnthropicEmulator, startAnthropic } from '../../emulators/anthropic.ts'
import { answers, problemWith } from '../../emulators/openai/spec.ts'
import { chatCall, chatOf, complete, inputOf, read, stream } from './text-call.ts'

let anthropic: AnthropicEmulator
const NEWEST = 'claude-opus-5-5'
const OLDER = 'claude-haiku-4-5'
const at = (model = NEWEST) => ({ baseUrl: anthropic.url, model })

beforeAll(async () => {
  anthropic = await startAnthropic()
})
afterEach(() => anthropic.reset())
afterAll(() => anthropic.close())

const TOOLS: Partial<ChatInput> = {
  tools: [
    { type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } },
    { type: 'function', function: { name: 'now' } },
  ],
  reasoning_effort: 'low',
}
const CALLS = '[[think:Hm, 灯.]] [[say:Ich schaü.]] [[call:get_weather:{"city":"Züri 🚢"};now:{}]]'

/** One input of each kind of stream that there is. */
const KINDS: [string, string, ChatInput][] = [
  ['text', NEWEST, inputOf('hello [[say:Grüße, 灯 🚢!]] [[read:2]] [[strangers]]')],
  ['thoughts and tools', NEWEST, inputOf(`weather? ${CALLS} [[redacted]]`, TOOLS)],
  [
    'JSON by a tool',
    OLDER,
    inputOf('a city [[call:json_answer:{"city":"Züri"}]]', { response_format: { type: 'json_object' } }),
  ],
  [
    'JSON given twice',
    OLDER,
    inputOf('a city [[call:json_answer:{"city":"Züri"};json_answer:{"city":"Rome"}]]', {
      ...TOOLS,
      reasoning_effort: undefined,
      response_format: { type: 'json_object' },
    }),
  ],
  ['a refusal', NEWEST, inputOf('how to [[refuse]]')],
]

const decoderOf = (model: string, input: ChatInput) =>
  chatOf(anthropicText).openStream(chatCall(anthropicText, { baseUrl: '', model }, input, true))

/** The bytes as the provider sends them. */
const record = async (model: string, input: ChatInput): Promise<Uint8Array> => {
  const { url, headers, body } = chatOf(anthropicText).encode(chatCall(anthropicText, at(model), input, true))
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  expect(response.status).toBe(200)
  return new Uint8Array(await response.arrayBuffer())
}

describe('a stream', () => {
  it.each(KINDS)('of %s says what a whole answer would', async (_kind, model, input) => {
    const streamed = await stream(anthropicText, at(model), input)
    const { outcome } = await complete(anthropicText, at(model), input)
    if (outcome.kind !== 'completed') throw new Error(outcome.message)
    const [choice] = outcome.completion.choices
    expect(joined(streamed.chunks)).toEqual({ ...choice?.message, content: choice?.message.content ?? '' })
    expect(streamed.end).toMatchObject({
      fault: null,
      finish: choice?.finish_reason,
      usage: outcome.usage,
      promptUsage: null,
      serviceTier: outcome.serviceTier,
      model,
      id: expect.stringMatching(/^msg_/),
    })
    expect(streamed.pieces.filter(({ finish }) => finish).map(({ finish }) => finish)).toEqual([choice?.finish_reason])
    for (const chunk of streamed.chunks) expect(problemWith(answers.chunk, chunk)).toBeUndefined()
  })

  it.each(KINDS)('of %s cut at every byte has failed, and said no more than the whole', async (_kind, model, input) => {
    const bytes = await record(model, input)
    const whole = read(decoderOf(model, input), [bytes])
    expect(whole.end.fault).toBeNull()
    const terminated = bytes.length - 2
    for (let end = 0; end < bytes.length; end += 1) {
      const cut = read(decoderOf(model, input), [bytes.subarray(0, end)])
      if (end < terminated) expect(cut.end.fault, String(end)).toMatchObject({ code: 'outcome_unknown' })
      else expect(cut.end.fault, String(end)).toBeNull()
      expect(whole.pieces.map(({ json }) => json).slice(0, cut.pieces.length)).toEqual(
        cut.pieces.map(({ json }) => json),
      )
    }
  })

  it.each(KINDS)('of %s is the same however it is split', async (_kind, model, input) => {
    const bytes = await record(model, input)
    const whole = read(decoderOf(model, input), [bytes])
    for (const size of [1, 2, 3, 7, 64]) {
      const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, part) =>
        bytes.subarray(part * size, (part + 1) * size),
      )
      expect(read(decoderOf(model, input), parts)).toEqual(whole)
    }
  })

  it.each(KINDS)('of %s with any of its bytes changed never throws', async (_kind, model, input) => {
    const bytes = await record(model, input)
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }), (place, value) => {
        const spoilt = bytes.slice()
        spoilt[place] = value
        const { chunks, end } = read(decoderOf(model, input), [spoilt])
        for (const chunk of chunks) expect(chunk.choices).toHaveLength(1)
        expect(end).toHaveProperty('fault')
      }),
      { numRuns: 300 },
    )
  })

  it('begins with a piece that says nothing yet, so that another model can still be asked', async () => {
    const { pieces } = await stream(anthropicText, at(), inputOf('hello'))
    expect(pieces[0]).toMatchObject({ text: '', finish: null })
  })

  it('gives the calls of tools by their turn, and an empty object for no arguments', async () => {
    const { chunks, end } = await stream(anthropicText, at(), inputOf(`weather? ${CALLS}`, TOOLS))
    const calls = joined(chunks).tool_calls
    expect(calls?.map(({ function: called }) => called)).toEqual([
      { name: 'get_weather', arguments: '{"city":"Züri 🚢"}' },
      { name: 'now', arguments: '{}' },
    ])
    expect(end.finish).toBe('tool_calls')
  })

  it('gives thoughts that may go back where they stood', async () => {
    const asked = inputOf(`weather? ${CALLS}`, TOOLS)
    const message = joined((await stream(anthropicText, at(), asked)).chunks)
    expect(message.reasoning_content).toBe('Hm, 灯.Hm, 灯. 1')
    const results = (message.tool_calls ?? []).map(({ id }) => ({
      role: 'tool' as const,
      tool_call_id: id ?? '',
      content: 'rain',
    }))
    const next = { ...asked, messages: [...asked.messages, message as never, ...results] }
    const { text, end } = await stream(anthropicText, at(), next)
    expect(end.fault).toBeNull()
    expect(text).toBe('The tools say: rain; rain')
  })

  it('leaves out thoughts that are too long to come back', async () => {
    const long = 'x'.repeat(LIMITS.extraContentBytes)
    const input = inputOf(`hello [[think:${long}]] [[say:hi]]`, { reasoning_effort: 'low' })
    const message = joined((await stream(anthropicText, at(), input)).chunks)
    expect(message).toMatchObject({ content: 'hi', reasoning_content: long })
    expect(message).not.toHaveProperty('extra_content')
  })

  it.each(['[[crlf]]', '[[comments]]', '[[split:1]]', '[[split:3]] [[crlf]] [[comments]]'])(
    'is read however its bytes come: %s',
    async (directive) => {
      const { text, end } = await stream(anthropicText, at(), inputOf(`hello [[say:Grüße, 灯 🚢!]] ${directive}`))
      expect(text).toBe('Grüße, 灯 🚢!')
      expect(end).toMatchObject({ fault: null, usage: { estimated: false } })
    },
  )

  it.each<[string, AttemptFaultCode]>([
    ['[[cut:900]]', 'outcome_unknown'],
    ['[[no_stop]]', 'outcome_unknown'],
    ['[[malformed:3]]', 'provider_protocol_error'],
    ['[[empty_stream]]', 'provider_protocol_error'],
    ['[[error_event:overloaded_error:0]]', 'provider_unavailable'],
    ['[[error_event:overloaded_error:5]]', 'provider_unavailable'],
    ['[[error_event:api_error:4]]', 'provider_unavailable'],
    ['[[error_event:rate_limit_error:1]]', 'provider_rate_limited'],
    ['[[error_event:billing_error:0]]', 'provider_quota_exhausted'],
    ['[[error_event:timeout_error:3]]', 'provider_timeout'],
    ['[[error_event:invalid_request_error:0]]', 'provider_rejected'],
  ])('that fails with %s is %s, never a silent end', async (directive, code) => {
    const { end, status, pieces } = await stream(anthropicText, at(), inputOf(`hello ${directive} [[chunks:20]]`))
    expect(status).toBe(200)
    expect(end.fault).toMatchObject({ kind: 'fault', code })
    if (/:0\]\]/.test(directive)) expect(pieces).toEqual([])
  })

  it('that breaks tells what it has heard of the prompt, leaves what was said to be counted, and says nothing more', async () => {
    const { end, text, pieces } = await stream(
      anthropicText,
      at(),
      inputOf('hello [[read:2]] [[error_event:overloaded_error:5]]'),
    )
    expect(end).toMatchObject({
      usage: null,
      promptUsage: { cachedInputTokens: 2, outputTokens: 0 },
      finish: null,
      model: NEWEST,
    })
    expect(text.length).toBeGreaterThan(0)
    expect(pieces.at(-1)?.finish).toBeNull()
  })
})

describe('a decoder', () => {
  const events = (...list: object[]) =>
    new TextEncoder().encode(list.map((told) => `data: ${JSON.stringify(told)}\n\n`).join(''))
  const START = { type: 'message_start', message: { id: 'msg_1', model: 'claude-x', usage: { input_tokens: 3 } } }
  const readEvents = (...list: object[]) => read(decoderOf(NEWEST, inputOf('hello')), [events(...list)])

  it('of any JSON at all never throws', () => {
    const told = fc.oneof(
      fc.json({ maxDepth: 4 }),
      fc
        .record({
          type: fc.constantFrom(
            'message_start',
            'content_block_start',
            'content_block_delta',
            'content_block_stop',
            'message_delta',
            'message_stop',
            'error',
            'ping',
          ),
          index: fc.oneof(fc.nat(2), fc.constant(null)),
          message: fc.oneof(fc.constant({ id: 'msg_1', usage: null }), fc.jsonValue()),
          content_block: fc.oneof(
            fc.record({ type: fc.constantFrom('text', 'thinking', 'tool_use', 'redacted_thinking', 'x') }),
            fc.jsonValue(),
          ),
          delta: fc.oneof(
            fc.record({
              type: fc.constantFrom('text_delta', 'thinking_delta', 'signature_delta', 'input_json_delta', 'x'),
              text: fc.oneof(fc.string(), fc.jsonValue()),
              thinking: fc.jsonValue(),
              partial_json: fc.string(),
              stop_reason: fc.constantFrom('end_turn', 'tool_use', null),
            }),
            fc.jsonValue(),
          ),
          usage: fc.jsonValue(),
        })
        .map((value) => JSON.stringify(value)),
    )
    fc.assert(
      fc.property(fc.array(told, { maxLength: 10 }), fc.boolean(), (list, begun) => {
        const decoder = decoderOf(NEWEST, inputOf('hello'))
        if (begun) decoder.push({ data: JSON.stringify(START) })
        for (const data of list)
          for (const piece of decoder.push({ data })) expect(JSON.parse(piece.json)).toHaveProperty('choices')
        expect(decoder.finish()).toHaveProperty('fault')
      }),
      { numRuns: 500 },
    )
  })

  it('tells the end also where the provider forgets to say why', () => {
    const { pieces, end } = readEvents(START, { type: 'message_stop' })
    expect(pieces.at(-1)).toMatchObject({ finish: 'stop' })
    expect(end).toMatchObject({ fault: null, finish: 'stop', usage: null, promptUsage: { inputTokens: 3 } })
  })

  it.each<[string, object[]]>([
    [
      'a piece before the message',
      [{ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'x' } }],
    ],
    ['a piece of a block that never began', [START, { type: 'content_block_delta', index: 3, delta: {} }]],
    ['two beginnings', [START, START]],
    ['a beginning of nothing', [{ type: 'message_start' }]],
  ])('has failed at %s', (_what, list) => {
    expect(readEvents(...list).end.fault).toMatchObject({ code: 'provider_protocol_error' })
  })

  it('passes over blocks that are not known', () => {
    const { text, end } = readEvents(
      START,
      { type: 'content_block_start', index: 0, content_block: { type: 'server_tool_use', id: 'x' } },
      { type: 'content_block_delta', index: 0, delta: { type: 'input_json_delta', partial_json: '{' } },
      { type: 'content_block_stop', index: 0 },
      { type: 'content_block_start', index: 1, content_block: { type: 'text', text: 'hi' } },
      { type: 'content_block_delta', index: 1, delta: { type: 'citations_delta', citation: {} } },
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 4 } },
      { type: 'message_stop' },
    )
    expect(text).toBe('hi')
    expect(end).toMatchObject({ fault: null, usage: { inputTokens: 3, outputTokens: 4 } })
  })
})

/** A message of all its pieces, as clients put them together. */
const joined = (chunks: CompletionChunk[]) => {
  const message: NonNullable<CompletionChunk['choices'][0]>['delta'] = {}
  for (const { choices } of chunks) {
    const { tool_calls: calls, ...delta } = choices[0]?.delta ?? {}
    for (const [field, value] of Object.entries(delta)) {
      const known = message[field as keyof typeof message]
      const text = typeof value === 'string' && field !== 'role' && typeof known === 'string' ? known + value : value
      Object.assign(message, { [field]: text })
    }
    for (const { index, function: called, ...call } of calls ?? []) {
      message.tool_calls ??= []
      const known = message.tool_calls[index]
      const args = (known?.function?.arguments ?? '') + (called?.arguments ?? '')
      message.tool_calls[index] = {
        ...known,
        ...call,
        function: { ...known?.function, ...called, arguments: args },
      } as never
    }
  }
  return { refusal: null, ...message } as typeof message & { refusal: string | null }
}
