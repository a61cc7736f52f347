import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import { quantitiesOf } from '../../../src/contract/price.ts'
import { costMicros } from '../../../src/core/cost.ts'
import { priceAt } from '../../../src/core/price.ts'
import { listedPrices } from '../../../src/prices/list.ts'
import { geminiText } from '../../../src/providers/gemini-text.ts'
import { geminiUsage } from '../../../src/providers/gemini-usage.ts'
import { startGemini } from '../../emulators/gemini.ts'
import { chatCall, chatOf, inputOf, read } from './text-call.ts'

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const decoderOf = (input: ChatInput) =>
  chatOf(geminiText).openStream(chatCall(geminiText, { baseUrl: '', model: 'gemini-3.8-flash' }, input, true))

/** As the provider sends it, recorded from its emulator. */
const record = async (input: ChatInput): Promise<Uint8Array> => {
  const emulator = await startGemini()
  const { url, headers, body } = chatOf(geminiText).encode(
    chatCall(geminiText, { baseUrl: emulator.url, model: 'gemini-3.8-flash' }, input, true),
  )
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  const bytes = await response.bytes()
  await emulator.close()
  return bytes
}

const TOOLS: ChatInput['tools'] = [{ type: 'function', function: { name: 'f' } }]
const THOUGHTS = { google: { generationConfig: { thinkingConfig: { includeThoughts: true } } } }
const KINDS: [string, ChatInput][] = [
  ['text', inputOf('x [[say:Grüße 🚢, 灯]] [[thoughts:3]]', { provider_options: THOUGHTS })],
  ['calls', inputOf('x [[call:f:{"a":"ü"};f:{"b":[1]}]]', { tools: TOOLS })],
  ['two choices', inputOf('x [[say:灯 burns]]', { n: 2 })],
  ['a filtered answer', inputOf('x [[finish:SAFETY]]')],
]

describe.each(KINDS)('a recorded stream of %s', (_what, input) => {
  it('cut at every byte ends in a fault, with what came before it and no more, until its last reason is there', async () => {
    const bytes = await record(input)
    const whole = read(decoderOf(input), [bytes])
    expect(whole.end).toMatchObject({ fault: null, usage: { inputTokens: expect.any(Number) } })
    const text = new TextDecoder().decode(bytes)
    // The last event is whole with its closing brace; the line ends behind it say nothing.
    const reasons = bytesOf(text.slice(0, text.lastIndexOf('}') + 1)).length
    for (let at = 0; at < bytes.length; at += 1) {
      const { pieces, end } = read(decoderOf(input), [bytes.subarray(0, at)])
      if (at < reasons) expect(end.fault, String(at)).toMatchObject({ code: 'outcome_unknown' })
      else expect(end.fault, String(at)).toBeNull()
      expect(pieces.map(({ json }) => json)).toEqual(whole.pieces.slice(0, pieces.length).map(({ json }) => json))
    }
  })

  it('is the same however it is split', async () => {
    const bytes = await record(input)
    const whole = read(decoderOf(input), [bytes])
    for (const size of [1, 2, 3, 5, 7, 64]) {
      const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
        bytes.subarray(at * size, (at + 1) * size),
      )
      expect(read(decoderOf(input), parts)).toEqual(whole)
    }
  })

  it('with a byte changed anywhere ends well or in a fault, and never throws', async () => {
    const bytes = await record(input)
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
        const spoilt = bytes.slice()
        spoilt[at] = value
        const { end, pieces } = read(decoderOf(input), [spoilt])
        expect(end.fault === null || end.fault.kind === 'fault').toBe(true)
        for (const { json } of pieces) expect(json).not.toContain('\n')
      }),
      { numRuns: 500 },
    )
  })
})

describe('a stream', () => {
  it('of any JSON at all never throws', () => {
    const part = fc.oneof(
      fc.record({ text: fc.oneof(fc.string(), fc.jsonValue()), thought: fc.jsonValue() }, { requiredKeys: [] }),
      fc.record({ functionCall: fc.oneof(fc.jsonValue(), fc.record({ name: fc.jsonValue(), args: fc.jsonValue() })) }),
      fc.jsonValue(),
    )
    const event = fc.oneof(
      fc.record(
        {
          candidates: fc.oneof(
            fc.jsonValue(),
            fc.array(
              fc.record(
                {
                  content: fc.oneof(fc.jsonValue(), fc.record({ parts: fc.oneof(fc.jsonValue(), fc.array(part)) })),
                  finishReason: fc.oneof(fc.constantFrom('STOP', 'SAFETY', ''), fc.jsonValue()),
                  index: fc.oneof(fc.nat(3), fc.jsonValue()),
                },
                { requiredKeys: [] },
              ),
              { maxLength: 3 },
            ),
          ),
          usageMetadata: fc.jsonValue(),
          promptFeedback: fc.jsonValue(),
          error: fc.oneof(fc.constant(undefined), fc.jsonValue()),
        },
        { requiredKeys: [] },
      ),
      fc.jsonValue(),
    )
    fc.assert(
      fc.property(fc.array(event, { maxLength: 6 }), (events) => {
        const decoder = decoderOf(inputOf('x'))
        for (const item of events)
          for (const piece of decoder.push({ data: JSON.stringify(item) ?? 'null' }))
            expect(JSON.parse(piece.json)).toHaveProperty('choices')
        expect(decoder.finish()).toHaveProperty('fault')
      }),
    )
  })

  const event = (candidate: object | null, more: object = {}) =>
    `data: ${JSON.stringify({ ...(candidate ? { candidates: [candidate] } : {}), ...more, responseId: 'r1' })}\r\n\r\n`
  const said = (text: string, finishReason?: string) =>
    event({ content: { role: 'model', parts: [{ text }] }, ...(finishReason ? { finishReason } : {}) })
  const readText = (text: string, input = inputOf('x')) => read(decoderOf(input), [bytesOf(text)])

  it('whose every event has a reason tells it once', () => {
    const { text, end, pieces } = readText(said('a', 'STOP') + said('b', 'STOP'))
    expect(text).toBe('ab')
    expect(end).toMatchObject({ fault: null, finish: 'stop' })
    expect(pieces.filter(({ finish }) => finish)).toHaveLength(1)
  })

  it('that ends with a bare reason, and usage alone behind it, is whole', () => {
    const usage = event(null, { usageMetadata: { promptTokenCount: 3, candidatesTokenCount: 1, totalTokenCount: 4 } })
    const { end, chunks } = readText(said('a') + event({ finishReason: 'STOP', index: 0 }) + usage)
    expect(end).toMatchObject({ fault: null, usage: { inputTokens: 3, outputTokens: 1 }, id: 'r1' })
    expect(chunks).toHaveLength(2)
  })

  it('of one choice where two were asked for has broken off', () => {
    expect(readText(said('a', 'STOP'), inputOf('x', { n: 2 })).end.fault).toMatchObject({ code: 'outcome_unknown' })
  })

  it('that calls in one event and ends in another ends by calling', () => {
    const call = event({ content: { parts: [{ functionCall: { name: 'f', args: {} } }] } })
    const { end, chunks } = readText(call + call + said('', 'STOP'))
    expect(end).toMatchObject({ fault: null, finish: 'tool_calls' })
    const ids = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? []).map(({ id }) => id)
    expect(ids).toEqual(['gemini_r1_0_0', 'gemini_r1_0_1'])
  })

  it('keeps the usage that was told before it broke', () => {
    const usage = { usageMetadata: { promptTokenCount: 9, candidatesTokenCount: 5, thoughtsTokenCount: 2 } }
    const { end } = readText(event({ content: { parts: [{ text: 'a' }] } }, usage))
    expect(end).toMatchObject({ fault: { code: 'outcome_unknown' }, usage: { inputTokens: 9, outputTokens: 7 } })
  })

  it('that broke while the prompt alone was counted leaves what it said to be counted', () => {
    const usage = { usageMetadata: { promptTokenCount: 9, cachedContentTokenCount: 4, totalTokenCount: 9 } }
    const { end } = readText(event({ content: { parts: [{ text: 'a long answer' }] } }, usage))
    expect(end).toMatchObject({ usage: null, promptUsage: { inputTokens: 9, cachedInputTokens: 4, outputTokens: 0 } })
  })
})

describe('usage', () => {
  it.each<[string, object, object | null]>([
    [
      'of text',
      { promptTokenCount: 5, candidatesTokenCount: 7, totalTokenCount: 12 },
      { inputTokens: 5, outputTokens: 7 },
    ],
    [
      'with thoughts beside',
      { promptTokenCount: 3, candidatesTokenCount: 104, thoughtsTokenCount: 955, totalTokenCount: 1_062 },
      { inputTokens: 3, outputTokens: 1_059, reasoningTokens: 955 },
    ],
    [
      'with thoughts inside, as its total shows',
      { promptTokenCount: 3, candidatesTokenCount: 100, thoughtsTokenCount: 40, totalTokenCount: 103 },
      { inputTokens: 3, outputTokens: 100, reasoningTokens: 40 },
    ],
    [
      'of thoughts alone',
      { promptTokenCount: 3, thoughtsTokenCount: 9, totalTokenCount: 12 },
      { outputTokens: 9, reasoningTokens: 9 },
    ],
    [
      'of a cached prompt',
      { promptTokenCount: 100, cachedContentTokenCount: 80, candidatesTokenCount: 1 },
      { inputTokens: 100, cachedInputTokens: 80 },
    ],
    [
      'of tools of its own',
      { promptTokenCount: 10, toolUsePromptTokenCount: 30, candidatesTokenCount: 2, totalTokenCount: 42 },
      { inputTokens: 40, outputTokens: 2 },
    ],
    [
      'of pictures and sound',
      {
        promptTokenCount: 300,
        candidatesTokenCount: 1_290,
        promptTokensDetails: [
          { modality: 'TEXT', tokenCount: 10 },
          { modality: 'IMAGE', tokenCount: 258 },
          { modality: 'AUDIO', tokenCount: 32 },
        ],
        candidatesTokensDetails: [{ modality: 'IMAGE', tokenCount: 1_290 }],
      },
      { imageInputTokens: 258, audioInputTokens: 32, imageOutputTokens: 1_290, audioOutputTokens: 0 },
    ],
    [
      'of pictures that were cached',
      {
        promptTokenCount: 2_690,
        cachedContentTokenCount: 2_048,
        candidatesTokenCount: 1,
        promptTokensDetails: [
          { modality: 'TEXT', tokenCount: 110 },
          { modality: 'IMAGE', tokenCount: 2_580 },
        ],
        cacheTokensDetails: [
          { modality: 'TEXT', tokenCount: 48 },
          { modality: 'IMAGE', tokenCount: 2_000 },
        ],
      },
      { cachedInputTokens: 2_048, imageInputTokens: 2_580, cachedImageInputTokens: 2_000 },
    ],
    [
      'whose parts are larger than the whole',
      { promptTokenCount: 5, cachedContentTokenCount: 9, promptTokensDetails: [{ modality: 'IMAGE', tokenCount: 99 }] },
      { cachedInputTokens: 5, imageInputTokens: 5 },
    ],
    ['of no counts', { promptTokenCount: -1, candidatesTokenCount: 1.5 }, null],
    ['of nothing', {}, null],
  ])('%s is counted once', (_what, told, expected) => {
    const usage = geminiUsage(told)
    if (expected === null) expect(usage).toBeNull()
    else expect(usage).toMatchObject(expected)
  })

  it('of a prompt of text, pictures and sound has a cost, however much of it was cached and whoever says so', () => {
    const price = priceAt(listedPrices('google'), ['gemini-2.5-flash'], Date.parse('2026-11-21'))
    if (!price) throw new Error('no price')
    const kinds = fc.record({ TEXT: fc.nat(3_000), IMAGE: fc.nat(3_000), AUDIO: fc.nat(3_000) })
    const details = (tokens: Record<string, number>) =>
      Object.entries(tokens).map(([modality, tokenCount]) => ({ modality, tokenCount }))
    const sum = (tokens: Record<string, number>) => Object.values(tokens).reduce((all, one) => all + one, 0)
    fc.assert(
      fc.property(kinds, kinds, fc.boolean(), (prompt, share, isTold) => {
        const cached = {
          TEXT: Math.min(prompt.TEXT, share.TEXT),
          IMAGE: Math.min(prompt.IMAGE, share.IMAGE),
          AUDIO: Math.min(prompt.AUDIO, share.AUDIO),
        }
        const usage = geminiUsage({
          promptTokenCount: sum(prompt),
          promptTokensDetails: details(prompt),
          cachedContentTokenCount: sum(cached),
          candidatesTokenCount: 0,
          ...(isTold ? { cacheTokensDetails: details(cached) } : {}),
        })
        const cost = usage && costMicros(price, quantitiesOf(usage))
        expect(cost).not.toBeNull()
        if (!isTold) return
        const fresh = 0.3 * (prompt.TEXT + prompt.IMAGE - cached.TEXT - cached.IMAGE) + (prompt.AUDIO - cached.AUDIO)
        expect(cost).toBe(Math.round(fresh + 0.03 * (cached.TEXT + cached.IMAGE) + 0.1 * cached.AUDIO + 1e-6))
      }),
    )
  })
})
