import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { ChatInput } from '../../../src/contract/chat.ts'
import { anthropicText } from '../../../src/providers/anthropic-text.ts'
import type { MessageBody } from '../../emulators/anthropic/body.ts'
import { refusedBy } from '../../emulators/anthropic/checks.ts'
import { problemWith, reference, type Version, versions } from '../../emulators/anthropic/spec.ts'
import { rawChatInput } from './chat-inputs.ts'
import { chatCall, chatOf, inputOf } from './text-call.ts'

const MODELS = anthropicText.chatModels.map(({ model }) => model)
const NEWEST = 'claude-opus-5-5'
const SAMPLES = 'claude-haiku-4-5'

const encode = (model: string, input: ChatInput, stream = false) => {
  const encoded = chatOf(anthropicText).encode(chatCall(anthropicText, { baseUrl: 'https://x', model }, input, stream))
  return { ...encoded, body: JSON.parse(JSON.stringify(encoded.body)) as Record<string, unknown> & MessageBody }
}
const refuses = (model: string, input: ChatInput) => {
  const card = anthropicText.chatModels.find((known) => known.model === model)
  if (!card) throw new Error(`no such model ${model}`)
  return chatOf(anthropicText).refuses(card, input)
}
const versionOf = (headers: Record<string, string>) => headers['anthropic-version'] as Version

/** Rules of a conversation's order, which a client has to keep to wherever it asks. */
const PAIRS = /tool_use|tool_result/

type RawMessage = { tool_calls?: { function: { arguments: string } }[] }

/** As a client would ask: the user has the last word, and arguments are objects. */
const askable = (raw: Record<string, unknown>) => {
  const messages = (raw['messages'] as RawMessage[]).map((message) => ({
    ...message,
    ...(message.tool_calls ? { tool_calls: message.tool_calls.map(withObject) } : {}),
  }))
  return { ...raw, messages: [...messages, { role: 'user', content: 'and now?' }] }
}
const withObject = (asked: { function: { arguments: string } }) => ({
  ...asked,
  function: { ...asked.function, arguments: `{"a":${asked.function.arguments}}` },
})

const options = fc.option(
  fc.record(
    {
      version: fc.constantFrom(...versions),
      cache_control: fc.record(
        { type: fc.constant('ephemeral'), ttl: fc.constantFrom('5m', '1h') },
        { requiredKeys: ['type'] },
      ),
      thinking: fc.record({ display: fc.constantFrom('summarized', 'omitted') }),
      top_k: fc.integer({ min: 0, max: 500 }),
    },
    { requiredKeys: [] },
  ),
  { nil: undefined },
)

describe('every request that the contract takes', () => {
  it('is refused by a model or is one that the reference of its version and the rules of the model know', () => {
    const sent: Record<string, number> = {}
    fc.assert(
      fc.property(rawChatInput, fc.constantFrom(...MODELS), fc.boolean(), options, (raw, model, stream, native) => {
        const input = v.parse(ChatInput, {
          ...askable(raw),
          ...(native ? { provider_options: { anthropic: native } } : {}),
        })
        if (refuses(model, input)) return
        const { body, dropped, headers } = encode(model, input, stream)
        const version = versionOf(headers)
        sent[version] = (sent[version] ?? 0) + 1
        expect(problemWith(reference[version].messages, body)).toBeUndefined()
        const refused = refusedBy(version, body)
        if (!PAIRS.test(refused?.message ?? '')) expect(refused).toBeNull()
        for (const field of Object.keys(input)) {
          const isPlain = (PLAIN[field] ?? []).includes(JSON.stringify(input[field as keyof ChatInput]))
          const isThere = (PLACES[field] ?? [field]).some((place) => place in body)
          expect(isThere || isPlain || dropped.includes(field), `${field} of ${JSON.stringify(input)}`).toBe(true)
        }
      }),
      { numRuns: 3_000 },
    )
    for (const version of versions) expect(sent[version], version).toBeGreaterThan(50)
  })
})

/** Where a field of the vocabulary stands in a request. */
const PLACES: Record<string, string[]> = {
  max_tokens: ['max_tokens'],
  max_completion_tokens: ['max_tokens'],
  stop: ['stop_sequences'],
  response_format: ['output_config', 'tools'],
  reasoning_effort: ['thinking', 'output_config'],
  parallel_tool_calls: ['tools'],
  safety_identifier: ['metadata'],
  user: ['metadata'],
  modalities: ['messages'],
  provider_options: ['messages'],
  // Where JSON is asked for, the choice is made with it.
  tool_choice: ['tool_choice', 'tools'],
}
/** What asks for nothing. */
const PLAIN: Record<string, string[]> = {
  n: ['1'],
  logprobs: ['false'],
  top_logprobs: ['0'],
  logit_bias: ['{}'],
  response_format: ['{"type":"text"}'],
  tool_choice: ['"none"', '"auto"'],
  user: ['""'],
  safety_identifier: ['""'],
}

const TOOL = {
  type: 'function' as const,
  function: { name: 'look', parameters: { type: 'object', properties: { at: { type: 'string' } } }, strict: true },
}
const jsonSchema = (schema: object | null) => ({
  response_format: { type: 'json_schema' as const, json_schema: { name: 'city', schema: schema as never } },
})
const call = (args: string, id = 'toolu_1') => ({
  id,
  type: 'function' as const,
  function: { name: 'look', arguments: args },
})

describe('a request', () => {
  it.each<[string, Partial<ChatInput>, string]>([
    [NEWEST, { n: 2 }, 'n'],
    [NEWEST, { logprobs: true }, 'logprobs'],
    [NEWEST, { top_logprobs: 2 }, 'top_logprobs'],
    [NEWEST, { logit_bias: { '5': 1 } }, 'logit_bias'],
    [NEWEST, { stop: ['x', ' \n'] }, 'stop'],
    [NEWEST, { max_tokens: 200_000 }, 'max_tokens'],
    [NEWEST, { max_completion_tokens: 200_000 }, 'max_completion_tokens'],
    [NEWEST, { reasoning_effort: 'none' }, 'reasoning_effort'],
    [NEWEST, { reasoning_effort: 'minimal' }, 'reasoning_effort'],
    [SAMPLES, { reasoning_effort: 'max' }, 'reasoning_effort'],
    [NEWEST, { tools: [TOOL], tool_choice: 'required' }, 'tool_choice'],
    [NEWEST, { tools: [TOOL], tool_choice: { type: 'function', function: { name: 'look' } } }, 'tool_choice'],
    [NEWEST, { response_format: { type: 'json_object' } }, 'response_format'],
    [NEWEST, jsonSchema(null), 'response_format'],
    [
      NEWEST,
      { tools: [{ type: 'function', function: { name: 'f', parameters: { type: 'string' } } }] },
      'tools.0.function.parameters.type',
    ],
    [NEWEST, { provider_options: { anthropic: { version: '2024-01-01' } } }, 'provider_options.anthropic.version'],
    [NEWEST, { provider_options: { anthropic: { max_tokens: 5 } } }, 'provider_options.anthropic.max_tokens'],
    [NEWEST, { provider_options: { anthropic: { speed: 'fast' } } }, 'provider_options.anthropic.speed'],
    [NEWEST, { provider_options: { anthropic: { top_k: 5 } } }, 'provider_options.anthropic.top_k'],
    [
      SAMPLES,
      { provider_options: { anthropic: { top_k: 5, version: '2026-10-21' } } },
      'provider_options.anthropic.top_k',
    ],
    [
      NEWEST,
      { provider_options: { anthropic: { thinking: { budget_tokens: 2_000 } } } },
      'provider_options.anthropic.thinking.budget_tokens',
    ],
    [
      NEWEST,
      { provider_options: { anthropic: { cache_control: { type: 'ephemeral', ttl: '2h' } } } },
      'provider_options.anthropic.cache_control.ttl',
    ],
  ])('to %s with %j is refused at %s', (model, more, param) => {
    expect(refuses(model, inputOf('hello', more))).toMatchObject({ param, message: expect.stringMatching(/\.$|must/) })
  })

  it.each<[string, ChatInput['messages'], string]>([
    ['nothing but the system', [{ role: 'system', content: 'be brief' }], 'messages'],
    ['only blanks of the user', [{ role: 'user', content: ' \n' }], 'messages'],
    [
      'the assistant’s words at its end',
      [
        { role: 'user', content: 'hello' },
        { role: 'assistant', content: 'good' },
        { role: 'system', content: 'go on' },
      ],
      'messages.1',
    ],
    [
      'arguments that are no object',
      [
        { role: 'user', content: 'hello' },
        { role: 'assistant', tool_calls: [call('{}'), call('[1]')] },
        { role: 'user', content: 'well?' },
      ],
      'messages.1.tool_calls.1.function.arguments',
    ],
  ])('with %s is refused at its place', (_what, messages, param) => {
    expect(refuses(NEWEST, { messages })).toMatchObject({ param })
  })

  it('speaks the newest version, and the older one where a model is told how to sample', () => {
    expect(encode(NEWEST, inputOf('hello', { temperature: 0.2 }))).toMatchObject({
      headers: { 'anthropic-version': '2026-10-21', authorization: 'Bearer sk-test' },
      dropped: ['temperature'],
    })
    expect(encode(SAMPLES, inputOf('hello')).headers).toEqual({
      'anthropic-version': '2026-10-21',
      authorization: 'Bearer sk-test',
    })
    expect(encode(SAMPLES, inputOf('hello', { temperature: 0.2 }))).toMatchObject({
      headers: { 'anthropic-version': '2023-06-01', 'x-api-key': 'sk-test' },
      body: { temperature: 0.2 },
      dropped: [],
    })
    const told = { provider_options: { anthropic: { version: '2026-10-21' } }, temperature: 0.2 }
    expect(encode(SAMPLES, inputOf('hello', told))).toMatchObject({
      headers: { 'anthropic-version': '2026-10-21' },
      dropped: ['temperature'],
    })
  })

  it('samples in one way at a time and no hotter than can be, and as it likes while it thinks', () => {
    expect(encode(SAMPLES, inputOf('hello', { temperature: 1.7, top_p: 0.5 }))).toMatchObject({
      body: { temperature: 1 },
      dropped: ['top_p'],
    })
    expect(encode(SAMPLES, inputOf('hello', { top_p: 0.5 })).body).toMatchObject({ top_p: 0.5 })
    const thinking = encode(SAMPLES, inputOf('hello', { temperature: 0.3, reasoning_effort: 'low' }))
    expect(thinking.body).not.toHaveProperty('temperature')
    expect(thinking.dropped).toEqual(['temperature'])
  })

  it('has a limit: what is asked, else what the model makes, else what can be waited for', () => {
    expect(encode(NEWEST, inputOf('hello', { max_tokens: 50 })).body.max_tokens).toBe(50)
    expect(encode(NEWEST, inputOf('hello'), true).body.max_tokens).toBe(128_000)
    expect(encode(SAMPLES, inputOf('hello'), true).body.max_tokens).toBe(64_000)
    expect(encode(NEWEST, inputOf('hello')).body.max_tokens).toBe(21_333)
  })

  it.each<[string, Partial<ChatInput>, object]>([
    [NEWEST, {}, {}],
    [
      NEWEST,
      { reasoning_effort: 'xhigh' },
      { thinking: { type: 'adaptive', display: 'summarized' }, output_config: { effort: 'xhigh' } },
    ],
    [
      NEWEST,
      { reasoning_effort: 'low', provider_options: { anthropic: { thinking: { display: 'omitted' } } } },
      { thinking: { type: 'adaptive', display: 'omitted' }, output_config: { effort: 'low' } },
    ],
    ['claude-opus-4-8', { reasoning_effort: 'none' }, { thinking: { type: 'disabled' } }],
    ['claude-sonnet-5-5', { reasoning_effort: 'none' }, { thinking: { type: 'between_tools' } }],
    [SAMPLES, { reasoning_effort: 'medium' }, { thinking: { type: 'enabled', budget_tokens: 8_192 } }],
    [SAMPLES, { reasoning_effort: 'high', max_tokens: 4_000 }, { thinking: { type: 'enabled', budget_tokens: 2_976 } }],
    [SAMPLES, { reasoning_effort: 'none' }, { thinking: { type: 'disabled' } }],
    [
      SAMPLES,
      { provider_options: { anthropic: { thinking: { budget_tokens: 3_000 } } } },
      { thinking: { type: 'enabled', budget_tokens: 3_000 } },
    ],
  ])('to %s with %j asks for thoughts as %j', (model, more, expected) => {
    const { body, dropped } = encode(model, inputOf('hello', more))
    const { thinking, output_config } = body
    expect(JSON.parse(JSON.stringify({ thinking, output_config }))).toEqual(expected)
    expect(dropped).toEqual([])
  })

  it('leaves thoughts out where there is no room for them, and says so', () => {
    expect(encode(SAMPLES, inputOf('hello', { reasoning_effort: 'high', max_tokens: 2_000 }))).toMatchObject({
      dropped: ['reasoning_effort'],
    })
    const forced = { reasoning_effort: 'low' as const, tools: [TOOL], tool_choice: 'required' as const }
    expect(encode(SAMPLES, inputOf('hello', forced))).toMatchObject({
      dropped: ['reasoning_effort'],
      body: { tool_choice: { type: 'any' } },
    })
  })

  it('has the system first, turns by turns, and results before what the user says', () => {
    const { body, dropped } = encode(NEWEST, {
      messages: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: 'hello', name: 'Ann' },
        { role: 'user', content: [{ type: 'text', text: 'look' }] },
        { role: 'assistant', content: 'I look', tool_calls: [call('{"at":"x"}', 'call.1'), call('', 'call_1')] },
        { role: 'tool', tool_call_id: 'call.1', content: 'a sea' },
        { role: 'tool', tool_call_id: 'call_1', content: '' },
        { role: 'developer', content: [{ type: 'text', text: 'in verse' }] },
        { role: 'user', content: 'and?' },
      ],
    })
    expect(body.system).toEqual([
      { type: 'text', text: 'be brief' },
      { type: 'text', text: 'in verse' },
    ])
    expect(body.messages).toEqual([
      {
        role: 'user',
        content: [
          { type: 'text', text: 'hello' },
          { type: 'text', text: 'look' },
        ],
      },
      {
        role: 'assistant',
        content: [
          { type: 'text', text: 'I look' },
          { type: 'tool_use', id: 'call_1', name: 'look', input: { at: 'x' } },
          { type: 'tool_use', id: 'call_1_2', name: 'look', input: {} },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'call_1', content: [{ type: 'text', text: 'a sea' }] },
          { type: 'tool_result', tool_use_id: 'call_1_2' },
          { type: 'text', text: 'and?' },
        ],
      },
    ])
    expect(dropped).toEqual(['messages.name'])
    expect(refusedBy('2026-10-21', body)).toBeNull()
  })

  it('tells calls apart whose server counts anew in every answer, and gives each result to its own', () => {
    const { body } = encode(NEWEST, {
      messages: [
        { role: 'user', content: 'hello' },
        { role: 'assistant', tool_calls: [call('{"at":"a"}', 'call_0'), call('{"at":"b"}', 'call_0')] },
        { role: 'tool', tool_call_id: 'call_0', content: 'at a' },
        { role: 'tool', tool_call_id: 'call_0', content: 'at b' },
        { role: 'assistant', tool_calls: [call('{"at":"c"}', 'call_0')] },
        { role: 'tool', tool_call_id: 'call_0', content: 'at c' },
      ],
    })
    const blocks = body.messages.flatMap(
      ({ content }) => content as { type: string; id?: string; tool_use_id?: string }[],
    )
    const [a, b, c] = blocks.flatMap(({ type, id }) => (type === 'tool_use' ? [id] : []))
    expect(new Set([a, b, c]).size).toBe(3)
    expect(blocks.filter(({ type }) => type === 'tool_result')).toMatchObject([
      { tool_use_id: a, content: [{ text: 'at a' }] },
      { tool_use_id: b, content: [{ text: 'at b' }] },
      { tool_use_id: c, content: [{ text: 'at c' }] },
    ])
    expect(refusedBy('2026-10-21', body)).toBeNull()
  })

  it('has the results of tools first, also where the user spoke before they were there', () => {
    const { body } = encode(NEWEST, {
      messages: [
        { role: 'user', content: 'hello' },
        { role: 'assistant', tool_calls: [call('{}', 'a'), call('{}', 'b')] },
        { role: 'tool', tool_call_id: 'a', content: '1' },
        { role: 'user', content: 'hurry' },
        { role: 'tool', tool_call_id: 'b', content: '2' },
      ],
    })
    expect(body.messages[2]?.content).toMatchObject([{ tool_use_id: 'a' }, { tool_use_id: 'b' }, { text: 'hurry' }])
    expect(refusedBy('2026-10-21', body)).toBeNull()
  })

  it('does not think by a budget in a loop of tools that another model began, and says so', () => {
    const loop: ChatInput = {
      tools: [TOOL],
      reasoning_effort: 'medium',
      messages: [
        { role: 'user', content: 'hello' },
        { role: 'assistant', tool_calls: [call('{"at":"a"}')] },
        { role: 'tool', tool_call_id: 'toolu_1', content: 'at a' },
      ],
    }
    const { body, dropped } = encode(SAMPLES, loop)
    expect(body).not.toHaveProperty('thinking')
    expect(dropped).toEqual(['reasoning_effort'])
    expect(refusedBy('2026-10-21', body)).toBeNull()
    // The next question is another turn.
    const next = encode(SAMPLES, {
      ...loop,
      messages: [...loop.messages, { role: 'assistant', content: 'a' }, { role: 'user', content: 'b' }],
    })
    expect(next.body).toMatchObject({ thinking: { type: 'enabled' } })
  })

  it('asks for one answer in JSON, not for several at once', () => {
    const json = { response_format: { type: 'json_object' as const } }
    expect(encode(SAMPLES, inputOf('a city', json)).body.tool_choice).toEqual({
      type: 'tool',
      name: 'json_answer',
      disable_parallel_tool_use: true,
    })
  })

  it('has images by their bytes and by their address, and says that detail is left out', () => {
    const { body, dropped } = encode(NEWEST, {
      messages: [
        {
          role: 'user',
          content: [
            { type: 'image_url', image_url: { url: 'data:image/PNG;base64,iVBORw0KGgo=' } },
            { type: 'image_url', image_url: { url: 'https://example.com/a.jpg', detail: 'high' } },
          ],
        },
      ],
    })
    expect(body.messages[0]?.content).toEqual([
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } },
      { type: 'image', source: { type: 'url', url: 'https://example.com/a.jpg' } },
    ])
    expect(dropped).toEqual(['messages.image_url.detail'])
  })

  it('keeps the prompt where it is told to, in the four newest places that there may be', () => {
    const part = (text: string) => ({
      type: 'text' as const,
      text,
      prompt_cache_breakpoint: { mode: 'explicit' as const },
    })
    const messages: ChatInput['messages'] = [
      { role: 'system', content: [part('a')] },
      { role: 'user', content: [part('b'), part('c'), part('d'), part('e')] },
    ]
    const marked = (input: ChatInput) =>
      [encode(NEWEST, input).body].flatMap(({ system, messages: [turn] }) =>
        [...(system as object[]), ...((turn?.content ?? []) as object[])].map((block) => 'cache_control' in block),
      )
    expect(marked({ messages })).toEqual([false, true, true, true, true])
    const kept = { provider_options: { anthropic: { cache_control: { type: 'ephemeral', ttl: '1h' } } } }
    expect(marked({ messages, ...kept })).toEqual([false, false, true, true, true])
    expect(encode(NEWEST, { messages, ...kept }).body.cache_control).toEqual({ type: 'ephemeral', ttl: '1h' })
  })

  it('has tools, their choice and whether they may be called together', () => {
    const tools = { tools: [TOOL, { type: 'function' as const, function: { name: 'go', description: 'away' } }] }
    const { body } = encode(
      SAMPLES,
      inputOf('hello', { ...tools, tool_choice: 'required', parallel_tool_calls: false }),
    )
    expect(body.tools).toEqual([
      {
        name: 'look',
        input_schema: { type: 'object', properties: { at: { type: 'string' } }, additionalProperties: false },
        strict: true,
      },
      { name: 'go', description: 'away', input_schema: { type: 'object' } },
    ])
    expect(body.tool_choice).toEqual({ type: 'any', disable_parallel_tool_use: true })
    const choose = (more: Partial<ChatInput>) =>
      encode(SAMPLES, inputOf('hello', { ...tools, ...more })).body.tool_choice
    expect(choose({})).toBeUndefined()
    expect(choose({ tool_choice: 'auto' })).toEqual({ type: 'auto' })
    expect(choose({ tool_choice: 'none', parallel_tool_calls: false })).toEqual({ type: 'none' })
    expect(choose({ parallel_tool_calls: false })).toEqual({ type: 'auto', disable_parallel_tool_use: true })
    expect(choose({ tool_choice: { type: 'function', function: { name: 'go' } } })).toEqual({
      type: 'tool',
      name: 'go',
    })
  })

  it('asks for a schema by structured outputs, with objects closed that say nothing of more fields', () => {
    const { body } = encode(
      NEWEST,
      inputOf('a city', {
        response_format: {
          type: 'json_schema',
          json_schema: {
            name: 'city',
            description: 'with its towers',
            schema: {
              type: 'object',
              properties: {
                towers: { type: 'array', items: { $ref: '#/$defs/tower' } },
                free: { $ref: '#/$defs/free' },
              },
              $defs: {
                tower: { type: 'object', properties: { height: { type: 'integer' } } },
                free: { type: 'object', additionalProperties: true },
                both: { type: 'object', anyOf: [{ type: 'object', properties: {} }] },
              },
            },
          },
        },
      }),
    )
    expect(body.output_config?.format).toMatchObject({
      type: 'json_schema',
      schema: {
        description: 'with its towers',
        additionalProperties: false,
        $defs: {
          tower: { additionalProperties: false },
          free: { additionalProperties: true },
          both: { anyOf: [{ additionalProperties: false }] },
        },
      },
    })
    expect(JSON.stringify(body.output_config)).toContain('"both":{"type":"object","anyOf"')
  })

  it('asks for JSON without a schema by a tool that has to be called', () => {
    const json = { response_format: { type: 'json_object' as const } }
    expect(encode(SAMPLES, inputOf('a city', json)).body).toMatchObject({
      tools: [{ name: 'json_answer', input_schema: { type: 'object' } }],
      tool_choice: { type: 'tool', name: 'json_answer' },
    })
    const clash = { ...TOOL, function: { ...TOOL.function, name: 'json_answer' } }
    expect(encode(SAMPLES, inputOf('a city', { ...json, tools: [clash] })).body).toMatchObject({
      tools: [{ name: 'json_answer' }, { name: 'json_answer_' }],
      tool_choice: { type: 'any' },
    })
    const required = encode(SAMPLES, inputOf('a city', { ...json, tools: [TOOL], tool_choice: 'required' })).body
    expect(required.tools).toHaveLength(1)
  })

  it('has tiers, users and stops under their names here, and names what is left out', () => {
    const { body, dropped } = encode(
      NEWEST,
      inputOf('hello', {
        service_tier: 'default',
        safety_identifier: 'u1',
        user: 'u2',
        stop: 'END',
        seed: 5,
        store: true,
        verbosity: 'low',
        presence_penalty: 1,
      }),
    )
    expect(body).toMatchObject({
      service_tier: 'standard_only',
      metadata: { user_id: 'u1' },
      stop_sequences: ['END'],
    })
    expect([...dropped].sort()).toEqual(['presence_penalty', 'seed', 'store', 'user', 'verbosity'])
    expect(encode(NEWEST, inputOf('hello', { service_tier: 'flex' })).dropped).toEqual(['service_tier'])
  })

  it('goes to the address with and without its version, and bears the secret in its header alone', () => {
    for (const baseUrl of ['https://x', 'https://x/v1']) {
      const { url, body } = chatOf(anthropicText).encode(
        chatCall(anthropicText, { baseUrl, model: NEWEST }, inputOf('hello')),
      )
      expect(url).toBe('https://x/v1/messages')
      expect(JSON.stringify([url, body])).not.toContain('sk-test')
    }
  })
})
