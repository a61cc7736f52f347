import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import { geminiText } from '../../../src/providers/gemini-text.ts'
import { type GeminiEmulator, startGemini } from '../../emulators/gemini.ts'
import { complete, inputOf, stream } from './text-call.ts'

let gemini: GeminiEmulator
const SECRET = 'AIza-good-secret'
const at = (model = 'gemini-3.8-flash') => ({ baseUrl: gemini.url, secret: SECRET, model })

beforeAll(async () => {
  gemini = await startGemini({ apiKeys: [SECRET], draw: false })
})
afterEach(() => gemini.reset())
afterAll(() => gemini.close())

const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    description: 'of a city',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
    strict: true,
  },
}
const TWO_CALLS = 'weather? [[call:get_weather:{"city":"Rome"};get_weather:{"city":"Oslo"}]] [[thoughts:9]]'

describe('a loop of tools', () => {
  type Message = ChatInput['messages'][number]
  const resultsOf = (calls: { id: string }[], content = '{"sky":"rain"}'): Message[] =>
    calls.map(({ id }) => ({ role: 'tool', tool_call_id: id, content }))

  it.each(['gemini-3.8-flash', 'gemini-2.5-flash'])(
    'with %s calls several at once, and takes their results in any order',
    async (model) => {
      const asked = inputOf(TWO_CALLS, { tools: [WEATHER] })
      const { outcome } = await complete(geminiText, at(model), asked)
      if (outcome.kind !== 'completed') throw new Error(outcome.message)
      const { message, finish_reason } = outcome.completion.choices[0] ?? {}
      expect(finish_reason).toBe('tool_calls')
      const calls = message?.tool_calls ?? []
      expect(calls.map((call) => JSON.parse(call.function.arguments))).toEqual([{ city: 'Rome' }, { city: 'Oslo' }])
      expect(new Set(calls.map(({ id }) => id)).size).toBe(2)
      for (const { id } of calls) expect(id).toMatch(/^[\w-]{1,40}$/)
      const [rome, oslo] = calls
      const messages = [
        ...asked.messages,
        message as Message,
        ...resultsOf(oslo ? [oslo] : [], 'snow'),
        ...resultsOf(rome ? [rome] : []),
      ]
      const second = await complete(geminiText, at(model), { ...asked, messages })
      expect(second.outcome).toMatchObject({
        completion: {
          choices: [{ message: { content: 'The tools say: {"sky":"rain"} {"output":"snow"}' }, finish_reason: 'stop' }],
        },
      })
    },
  )

  it('in a stream gives calls whole, with what has to go back', async () => {
    const asked = inputOf(TWO_CALLS, { tools: [WEATHER] })
    const { chunks, text, end } = await stream(geminiText, at(), asked)
    expect(end).toMatchObject({ fault: null, finish: 'tool_calls' })
    expect(text).toBe('get_weather{"city":"Rome"}get_weather{"city":"Oslo"}')
    const deltas = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? [])
    expect(deltas.map(({ index }) => index)).toEqual([0, 1])
    const calls = deltas.map(({ index: _, ...call }) => call)
    const messages = [
      ...asked.messages,
      { role: 'assistant', content: null, tool_calls: calls } as Message,
      ...resultsOf(calls as { id: string }[]),
    ]
    const second = await complete(geminiText, at(), { ...asked, messages })
    expect(second.outcome).toMatchObject({ kind: 'completed' })
  })

  it('goes on with calls that another provider made, or whose signatures the client has lost', async () => {
    const calls = [
      {
        id: 'call_foreign',
        type: 'function' as const,
        function: { name: 'get_weather', arguments: '{"city":"Rome"}' },
      },
      { id: 'call_more', type: 'function' as const, function: { name: 'get_weather', arguments: '' } },
    ]
    const { outcome } = await complete(geminiText, at(), {
      messages: [
        { role: 'user', content: 'weather?' },
        { role: 'assistant', content: 'I look.', tool_calls: calls, extra_content: { anthropic: { thinking: [] } } },
        ...resultsOf(calls),
      ],
      tools: [WEATHER],
    })
    expect(outcome).toMatchObject({ kind: 'completed' })
  })

  it('goes on where the assistant spoke in one message and called in the next', async () => {
    const called = {
      id: 'a',
      type: 'function' as const,
      function: { name: 'get_weather', arguments: '{"city":"Rome"}' },
    }
    const { outcome } = await complete(geminiText, at('gemini-2.5-flash'), {
      tools: [WEATHER],
      messages: [
        { role: 'user', content: 'weather?' },
        { role: 'assistant', content: 'I look.' },
        { role: 'assistant', content: null, tool_calls: [called] },
        ...resultsOf([called]),
        { role: 'user', content: 'and?' },
      ],
    })
    expect(outcome).toMatchObject({ kind: 'completed' })
  })

  it('calls the one tool that it is told to', async () => {
    const tide = { ...WEATHER, function: { ...WEATHER.function, name: 'tide' } }
    const { outcome } = await complete(
      geminiText,
      at(),
      inputOf('hello', { tools: [WEATHER, tide], tool_choice: { type: 'function', function: { name: 'tide' } } }),
    )
    expect(outcome).toMatchObject({
      completion: { choices: [{ message: { tool_calls: [{ function: { name: 'tide' } }] } }] },
    })
  })
})
