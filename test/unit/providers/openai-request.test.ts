import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { ChatInput } from '../../../src/contract/chat.ts'
import { ollama, vllm } from '../../../src/providers/local-servers.ts'
import { openAiText } from '../../../src/providers/openai-text.ts'
import { workersAi } from '../../../src/providers/workers-ai.ts'
import { problemWith, requests } from '../../emulators/openai/spec.ts'
import { rawChatInput } from './chat-inputs.ts'
import { chatCall, chatOf, inputOf } from './text-call.ts'

const validate = requests['/chat/completions']
const encode = (provider: typeof openAiText, model: string, input: ChatInput, stream = false) => {
  const encoded = chatOf(provider).encode(chatCall(provider, { baseUrl: 'https://x/v1', model }, input, stream))
  return { ...encoded, body: JSON.parse(JSON.stringify(encoded.body)) as Record<string, unknown> }
}

describe('every request that the contract takes', () => {
  it('is refused by a model or is one that the reference knows', () => {
    let sent = 0
    fc.assert(
      fc.property(
        rawChatInput,
        fc.constantFrom(...openAiText.chatModels.map(({ model }) => model)),
        fc.boolean(),
        (raw, model, stream) => {
          const input = v.parse(ChatInput, raw)
          const card = openAiText.chatModels.find((known) => known.model === model)
          if (!card || chatOf(openAiText).refuses(card, input)) return
          const { body, dropped } = encode(openAiText, model, input, stream)
          sent += 1
          expect(problemWith(validate, body)).toBeUndefined()
          // What was asked for is either sent or told to be left out.
          for (const field of Object.keys(input)) {
            if (['max_tokens', 'max_completion_tokens', 'provider_options'].includes(field)) continue
            const plain =
              field === 'tool_choice' || field === 'n' || field === 'logprobs' || field === 'response_format'
            expect(field in body || dropped.includes(field) || plain, field).toBe(true)
          }
        },
      ),
      { numRuns: 2_000 },
    )
    expect(sent).toBeGreaterThan(500)
  })
})

describe('a request', () => {
  it('shortens ids of calls that another provider wrote longer than OpenAI takes, each to another', () => {
    const long = (tail: string) => `chatcmpl-tool-${'f'.repeat(40)}${tail}`
    const called = (id: string) => ({ id, type: 'function' as const, function: { name: 'f', arguments: '{}' } })
    const messages: ChatInput['messages'] = [
      { role: 'user', content: 'hello' },
      {
        role: 'assistant',
        tool_calls: [called(long('a')), called(long('b')), called(`x${long('a')}`), called('call_1')],
      },
      ...[long('b'), `x${long('a')}`, 'call_1', long('a')].map((id) => ({
        role: 'tool' as const,
        tool_call_id: id,
        content: id,
      })),
    ]
    type Sent = { tool_calls?: { id: string }[]; tool_call_id?: string }
    const sent = encode(openAiText, 'gpt-5-mini', { messages }).body['messages'] as Sent[]
    const ids = sent[1]?.tool_calls?.map(({ id }) => id) ?? []
    expect(ids.filter((id) => id.length <= 40)).toHaveLength(4)
    expect(new Set(ids).size).toBe(4)
    expect(sent.slice(2).map((message) => message.tool_call_id)).toEqual([ids[1], ids[2], 'call_1', ids[0]])
    const elsewhere = encode(vllm, 'm', { messages }).body['messages'] as Sent[]
    expect(elsewhere[1]?.tool_calls?.[0]?.id).toBe(long('a'))
  })

  it.each<[string, Partial<ChatInput>, string]>([
    ['gpt-5', { logprobs: true }, 'logprobs'],
    ['gpt-5', { reasoning_effort: 'none' }, 'reasoning_effort'],
    ['gpt-4o', { max_tokens: 20_000 }, 'max_tokens'],
    ['gpt-4o', { max_completion_tokens: 20_000 }, 'max_completion_tokens'],
    ['o3', { stop: 'x' }, 'stop'],
    ['gpt-5', { provider_options: { openai: { model: 'x' } } }, 'provider_options.openai.model'],
    ['gpt-5', { provider_options: { openai: { temperature: 1 } } }, 'provider_options.openai.temperature'],
    ['gpt-5', { provider_options: { openai: { n: 100 } } }, 'provider_options.openai.n'],
    ['gpt-5', { provider_options: { openai: { max_output_tokens: 1 } } }, 'provider_options.openai.max_output_tokens'],
    [
      'gpt-5',
      { provider_options: { openai: { web_search_options: {} } } },
      'provider_options.openai.web_search_options',
    ],
  ])('to %s with %j is refused at %s', (model, more, param) => {
    const card = openAiText.chatModels.find((known) => known.model === model)
    if (!card) throw new Error('no card')
    expect(chatOf(openAiText).refuses(card, inputOf('hello', more))).toMatchObject({ param })
  })

  it('with an image is refused by a model that sees none, at its part', () => {
    const card = workersAi.chatModels[0]
    const input: ChatInput = {
      messages: [
        { role: 'system', content: 'look' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'what?' },
            { type: 'image_url', image_url: { url: 'https://example.com/a.png' } },
          ],
        },
      ],
    }
    expect(card && chatOf(workersAi).refuses(card, input)).toMatchObject({ param: 'messages.1.content.1' })
  })

  it('to a model that reasons leaves sampling out and says so, unless it shall not reason', () => {
    const sampling = { temperature: 0.2, top_p: 0.5, seed: 3 }
    expect(encode(openAiText, 'gpt-5.4', inputOf('hello', sampling))).toMatchObject({
      dropped: ['temperature', 'top_p'],
      body: { seed: 3 },
    })
    expect(encode(openAiText, 'gpt-5.4', inputOf('hello', { ...sampling, reasoning_effort: 'none' }))).toMatchObject({
      dropped: [],
      body: { temperature: 0.2, top_p: 0.5, reasoning_effort: 'none' },
    })
  })

  it('names its limit as the server does', () => {
    const input = inputOf('hello', { max_tokens: 50 })
    expect(encode(openAiText, 'gpt-5', input).body).toMatchObject({ max_completion_tokens: 50 })
    expect(encode(vllm, 'any', inputOf('hello', { max_completion_tokens: 50 })).body).toMatchObject({ max_tokens: 50 })
  })

  it('as a stream asks for usage, and hides the length of its chunks as the client wants it', () => {
    const call = chatCall(openAiText, { baseUrl: 'https://x', model: 'gpt-5' }, inputOf('hello'), true)
    expect(chatOf(openAiText).encode(call).body['stream_options']).toEqual({ include_usage: true })
    expect(chatOf(openAiText).encode({ ...call, includeObfuscation: false }).body['stream_options']).toEqual({
      include_usage: true,
      include_obfuscation: false,
    })
  })

  it('carries native fields of its own provider alone', () => {
    const options = { provider_options: { vllm: { top_k: 5 }, openai: { moderation: { model: 'm' } }, ollama: {} } }
    expect(encode(vllm, 'any', inputOf('hello', options)).body).toMatchObject({ top_k: 5 })
    expect(encode(openAiText, 'gpt-5', inputOf('hello', options)).body).not.toHaveProperty('top_k')
    expect(encode(openAiText, 'gpt-5', inputOf('hello', options)).body).toMatchObject({ moderation: { model: 'm' } })
  })

  it('to a server that knows no developer speaks as the system', () => {
    const input: ChatInput = { messages: [{ role: 'developer', content: 'be brief' }] }
    expect(encode(ollama, 'llama', input).body['messages']).toEqual([{ role: 'system', content: 'be brief' }])
    expect(encode(openAiText, 'gpt-5', input).body['messages']).toEqual([{ role: 'developer', content: 'be brief' }])
  })

  it('to a server without a field that decides the answer is refused, and not bent', () => {
    const card = ollama.unlisted?.chat('llama')
    if (!card) throw new Error('no card')
    expect(chatOf(ollama).refuses(card, inputOf('hello', { n: 2 }))).toMatchObject({ param: 'n' })
    expect(chatOf(ollama).refuses(card, inputOf('hello', { n: 1, logprobs: false }))).toBeNull()
    expect(encode(ollama, 'llama', inputOf('hello', { n: 1, user: 'me' }))).toMatchObject({ dropped: ['user'] })
  })

  it('bears the secret in its header alone', () => {
    const { headers, body, url } = encode(openAiText, 'gpt-5', inputOf('hello'))
    expect(headers).toEqual({ authorization: 'Bearer sk-test' })
    expect(JSON.stringify([body, url])).not.toContain('sk-test')
  })
})
