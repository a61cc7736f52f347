import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { completionUsage } from '../../../src/contract/usage.ts'
import { openAiText } from '../../../src/providers/openai-text.ts'
import { answers, problemWith } from '../../emulators/openai/spec.ts'
import { type OpenAiEmulator, startOpenAi } from '../../emulators/openai.ts'
import { complete, inputOf, stream } from './text-call.ts'

let openai: OpenAiEmulator
const at = (model = 'gpt-5-mini') => ({ baseUrl: `${openai.url}/v1`, secret: 'sk-good-secret', model })

beforeAll(async () => {
  openai = await startOpenAi({ apiKeys: ['sk-good-secret'], draw: false })
})
afterEach(() => openai.reset())
afterAll(() => openai.close())

const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
    strict: true,
  },
}

describe('a whole answer', () => {
  it('is as the reference has it, with usage apart', async () => {
    const { outcome } = await complete(openAiText, at(), inputOf('hello [[say:Grüße, 灯 🚢!]]'))
    expect(outcome).toMatchObject({
      kind: 'completed',
      completion: {
        object: 'chat.completion',
        model: 'gpt-5-mini',
        choices: [{ index: 0, message: { content: 'Grüße, 灯 🚢!', refusal: null }, finish_reason: 'stop' }],
      },
      serviceTier: 'default',
      providerRequestId: expect.stringMatching(/^req_/),
    })
    if (outcome.kind !== 'completed' || !outcome.usage) throw new Error('no usage')
    const told = { ...outcome.completion, usage: completionUsage(outcome.usage) }
    expect(problemWith(answers.chat, told)).toBeUndefined()
  })

  it('tells tokens of every kind as the provider billed them', async () => {
    const { outcome } = await complete(
      openAiText,
      at(),
      inputOf('hello [[chunks:12]] [[cached:5]] [[written:3]] [[reasoning:7]]'),
    )
    const [billed] = openai.stats().calls
    expect(outcome).toMatchObject({
      usage: {
        inputTokens: billed?.tokens.prompt,
        cachedInputTokens: 5,
        cacheWrite5mTokens: 3,
        outputTokens: 19,
        reasoningTokens: 7,
        estimated: false,
      },
    })
    expect(billed?.tokens.completion).toBe(19)
  })

  it('has the calls of tools, several at once, and takes their results', async () => {
    const asked = inputOf('weather? [[call:get_weather:{"city":"Rome"};get_weather:{"city":"Oslo"}]]', {
      tools: [WEATHER],
    })
    const { outcome } = await complete(openAiText, at(), asked)
    if (outcome.kind !== 'completed') throw new Error(outcome.message)
    const { message, finish_reason } = outcome.completion.choices[0] ?? {}
    expect(finish_reason).toBe('tool_calls')
    expect(message?.tool_calls?.map((call) => JSON.parse(call.function.arguments))).toEqual([
      { city: 'Rome' },
      { city: 'Oslo' },
    ])
    const results: ChatInput['messages'] = (message?.tool_calls ?? []).map(({ id }) => ({
      role: 'tool',
      tool_call_id: id,
      content: 'rain',
    }))
    // The message goes back as it came, with the fields that only answers have.
    const next: ChatInput = { ...asked, messages: [...asked.messages, message as never, ...results] }
    const second = await complete(openAiText, at(), next)
    expect(second.outcome).toMatchObject({
      completion: { choices: [{ message: { content: 'The tool says: rain' }, finish_reason: 'stop' }] },
    })
  })

  it.each([
    ['stop', 'stop'],
    ['length', 'length'],
    ['content_filter', 'content_filter'],
    ['function_call', 'tool_calls'],
  ])('that ended with %s says %s', async (told, known) => {
    const { outcome } = await complete(openAiText, at(), inputOf(`hello [[finish:${told}]]`))
    expect(outcome).toMatchObject({ kind: 'completed', completion: { choices: [{ finish_reason: known }] } })
  })

  it('that declines is an answer, and is paid for', async () => {
    const { outcome } = await complete(openAiText, at(), inputOf('how to [[refuse]]'))
    expect(outcome).toMatchObject({
      kind: 'completed',
      completion: { choices: [{ message: { content: null, refusal: expect.stringMatching(/sorry/) } }] },
      usage: { outputTokens: expect.any(Number) },
    })
  })

  it('has as many choices as were asked for, with their probabilities', async () => {
    const { outcome } = await complete(openAiText, at('gpt-4o-mini'), inputOf('hello', { n: 3, logprobs: true }))
    if (outcome.kind !== 'completed') throw new Error(outcome.message)
    expect(outcome.completion.choices.map(({ index }) => index)).toEqual([0, 1, 2])
    expect(outcome.completion.choices[2]?.logprobs?.content?.length).toBe(8)
    expect(problemWith(answers.chat, outcome.completion)).toBeUndefined()
  })
})

describe('a stream', () => {
  it('goes on in the provider’s own text, and its usage apart', async () => {
    const { chunks, pieces, text, end } = await stream(openAiText, at(), inputOf('hello [[say:Grüße, 灯 🚢!]]'))
    expect(text).toBe('Grüße, 灯 🚢!')
    expect(chunks[0]).toMatchObject({ choices: [{ delta: { role: 'assistant' } }], obfuscation: 'aB3dE5' })
    expect(pieces.filter(({ finish }) => finish).map(({ finish }) => finish)).toEqual(['stop'])
    for (const chunk of chunks) {
      expect(problemWith(answers.chunk, { ...chunk, usage: undefined })).toBeUndefined()
      expect(chunk.choices).toHaveLength(1)
      expect(chunk.usage ?? null).toBeNull()
    }
    const [billed] = openai.stats().calls
    expect(end).toMatchObject({
      fault: null,
      finish: 'stop',
      serviceTier: 'default',
      model: 'gpt-5-mini',
      usage: { inputTokens: billed?.tokens.prompt, outputTokens: billed?.tokens.completion, estimated: false },
    })
  })

  it('of a tool call gives its name and arguments in order', async () => {
    const { chunks, text, end } = await stream(
      openAiText,
      at(),
      inputOf('weather? [[call:get_weather:{"city":"Rome"};get_weather:{"city":"Oslo"}]]', { tools: [WEATHER] }),
    )
    const calls = ['', '']
    for (const { choices } of chunks)
      for (const call of choices[0]?.delta.tool_calls ?? []) calls[call.index] += call.function?.arguments ?? ''
    expect(calls).toEqual(['{"city":"Rome"}', '{"city":"Oslo"}'])
    expect(text).toBe('get_weather{"city":"Rome"}get_weather{"city":"Oslo"}')
    expect(end).toMatchObject({ fault: null, finish: 'tool_calls' })
  })

  it('of several choices ends when all have', async () => {
    const { chunks, end } = await stream(openAiText, at('gpt-4o'), inputOf('hello', { n: 2 }))
    expect(chunks.filter(({ choices }) => choices[0]?.finish_reason).map(({ choices }) => choices[0]?.index)).toEqual([
      0, 1,
    ])
    expect(end.fault).toBeNull()
  })

  it.each(['[[crlf]]', '[[comments]]', '[[split:1]]', '[[split:3]] [[crlf]] [[comments]]'])(
    'is read however its bytes come: %s',
    async (directive) => {
      const { text, end } = await stream(openAiText, at(), inputOf(`hello [[say:Grüße, 灯 🚢!]] ${directive}`))
      expect(text).toBe('Grüße, 灯 🚢!')
      expect(end).toMatchObject({ fault: null, usage: { estimated: false } })
    },
  )

  it.each<[string, AttemptFaultCode]>([
    ['[[cut:700]]', 'outcome_unknown'],
    ['[[no_done]]', 'outcome_unknown'],
    ['[[malformed:3]]', 'provider_protocol_error'],
    ['[[empty_stream]]', 'provider_protocol_error'],
    ['[[error_event:server_error:0]]', 'provider_unavailable'],
    ['[[error_event:server_error:4]]', 'provider_unavailable'],
    ['[[error_event:rate_limit_exceeded:1]]', 'provider_rate_limited'],
    ['[[error_event:insufficient_quota:0]]', 'provider_quota_exhausted'],
    ['[[error_event:content_filter:3]]', 'content_rejected'],
    ['[[error_event:invalid_request_error:0]]', 'provider_rejected'],
  ])('that fails with %s is %s, never a silent end', async (directive, code) => {
    const { end, status, pieces } = await stream(openAiText, at(), inputOf(`hello ${directive} [[chunks:20]]`))
    expect(status).toBe(200)
    expect(end.fault).toMatchObject({ kind: 'fault', code })
    if (/:0\]\]/.test(directive)) expect(pieces).toEqual([])
  })

  it('says nothing more after an error', async () => {
    const { pieces, text } = await stream(openAiText, at(), inputOf('hello [[error_event:server_error:3]]'))
    expect(pieces).toHaveLength(3)
    expect(text.length).toBeGreaterThan(0)
  })
})

describe('an error', () => {
  it.each<[string, AttemptFaultCode, object?]>([
    ['[[fail:400]]', 'provider_rejected'],
    ['[[fail:400:context_length_exceeded]]', 'provider_rejected', { param: 'messages' }],
    ['[[context]]', 'provider_rejected', { param: 'messages' }],
    ['[[reject]]', 'content_rejected'],
    ['[[fail:400:content_filter]]', 'content_rejected'],
    ['[[fail:400:content_policy_violation]]', 'content_rejected'],
    ['[[fail:401]]', 'provider_auth_failed'],
    ['[[fail:403]]', 'provider_auth_failed'],
    ['[[fail:403:model_not_found]]', 'provider_rejected', { param: 'model' }],
    ['[[fail:404]]', 'provider_rejected', { param: 'model' }],
    ['[[fail:404:]]', 'provider_rejected'],
    ['[[fail:408]]', 'provider_timeout'],
    ['[[fail:409]]', 'provider_unavailable'],
    ['[[fail:413:]]', 'provider_rejected'],
    ['[[fail:422:]]', 'provider_rejected'],
    ['[[fail:422:]] [[should_retry:true]]', 'provider_unavailable'],
    ['[[fail:429]]', 'provider_rate_limited'],
    ['[[fail:429]] [[retry_after:7]]', 'provider_rate_limited', { retryAfterMs: 7_000 }],
    ['[[fail:429]] [[retry_after:7]] [[retry_after_ms:250]]', 'provider_rate_limited', { retryAfterMs: 250 }],
    ['[[fail:429:slow_down]] [[retry_after:1.5]]', 'provider_rate_limited', { retryAfterMs: 1_500 }],
    ['[[fail:429:]] [[should_retry:false]]', 'provider_quota_exhausted'],
    ['[[fail:429:insufficient_quota]]', 'provider_quota_exhausted'],
    ['[[fail:429:credit_balance_exhausted]]', 'provider_quota_exhausted'],
    ['[[fail:429:organization_spend_limit_exceeded]]', 'provider_quota_exhausted'],
    ['[[fail:429:project_spend_limit_exceeded]]', 'provider_quota_exhausted'],
    ['[[fail:429:organization_usage_limit_exceeded]]', 'provider_quota_exhausted'],
    ['[[fail:500]]', 'provider_unavailable'],
    ['[[fail:502]]', 'provider_unavailable'],
    ['[[fail:503]] [[retry_after:3]]', 'provider_unavailable', { retryAfterMs: 3_000 }],
    ['[[fail:520]]', 'outcome_unknown'],
    ['[[fail:524]]', 'outcome_unknown'],
    ['[[garbage]]', 'provider_protocol_error'],
    ['[[malformed]]', 'provider_protocol_error'],
    ['[[error_200]]', 'provider_unavailable'],
  ])('%s is %s', async (directive, code, more = {}) => {
    const { outcome } = await complete(openAiText, at(), inputOf(`a private prompt of mine ${directive}`))
    expect(outcome).toMatchObject({ kind: 'fault', code, providerRequestId: expect.any(String), ...more })
    expect(JSON.stringify(outcome)).not.toMatch(/private prompt|sk-good-secret/)
  })

  it('of a model that is gone names the model', async () => {
    const call = { ...at(), model: 'gpt-5-mini' }
    const { outcome } = await complete(
      { ...openAiText, chatModels: openAiText.chatModels.map((card) => ({ ...card, model: 'davinci' })) },
      { ...call, model: 'davinci' },
      inputOf('hello'),
    )
    expect(outcome).toMatchObject({ kind: 'fault', code: 'provider_rejected', param: 'model' })
  })

  it('that repeats the prompt or the secret is not told on', () => {
    const call = {
      card: openAiText.chatModels[0] as never,
      input: inputOf('the secret plan of the north'),
      stream: false,
      baseUrl: '',
      secret: 'sk-good-secret',
      id: '',
      nowMs: 0,
    }
    const decode = (message: string) =>
      openAiText.chat?.decode(call, {
        kind: 'answered',
        status: 400,
        headers: new Headers(),
        body: JSON.stringify({ error: { message, type: 'invalid_request_error', param: 'messages[0]', code: null } }),
      })
    expect(decode('Invalid: temperature is too high')).toMatchObject({
      message: expect.stringContaining('temperature is too high'),
      param: 'messages[0]',
    })
    expect(JSON.stringify(decode('Bad: the secret plan of the north'))).not.toContain('plan')
    expect(JSON.stringify(decode('Key sk-good-secret is bad'))).not.toContain('sk-good')
  })

  it('before an answer was made bought nothing', async () => {
    for (const directive of ['[[fail:429]]', '[[fail:500]]', '[[reject]]', '[[context]]'])
      await complete(openAiText, at(), inputOf(`hello ${directive}`))
    expect(openai.stats()).toMatchObject({ accepted: 0, tokens: { prompt: 0, completion: 0 } })
  })
})

describe('what the headers say of limits', () => {
  it('counts calls and tokens down, and says when they come back', async () => {
    openai.control({ requestsPerMinute: 2 })
    const rates: unknown[] = []
    for (let number = 0; number < 3; number += 1) {
      const response = await fetch(`${openai.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: 'Bearer sk-good-secret' },
        body: JSON.stringify({ model: 'gpt-5-mini', messages: [{ role: 'user', content: 'hello' }] }),
      })
      rates.push(openAiText.chat?.rate(response.headers, 0).requests?.remaining)
      await response.text()
    }
    expect(rates).toEqual([1, 0, 0])
    const { outcome } = await complete(openAiText, at(), inputOf('hello'))
    expect(outcome).toMatchObject({ code: 'provider_rate_limited', retryAfterMs: expect.any(Number) })
    if (outcome.kind === 'fault') expect(outcome.retryAfterMs).toBeGreaterThan(50_000)
  })
})
