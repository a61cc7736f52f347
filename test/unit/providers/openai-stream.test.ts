import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LOCAL_SERVERS } from '../../../src/providers/local-servers.ts'
import { openAiText } from '../../../src/providers/openai-text.ts'
import { workersAi } from '../../../src/providers/workers-ai.ts'
import { chatCall, chatOf, inputOf, read } from './text-call.ts'

const HEAD = '"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763700000,"model":"gpt-5-mini-2025-08-07"'
const chunk = (delta: object, finish: string | null = null, more = '') =>
  `data: {${HEAD},"choices":[{"index":0,"delta":${JSON.stringify(delta)},"finish_reason":${JSON.stringify(finish)}}]${more}}\n\n`
const USAGE =
  '"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":2}}'

/** As the provider sends it. */
const STREAM = [
  chunk({ role: 'assistant', content: '', refusal: null }, null, ',"usage":null'),
  chunk({ content: 'Grüße ' }, null, ',"usage":null,"obfuscation":"aB"'),
  chunk({ content: '🚢, 灯' }, null, ',"usage":null'),
  chunk({ tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name: 'f', arguments: '' } }] }),
  chunk({ tool_calls: [{ index: 0, function: { arguments: '{"a":"ü"}' } }] }),
  chunk({}, 'tool_calls', ',"usage":null'),
  `data: {${HEAD},"choices":[],${USAGE}}\n\n`,
  'data: [DONE]\n\n',
].join('')

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const decoderOf = (provider = openAiText, model = 'gpt-5-mini') =>
  chatOf(provider).openStream(chatCall(provider, { baseUrl: '', model }, inputOf('hello'), true))
const readText = (text: string, provider = openAiText, model = 'gpt-5-mini') =>
  read(decoderOf(provider, model), [bytesOf(text)])

describe('a recorded stream', () => {
  const whole = readText(STREAM)

  it('is whole', () => {
    expect(whole.text).toBe('Grüße 🚢, 灯f{"a":"ü"}')
    expect(whole.end).toMatchObject({
      fault: null,
      finish: 'tool_calls',
      id: 'chatcmpl-1',
      model: 'gpt-5-mini-2025-08-07',
      usage: { inputTokens: 9, cachedInputTokens: 2, outputTokens: 5 },
    })
  })

  it('cut at every byte ends in a fault, with what came before it and no more', () => {
    const bytes = bytesOf(STREAM)
    const terminated = bytes.length - bytesOf('\n\n').length
    for (let at = 0; at < bytes.length; at += 1) {
      const { pieces, end } = read(decoderOf(), [bytes.subarray(0, at)])
      if (at < terminated) expect(end.fault, String(at)).toMatchObject({ code: 'outcome_unknown' })
      else expect(end.fault, String(at)).toBeNull()
      expect(pieces.map(({ json }) => json)).toEqual(whole.pieces.slice(0, pieces.length).map(({ json }) => json))
    }
  })

  it('is the same however it is split', () => {
    const bytes = bytesOf(STREAM)
    for (const size of [1, 2, 3, 5, 7, 64]) {
      const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
        bytes.subarray(at * size, (at + 1) * size),
      )
      expect(read(decoderOf(), parts)).toEqual(whole)
    }
  })

  it('with a byte changed anywhere ends well or in a fault, and never throws', () => {
    const bytes = bytesOf(STREAM)
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
        const spoilt = bytes.slice()
        spoilt[at] = value
        const { end, pieces } = read(decoderOf(), [spoilt])
        expect(end.fault === null || end.fault.kind === 'fault').toBe(true)
        for (const { json } of pieces) expect(json).not.toContain('\n')
      }),
      { numRuns: 2_000 },
    )
  })

  it.each([...LOCAL_SERVERS, workersAi])('of any JSON at all never throws ($id)', (provider) => {
    fc.assert(
      fc.property(fc.array(fc.json({ maxDepth: 4 }), { maxLength: 6 }), (events) => {
        const decoder = decoderOf(provider, provider.chatModels[0]?.model ?? 'any')
        for (const data of events)
          for (const piece of decoder.push({ data })) expect(JSON.parse(piece.json)).toHaveProperty('choices')
        expect(decoder.finish()).toHaveProperty('fault')
      }),
    )
  })
})

describe('a chunk', () => {
  it('that is as it should be goes on as it came', () => {
    const [piece] = decoderOf().push({ data: chunk({ content: 'x' }, null, ',"obfuscation":"q"').slice(6, -2) })
    expect(piece?.json).toBe(chunk({ content: 'x' }, null, ',"obfuscation":"q"').slice(6, -2))
  })

  it.each<[string, string, object]>([
    [
      'without id, time or kind gets them',
      'data: {"model":"m","choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n',
      { id: 'chatcmpl-ours', object: 'chat.completion.chunk', created: expect.any(Number) },
    ],
    [
      'with usage beside its text loses it to the end',
      chunk({ content: 'x' }, null, `,${USAGE}`),
      { choices: [{ delta: { content: 'x' } }] },
    ],
    [
      'with a reason of its own gets a known one',
      chunk({ content: 'x' }, 'eos'),
      { choices: [{ finish_reason: 'stop' }] },
    ],
    ['with an older reason gets today’s', chunk({}, 'function_call'), { choices: [{ finish_reason: 'tool_calls' }] }],
    [
      'with thoughts under another name gets the known one',
      chunk({ reasoning: 'hm' }),
      { choices: [{ delta: { reasoning_content: 'hm' } }] },
    ],
    [
      'with a whole tool call gets its index and text',
      chunk({ tool_calls: [{ id: 'a', function: { name: 'f', arguments: { a: 1 } } }] }),
      { choices: [{ delta: { tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '{"a":1}' } }] } }] },
    ],
    [
      'of several lines becomes one',
      chunk({ content: 'x' }).replace('"choices"', '\ndata: "choices"'),
      { choices: [{ delta: { content: 'x' } }] },
    ],
    [
      'that only ends needs no delta',
      `data: {${HEAD},"choices":[{"index":0,"finish_reason":"stop"}]}\n\n`,
      { choices: [{ delta: {}, finish_reason: 'stop' }] },
    ],
  ])('%s', (_what, text, expected) => {
    const { chunks, pieces } = readText(text)
    expect(chunks[0]).toMatchObject(expected)
    expect(pieces[0]?.json).not.toContain('\n')
    expect(chunks[0]).not.toHaveProperty('usage.prompt_tokens')
  })

  it('of one call each, without an index, are several calls and not one', () => {
    const call = (name: string, args: object, more: object = {}) =>
      chunk({ tool_calls: [{ ...more, function: { name, arguments: args } }] })
    const { chunks } = readText(
      call('one', { city: 'Rome' }) +
        call('two', { city: 'Oslo' }, { id: 'theirs' }) +
        chunk({ tool_calls: [{ function: { arguments: ' ' } }] }) +
        chunk({ tool_calls: [{ function: { name: 'three' } }, { function: { name: 'four' } }] }),
    )
    const calls = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? [])
    expect(calls.map(({ index, id, function: called }) => [index, id, called?.name, called?.arguments])).toEqual([
      [0, 'call_0', 'one', '{"city":"Rome"}'],
      [1, 'theirs', 'two', '{"city":"Oslo"}'],
      [1, undefined, undefined, ' '],
      [2, 'call_2', 'three', ''],
      [3, 'call_3', 'four', ''],
    ])
  })

  it('that carries an error beside its choices is an error', () => {
    const { end, pieces } = readText(chunk({}, null, ',"error":{"message":"boom","code":502}'))
    expect(end.fault).toMatchObject({ code: 'provider_unavailable' })
    expect(pieces).toEqual([])
    expect(readText(chunk({}, 'error')).end.fault).toMatchObject({ code: 'provider_unavailable' })
  })
})

describe('the end of a stream', () => {
  const said = chunk({ role: 'assistant', content: 'x' })

  it('is told to every choice, also where the server forgets it', () => {
    const { pieces, end } = readText(`${said}data: [DONE]\n\n`)
    expect(pieces.at(-1)).toMatchObject({ finish: 'stop', text: '' })
    expect(end).toMatchObject({ fault: null, finish: 'stop' })
  })

  it('needs its terminator of OpenAI, and a reason of a server of one’s own', () => {
    const ended = said + chunk({}, 'stop')
    expect(readText(ended).end.fault).toMatchObject({ code: 'outcome_unknown' })
    for (const provider of LOCAL_SERVERS) {
      expect(readText(ended, provider, 'any').end.fault).toBeNull()
      expect(readText(said, provider, 'any').end.fault).toMatchObject({ code: 'outcome_unknown' })
    }
  })

  it('that never began is no answer', () => {
    expect(readText('data: [DONE]\n\n').end.fault).toMatchObject({ code: 'provider_protocol_error' })
    expect(readText('').end.fault).toMatchObject({ code: 'outcome_unknown' })
  })

  it('keeps the usage that was told before it broke', () => {
    const { end } = readText(`${said}data: {${HEAD},"choices":[],${USAGE}}\n\n`)
    expect(end).toMatchObject({ fault: { code: 'outcome_unknown' }, usage: { inputTokens: 9, outputTokens: 5 } })
  })
})

describe('a server of one’s own', () => {
  const vllm = LOCAL_SERVERS.find(({ id }) => id === 'vllm') as typeof openAiText

  it('that writes its text in parts is told in text', () => {
    const parts = [
      { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] },
      { type: 'text', text: 'Hel' },
      { type: 'text', text: 'lo' },
    ]
    const { pieces, text } = readText(chunk({ content: parts }) + chunk({}, 'stop'), vllm, 'm')
    expect(text).toBe('Hello')
    expect(JSON.parse(pieces[0]?.json ?? '')).toMatchObject({ choices: [{ delta: { content: 'Hello' } }] })
  })

  it('ends well for whatever reason it names', () => {
    for (const reason of ['constructor', 'toString', '__proto__', 'done']) {
      const { pieces, end } = readText(chunk({ content: 'a' }) + chunk({}, reason), vllm, 'm')
      expect(end).toMatchObject({ fault: null, finish: 'stop' })
      expect(JSON.parse(pieces.at(-1)?.json ?? '')).toMatchObject({ choices: [{ finish_reason: 'stop' }] })
    }
  })

  it('cannot have an id kept that is as long as a book', () => {
    const id = 'x'.repeat(100_000)
    const { end } = readText(chunk({ content: 'a' }, 'stop').replace('chatcmpl-1', id), vllm, 'm')
    expect(end).toMatchObject({ fault: null, id: null })
  })
})
