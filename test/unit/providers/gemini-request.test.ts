import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { ChatInput, outputLimitOf, stopsOf } from '../../../src/contract/chat.ts'
import { LEANING_FIELDS } from '../../../src/providers/chat-flavor.ts'
import type { ChatCard } from '../../../src/providers/dialect.ts'
import { geminiText } from '../../../src/providers/gemini-text.ts'
import { generateProblem } from '../../emulators/gemini/body.ts'
import { problemWith, requests } from '../../emulators/gemini/spec.ts'
import { rawChatInput } from './chat-inputs.ts'
import { chatCall, chatOf, inputOf } from './text-call.ts'

const dialect = chatOf(geminiText)
const cardOf = (model: string): ChatCard => {
  const card = geminiText.chatModels.find((known) => known.model === model)
  if (!card) throw new Error(`no such model ${model}`)
  return card
}
const encode = (model: string, input: ChatInput, stream = false) => {
  const encoded = dialect.encode(chatCall(geminiText, { baseUrl: 'https://x', model }, input, stream))
  return { ...encoded, body: JSON.parse(JSON.stringify(encoded.body)) as Record<string, unknown> }
}
const problemOf = (body: object, model = 'x') =>
  problemWith(requests.generateContent, { model: `models/${model}`, ...body })

/** The results of tools stand right behind their calls, as clients have them. */
const tidy = (raw: Record<string, unknown>): Record<string, unknown> => {
  const messages = (raw['messages'] as { role: string; tool_calls?: { id: string; function: object }[] }[]).flatMap(
    (message) => {
      if (message.role === 'tool') return []
      if (!message.tool_calls) return [message]
      const calls = message.tool_calls.map((call, at) => ({
        ...call,
        id: `${call.id}${at}`,
        function: { ...call.function, arguments: '{"a":[1,"x"]}' },
      }))
      return [
        { ...message, tool_calls: calls },
        ...calls.map(({ id }) => ({ role: 'tool', tool_call_id: id, content: 'done' })),
      ]
    },
  )
  return { ...raw, messages: [{ role: 'user', content: 'hello' }, ...messages] }
}

/** Where a field that leans stands, if it is sent. */
const PLACES: Partial<Record<keyof ChatInput, string>> = {
  temperature: 'temperature',
  top_p: 'topP',
  frequency_penalty: 'frequencyPenalty',
  presence_penalty: 'presencePenalty',
  seed: 'seed',
  modalities: 'responseModalities',
  reasoning_effort: 'thinkingConfig',
}

describe('every request that the contract takes', () => {
  it.each<[string, (raw: Record<string, unknown>) => Record<string, unknown>, number]>([
    ['as it comes', (raw) => raw, 100],
    ['with its tools in order', tidy, 800],
  ])('%s is refused by a model or is one that the reference knows', (_what, shape, atLeast) => {
    let sent = 0
    fc.assert(
      fc.property(
        rawChatInput,
        fc.constantFrom(...geminiText.chatModels.map(({ model }) => model)),
        fc.boolean(),
        (raw, model, stream) => {
          const input = v.parse(ChatInput, shape(raw))
          if (dialect.refuses(cardOf(model), input)) return
          const { body, dropped, url } = encode(model, input, stream)
          sent += 1
          expect(problemOf(body, model)).toBeUndefined()
          expect(url).toContain(stream ? ':streamGenerateContent?alt=sse' : ':generateContent')
          // What was asked for is either sent or told to be left out.
          const config = (body['generationConfig'] ?? {}) as Record<string, unknown>
          for (const field of LEANING_FIELDS) {
            const isSent = field === 'service_tier' ? !dropped.includes(field) : (PLACES[field] ?? '') in config
            expect(dropped.includes(field), field).toBe(input[field] !== undefined && !isSent)
          }
          expect(config['candidateCount'] ?? 1).toBe(input.n ?? 1)
          expect(config['stopSequences'] ?? []).toEqual(stopsOf(input))
          expect(config['maxOutputTokens'] ?? null).toBe(outputLimitOf(input))
          expect('responseMimeType' in config).toBe(!['text', undefined].includes(input.response_format?.type))
          expect('tools' in body).toBe(input.tools !== undefined)
        },
      ),
      { numRuns: 2_000 },
    )
    expect(sent).toBeGreaterThan(atLeast)
  })

  it('with its tools in order is one that the provider takes', () => {
    fc.assert(
      fc.property(rawChatInput, fc.constantFrom(...geminiText.chatModels.map(({ model }) => model)), (raw, model) => {
        const input = v.parse(ChatInput, tidy(raw))
        if (dialect.refuses(cardOf(model), input)) return
        expect(generateProblem(model, encode(model, input).body, () => true)).toBeNull()
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('a request', () => {
  it.each<[string, Partial<ChatInput>, string]>([
    ['gemini-3.8-flash', { reasoning_effort: 'none' }, 'reasoning_effort'],
    ['gemini-3.8-flash', { reasoning_effort: 'xhigh' }, 'reasoning_effort'],
    ['gemini-2.5-pro', { reasoning_effort: 'none' }, 'reasoning_effort'],
    ['gemini-3.8-flash', { logprobs: true }, 'logprobs'],
    ['gemini-2.5-flash', { logprobs: true }, 'logprobs'],
    ['gemini-2.5-flash', { logit_bias: { '1': 1 } }, 'logit_bias'],
    ['gemini-2.5-flash', { n: 9 }, 'n'],
    ['gemini-2.5-flash', { max_tokens: 70_000 }, 'max_tokens'],
    ['gemini-3.8-flash', { provider_options: { google: { tools: [] } } }, 'provider_options.google.tools'],
    ['gemini-3.8-flash', { provider_options: { google: { contents: [] } } }, 'provider_options.google.contents'],
    [
      'gemini-3.8-flash',
      { provider_options: { google: { generationConfig: { temperature: 1 } } } },
      'provider_options.google.generationConfig.temperature',
    ],
    [
      'gemini-3.8-flash',
      { provider_options: { google: { safetySettings: [{ category: 'X', threshold: 'OFF' }] } } },
      'provider_options.google.safetySettings.0.category',
    ],
    [
      'gemini-2.5-flash',
      {
        reasoning_effort: 'low',
        provider_options: { google: { generationConfig: { thinkingConfig: { thinkingBudget: 5 } } } },
      },
      'provider_options.google.generationConfig.thinkingConfig.thinkingBudget',
    ],
    [
      'gemini-2.5-flash',
      { tools: [{ type: 'function', function: { name: 'f' } }], response_format: { type: 'json_object' } },
      'response_format',
    ],
    ['gemini-2.5-flash', { messages: [{ role: 'system', content: 'be brief' }] }, 'messages'],
    ['gemini-2.5-flash', { messages: [{ role: 'user', content: '' }] }, 'messages'],
    [
      'gemini-2.5-flash',
      {
        messages: [
          { role: 'user', content: 'x' },
          { role: 'tool', tool_call_id: 'a', content: 'y' },
        ],
      },
      'messages.1.tool_call_id',
    ],
    [
      'gemini-2.5-flash',
      {
        messages: [
          { role: 'assistant', tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '[1]' } }] },
        ],
      },
      'messages.0.tool_calls.0.function.arguments',
    ],
    [
      'gemini-2.5-flash',
      {
        messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://example.com/a.png' } }] }],
      },
      'messages.0.content.0.image_url.url',
    ],
  ])('to %s with %j is refused at %s', (model, more, param) => {
    expect(dialect.refuses(cardOf(model), inputOf('hello', more))).toMatchObject({ param })
  })

  it('goes to v1, unless the address names another version', () => {
    const urlAt = (baseUrl: string) =>
      dialect.encode(chatCall(geminiText, { baseUrl, model: 'gemini-2.5-pro' }, inputOf('x'))).url
    const origin = 'https://generativelanguage.googleapis.com'
    expect(urlAt(origin)).toBe(`${origin}/v1/models/gemini-2.5-pro:generateContent`)
    expect(urlAt(`${origin}/v1`)).toBe(`${origin}/v1/models/gemini-2.5-pro:generateContent`)
    expect(urlAt(`${origin}/v1beta`)).toBe(`${origin}/v1beta/models/gemini-2.5-pro:generateContent`)
    expect(urlAt('https://gateway.ai.cloudflare.com/v1/a/g/google-ai-studio')).toBe(
      'https://gateway.ai.cloudflare.com/v1/a/g/google-ai-studio/v1/models/gemini-2.5-pro:generateContent',
    )
  })

  it('bears the secret in its header alone', () => {
    const { headers, body, url } = encode('gemini-2.5-pro', inputOf('hello'))
    expect(headers).toEqual({ 'x-goog-api-key': 'sk-test' })
    expect(JSON.stringify([body, url])).not.toContain('sk-test')
  })

  it('has the words of the system apart, wherever they stood, and the talk in turns', () => {
    const { body, dropped } = encode('gemini-2.5-pro', {
      messages: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: 'hello', name: 'ann' },
        { role: 'assistant', content: [{ type: 'text', text: 'hi' }], refusal: 'no more' },
        { role: 'developer', content: [{ type: 'text', text: 'in verse' }] },
        {
          role: 'user',
          content: [
            { type: 'image_url', image_url: { url: 'data:image/gif;base64,R0lGODlhAQ==', detail: 'high' } },
            { type: 'image_url', image_url: { url: 'https://example.com/a.JPG?size=1' } },
            { type: 'image_url', image_url: { url: 'https://example.com/picture' } },
          ],
        },
      ],
    })
    expect(body['systemInstruction']).toEqual({ parts: [{ text: 'be brief' }, { text: 'in verse' }] })
    expect(body['contents']).toEqual([
      { role: 'user', parts: [{ text: 'hello' }] },
      { role: 'model', parts: [{ text: 'hi' }, { text: 'no more' }] },
      {
        role: 'user',
        parts: [
          { inlineData: { mimeType: 'image/gif', data: 'R0lGODlhAQ==' } },
          { fileData: { mimeType: 'image/jpeg', fileUri: 'https://example.com/a.JPG?size=1' } },
          { fileData: { fileUri: 'https://example.com/picture' } },
        ],
      },
    ])
    expect(dropped).toEqual(['messages.name', 'messages.image_url.detail'])
  })

  it('gives results to the calls in their order, by the provider’s ids and not by ours', () => {
    const call = (id: string, extra?: object) => ({
      id,
      type: 'function' as const,
      function: { name: 'f', arguments: '{"a":1}' },
      ...(extra ? { extra_content: { google: extra } } : {}),
    })
    const { body } = encode('gemini-3.8-flash', {
      messages: [
        { role: 'user', content: 'x' },
        {
          role: 'assistant',
          tool_calls: [call('theirs', { thought_signature: 'c2ln' }), call('gemini_abc_0_1')] as never,
          extra_content: { google: { thought_signature: 'bXNn' } },
        },
        { role: 'tool', tool_call_id: 'gemini_abc_0_1', content: '[12]' },
        { role: 'tool', tool_call_id: 'theirs', content: '{"id":12345678901234567890}' },
      ],
    })
    expect((body['contents'] as unknown[]).slice(1)).toEqual([
      {
        role: 'model',
        parts: [
          { text: '', thoughtSignature: 'bXNn' },
          { functionCall: { id: 'theirs', name: 'f', args: { a: 1 } }, thoughtSignature: 'c2ln' },
          { functionCall: { name: 'f', args: { a: 1 } } },
        ],
      },
      {
        role: 'user',
        parts: [
          // Read as a number the id would be another.
          { functionResponse: { id: 'theirs', name: 'f', response: { output: '{"id":12345678901234567890}' } } },
          { functionResponse: { name: 'f', response: { output: '[12]' } } },
        ],
      },
    ])
  })

  it.each<[string, ChatInput['reasoning_effort'], object]>([
    ['gemini-3.5-flash', 'minimal', { thinkingLevel: 'MINIMAL' }],
    ['gemini-3.8-flash', 'low', { thinkingLevel: 'LOW' }],
    ['gemini-3.1-pro-preview', 'medium', { thinkingLevel: 'MEDIUM' }],
    ['gemini-2.5-flash', 'none', { thinkingBudget: 0 }],
    ['gemini-2.5-flash', 'minimal', { thinkingBudget: 1_024 }],
    ['gemini-2.5-pro', 'medium', { thinkingBudget: 8_192 }],
    ['gemini-2.5-pro', 'high', { thinkingBudget: 24_576 }],
  ])('to %s to think %s asks for %j', (model, reasoning_effort, thinkingConfig) => {
    const options = { google: { generationConfig: { thinkingConfig: { includeThoughts: true }, topK: 5 } } }
    const { body } = encode(model, inputOf('x', { reasoning_effort, provider_options: options }))
    expect(body['generationConfig']).toEqual({ topK: 5, thinkingConfig: { includeThoughts: true, ...thinkingConfig } })
  })

  it.each<[ChatInput['tool_choice'], boolean, object | undefined]>([
    [undefined, false, undefined],
    [undefined, true, { mode: 'VALIDATED' }],
    ['auto', false, { mode: 'AUTO' }],
    ['auto', true, { mode: 'VALIDATED' }],
    ['none', true, { mode: 'NONE' }],
    ['required', true, { mode: 'ANY' }],
    [{ type: 'function', function: { name: 'f' } }, false, { mode: 'ANY', allowedFunctionNames: ['f'] }],
  ])('with the choice %j of tools, strict %s, is %j', (choice, strict, config) => {
    const tools = [{ type: 'function' as const, function: { name: 'f', strict } }]
    const { body } = encode('gemini-2.5-pro', inputOf('x', { tools, ...(choice ? { tool_choice: choice } : {}) }))
    expect(body['toolConfig']).toEqual(config ? { functionCallingConfig: config } : undefined)
  })

  it('carries schemas as they are', () => {
    const schema = { type: 'object', properties: { a: { $ref: '#/$defs/a' } }, $defs: { a: { type: 'integer' } } }
    const { body } = encode(
      'gemini-3.8-flash',
      inputOf('x', {
        tools: [
          { type: 'function', function: { name: 'f', description: 'does', parameters: schema } },
          { type: 'function', function: { name: 'g', parameters: {} } },
        ],
        response_format: { type: 'json_schema', json_schema: { name: 's', description: 'of it', schema } },
      }),
    )
    expect(body).toMatchObject({
      tools: [
        { functionDeclarations: [{ name: 'f', description: 'does', parametersJsonSchema: schema }, { name: 'g' }] },
      ],
      generationConfig: {
        responseMimeType: 'application/json',
        responseJsonSchema: { description: 'of it', ...schema },
      },
    })
    expect(JSON.stringify(body['tools'])).not.toContain('"g","parametersJsonSchema"')
  })

  it('samples as asked where the model does, and says what it leaves out', () => {
    const sampling = { temperature: 0.2, top_p: 0.5, presence_penalty: 1, seed: 7, stop: ['a', 'b'], max_tokens: 9 }
    expect(encode('gemini-2.5-pro', inputOf('x', sampling))).toMatchObject({
      dropped: ['presence_penalty'],
      body: {
        generationConfig: { temperature: 0.2, topP: 0.5, seed: 7, stopSequences: ['a', 'b'], maxOutputTokens: 9 },
      },
    })
    expect(encode('gemini-3.8-flash', inputOf('x', { ...sampling, seed: 2 ** 40 }))).toMatchObject({
      dropped: ['temperature', 'top_p', 'presence_penalty', 'seed'],
      body: { generationConfig: { stopSequences: ['a', 'b'], maxOutputTokens: 9 } },
    })
  })

  it.each<[ChatInput['service_tier'], string | undefined, string[]]>([
    ['auto', undefined, []],
    ['default', 'standard', []],
    ['flex', 'flex', []],
    ['priority', 'priority', []],
    ['scale', undefined, ['service_tier']],
    ['fast', undefined, ['service_tier']],
  ])('of the tier %s asks for %s', (service_tier, tier, left) => {
    const { body, dropped } = encode('gemini-2.5-pro', inputOf('x', { service_tier }))
    expect([body['serviceTier'], dropped]).toEqual([tier, left])
  })

  it('asks for and reads the likelihoods of a model that tells them', () => {
    const card = { ...cardOf('gemini-2.5-flash'), logprobs: true, without: [] }
    const input = inputOf('x', { logprobs: true, top_logprobs: 2 })
    expect(dialect.refuses(card, input)).toBeNull()
    const call = { ...chatCall(geminiText, { baseUrl: 'https://x', model: card.model }, input), card }
    const { body } = dialect.encode(call)
    expect(problemOf(body)).toBeUndefined()
    expect(body['generationConfig']).toEqual({ responseLogprobs: true, logprobs: 2 })
    const candidate = {
      content: { parts: [{ text: 'ü' }] },
      finishReason: 'STOP',
      logprobsResult: {
        chosenCandidates: [{ token: 'ü', logProbability: -0.5 }],
        topCandidates: [
          {
            candidates: [
              { token: 'ü', logProbability: -0.5 },
              { token: 'u', logProbability: -2 },
            ],
          },
        ],
      },
    }
    const answer = { kind: 'answered' as const, status: 200, headers: new Headers() }
    expect(dialect.decode(call, { ...answer, body: JSON.stringify({ candidates: [candidate] }) })).toMatchObject({
      completion: {
        choices: [
          {
            logprobs: {
              content: [
                { token: 'ü', logprob: -0.5, bytes: [195, 188], top_logprobs: [{ token: 'ü' }, { token: 'u' }] },
              ],
            },
          },
        ],
      },
    })
  })
})
