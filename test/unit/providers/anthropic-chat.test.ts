import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import type { CompletionMessage } from '../../../src/contract/completion.ts'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { anthropicText } from '../../../src/providers/anthropic-text.ts'
import { type AnthropicEmulator, startAnthropic } from '../../emulators/anthropic.ts'
import { answers, problemWith } from '../../emulators/openai/spec.ts'
import { chatCall, chatOf, complete, inputOf, NOW_MS, stream } from './text-call.ts'

let anthropic: AnthropicEmulator
const NEWEST = 'claude-opus-5-5'
const OLDER = 'claude-haiku-4-5'
const at = (model = NEWEST) => ({ baseUrl: anthropic.url, secret: 'sk-ant-good-secret', model })

beforeAll(async () => {
  anthropic = await startAnthropic({ apiKeys: ['sk-ant-good-secret'], now: () => NOW_MS })
})
afterEach(() => anthropic.reset())
afterAll(() => anthropic.close())

const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    description: 'of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}
const NOW = { type: 'function' as const, function: { name: 'now' } }

/** One choice of an answer that must have come. */
const answered = async (input: ChatInput, model = NEWEST): Promise<CompletionMessage> => {
  const { outcome } = await complete(anthropicText, at(model), input)
  if (outcome.kind !== 'completed') throw new Error(outcome.message)
  const message = outcome.completion.choices[0]?.message
  if (!message) throw new Error('no message')
  return message
}

/** The message goes back as it came, with results for its calls. */
const nextOf = (asked: ChatInput, message: CompletionMessage): ChatInput => ({
  ...asked,
  messages: [
    ...asked.messages,
    message as never,
    ...(message.tool_calls ?? []).map(({ id, function: called }) => ({
      role: 'tool' as const,
      tool_call_id: id,
      content: `rain in ${called.arguments}`,
    })),
  ],
})

describe('a whole answer', () => {
  it.each([
    ['2023-06-01', OLDER],
    ['2026-10-21', NEWEST],
  ])('is as the vocabulary has it, with usage apart, in version %s', async (version, model) => {
    const options = { provider_options: { anthropic: { version } } }
    const { outcome } = await complete(anthropicText, at(model), inputOf('hello [[say:Grüße, 灯 🚢!]]', options))
    expect(outcome).toMatchObject({
      kind: 'completed',
      completion: {
        id: expect.stringMatching(/^msg_/),
        object: 'chat.completion',
        created: NOW_MS / 1000,
        model,
        choices: [{ index: 0, message: { content: 'Grüße, 灯 🚢!', refusal: null }, finish_reason: 'stop' }],
      },
      serviceTier: 'default',
      providerRequestId: expect.stringMatching(/^req_/),
    })
    if (outcome.kind !== 'completed') return
    expect(problemWith(answers.chat, outcome.completion)).toBeUndefined()
    expect(anthropic.stats().calls).toMatchObject([{ version }])
  })

  it('tells tokens of every kind as the provider billed them', async () => {
    const directives = '[[chunks:12]] [[read:5]] [[written:3]] [[written_1h:2]] [[reasoning:7]]'
    const { outcome } = await complete(anthropicText, at(), inputOf(`hello to the whole of the sea ${directives}`))
    const [billed] = anthropic.stats().calls
    expect(billed?.tokens).toMatchObject({ cacheRead: 5, cacheWrite5m: 3, cacheWrite1h: 2, output: 19, thinking: 7 })
    expect(outcome).toMatchObject({
      usage: {
        inputTokens: (billed?.tokens.input ?? 0) + 10,
        cachedInputTokens: 5,
        cacheWrite5mTokens: 3,
        cacheWrite1hTokens: 2,
        outputTokens: 19,
        reasoningTokens: 7,
        estimated: false,
      },
    })
  })

  it('without usage says so, and does not say zero', async () => {
    const { outcome } = await complete(anthropicText, at(), inputOf('hello [[no_usage]]'))
    expect(outcome).toMatchObject({ kind: 'completed', usage: null, serviceTier: null })
  })

  it('names the tier that it was served in', async () => {
    const { outcome } = await complete(anthropicText, at(), inputOf('hello', { service_tier: 'auto' }))
    expect(outcome).toMatchObject({ serviceTier: 'priority', completion: { service_tier: 'priority' } })
  })

  it('has the calls of tools, several at once, and takes their results', async () => {
    const asked = inputOf('weather? [[call:get_weather:{"city":"Rome"};now:{}]]', { tools: [WEATHER, NOW] })
    const { outcome } = await complete(anthropicText, at(), asked)
    expect(outcome).toMatchObject({ completion: { choices: [{ finish_reason: 'tool_calls' }] } })
    const message = await answered(asked)
    expect(message.content).toBeNull()
    expect(message.tool_calls?.map((call) => call.function)).toEqual([
      { name: 'get_weather', arguments: '{"city":"Rome"}' },
      { name: 'now', arguments: '{}' },
    ])
    const second = await answered(nextOf(asked, message))
    expect(second.content).toBe('The tools say: rain in {"city":"Rome"}; rain in {}')
  })

  it('has every digit of a long number in a call, there and back', async () => {
    const args = '{"id":1234567890123456789,"of":[-98765432109876543210,0.5,7]}'
    const [call] = [{ id: 'toolu_1', type: 'function' as const, function: { name: 'now', arguments: args } }]
    const input = inputOf('again', { tools: [NOW] })
    const block = `{"type":"tool_use","id":"toolu_1","name":"now","input":${args}}`
    const body = `{"id":"msg_1","type":"message","content":[${block}],"stop_reason":"tool_use","usage":{"input_tokens":3}}`
    const answer = { kind: 'answered' as const, status: 200, headers: new Headers(), body }
    const dialect = chatOf(anthropicText)
    expect(dialect.decode(chatCall(anthropicText, at(), input), answer)).toMatchObject({
      completion: { choices: [{ message: { tool_calls: [call] } }] },
      usage: { inputTokens: 3 },
    })
    const messages = [
      ...input.messages,
      { role: 'assistant' as const, content: null, tool_calls: [call] },
      { role: 'tool' as const, tool_call_id: 'toolu_1', content: 'noon' },
    ]
    const { body: sent } = dialect.encode(chatCall(anthropicText, at(), { ...input, messages }))
    expect(JSON.stringify(sent)).toContain(`"input":${args}`)
  })

  it.each([
    ['shown', 'summarized', 'Let me see.Let me see. 1'],
    ['not shown', 'omitted', undefined],
  ])('gives thoughts that are %s, and has them taken back where they stood', async (_what, display, shown) => {
    const asked = inputOf(
      'weather? [[think:Let me see.]] [[redacted]] [[say:I look.]] [[call:get_weather:{"city":"Rome"};get_weather:{"city":"Oslo"}]]',
      {
        tools: [WEATHER],
        reasoning_effort: 'high',
        provider_options: { anthropic: { thinking: { display } } },
      },
    )
    const message = await answered(asked)
    expect(message).toMatchObject({ content: 'I look.', extra_content: { anthropic: { model: NEWEST } } })
    expect(message.reasoning_content).toBe(shown)
    // The emulator checks the signature of each over all that stands before it.
    const second = await answered(nextOf(asked, message))
    expect(second.content).toMatch(/^The tools say: /)
    const third = nextOf(nextOf(asked, message), second)
    third.messages.push({ role: 'user', content: 'thanks [[say:welcome]]' })
    expect((await answered(third)).content).toBe('welcome')
  })

  it('keeps its thoughts in a loop of tools by a model that thinks by a budget, and goes on without where they were lost', async () => {
    const asked = inputOf('weather? [[think:Let me see.]] [[call:now:{}]]', {
      tools: [NOW],
      reasoning_effort: 'low',
    })
    const message = await answered(asked, OLDER)
    expect(message.reasoning_content).toBe('Let me see.')
    expect((await answered(nextOf(asked, message), OLDER)).content).toBe('The tools say: rain in {}')
    const bare = { ...message, extra_content: undefined }
    const { outcome, dropped } = await complete(anthropicText, at(OLDER), nextOf(asked, bare))
    expect([outcome.kind, dropped]).toEqual(['completed', ['reasoning_effort']])
  })

  it('leaves the thoughts of another model out, and those of a message that was changed together', async () => {
    const asked = inputOf('weather? [[think:Let me see.]] [[call:now:{}]]', { tools: [NOW] })
    const message = await answered(asked, 'claude-sonnet-5-5')
    expect(message.extra_content).toBeDefined()
    expect((await answered(nextOf(asked, message), NEWEST)).content).toBe('The tools say: rain in {}')
    const stale = { ...message, extra_content: { anthropic: { model: 'claude-sonnet-5-5', blocks: 'none' } } }
    expect((await answered(nextOf(asked, stale), 'claude-sonnet-5-5')).content).toBe('The tools say: rain in {}')
  })

  it('sees images, however they come', async () => {
    const pixel =
      'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
    const input: ChatInput = {
      messages: [
        {
          role: 'user',
          content: [
            { type: 'image_url', image_url: { url: pixel } },
            { type: 'image_url', image_url: { url: 'https://example.com/a.jpg' } },
            { type: 'text', text: 'what is it? [[say:a dot]]' },
          ],
        },
      ],
    }
    expect((await answered(input)).content).toBe('a dot')
    expect(anthropic.stats().calls[0]?.tokens.input).toBeGreaterThan(2 * 1_600)
  })

  it('keeps to a schema that was asked for, and to JSON where a tool can be forced', async () => {
    const schema = {
      type: 'object',
      properties: { city: { type: 'string' }, at: { type: 'object', properties: { x: { type: 'number' } } } },
    }
    const bySchema = inputOf('a city', {
      response_format: { type: 'json_schema', json_schema: { name: 'city', schema, strict: true } },
    })
    expect((await answered(bySchema)).content).toBe('{"city":"xxx","at":{"x":1}}')
    const { outcome } = await complete(
      anthropicText,
      at(OLDER),
      inputOf('a city [[say:Here it is]] [[call:json_answer:{"city":"Rome"}]]', {
        response_format: { type: 'json_object' },
      }),
    )
    expect(outcome).toMatchObject({
      completion: { choices: [{ message: { content: '{"city":"Rome"}' }, finish_reason: 'stop' }] },
    })
    const withTools = inputOf('a city [[call:now:{}]]', { response_format: { type: 'json_object' }, tools: [NOW] })
    expect((await answered(withTools, OLDER)).tool_calls).toHaveLength(1)
  })

  it.each([
    ['end_turn', 'stop'],
    ['stop_sequence', 'stop'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['pause_turn', 'length'],
    ['tool_use', 'tool_calls'],
    ['something_new', 'stop'],
  ])('that ended with %s says %s, whole and in a stream', async (told, known) => {
    const input = inputOf(`hello [[finish:${told}]]`)
    const { outcome } = await complete(anthropicText, at(), input)
    expect(outcome).toMatchObject({ kind: 'completed', completion: { choices: [{ finish_reason: known }] } })
    expect((await stream(anthropicText, at(), input)).end).toMatchObject({ fault: null, finish: known })
  })

  it('ends at its limit and at a stop', async () => {
    const limited = await complete(anthropicText, at(), inputOf('hello [[chunks:9]]', { max_tokens: 3 }))
    expect(limited.outcome).toMatchObject({
      completion: { choices: [{ finish_reason: 'length' }] },
      usage: { outputTokens: 3 },
    })
    expect((await answered(inputOf('hello [[say:one two END three]]', { stop: 'END' }))).content).toBe('one two ')
  })

  it('that declines is an answer, and is paid for', async () => {
    const { outcome } = await complete(anthropicText, at(), inputOf('how to [[refuse]]'))
    expect(outcome).toMatchObject({
      kind: 'completed',
      completion: {
        choices: [
          {
            message: { content: 'I cannot', refusal: 'This request was declined by a safety classifier.' },
            finish_reason: 'content_filter',
          },
        ],
      },
      usage: { outputTokens: expect.any(Number) },
    })
  })
})

describe('an error', () => {
  it.each<[string, AttemptFaultCode, object?]>([
    ['[[fail:400]]', 'provider_rejected'],
    ['[[context]]', 'provider_rejected', { param: 'messages' }],
    ['[[credit]]', 'provider_quota_exhausted'],
    ['[[filtered]]', 'content_rejected'],
    ['[[fail:401]]', 'provider_auth_failed'],
    ['[[fail:402]]', 'provider_quota_exhausted'],
    ['[[fail:403]]', 'provider_auth_failed'],
    ['[[fail:404]]', 'provider_rejected', { param: 'model' }],
    ['[[fail:408]]', 'provider_timeout'],
    ['[[fail:409]]', 'provider_unavailable'],
    ['[[fail:413]]', 'provider_rejected', { param: 'messages' }],
    ['[[fail:429]]', 'provider_rate_limited'],
    ['[[fail:429]] [[retry_after:7]]', 'provider_rate_limited', { retryAfterMs: 7_000 }],
    ['[[fail:429]] [[retry_after:7]] [[retry_after_ms:250]]', 'provider_rate_limited', { retryAfterMs: 250 }],
    ['[[fail:429:ramp_limit_exceeded]]', 'provider_rate_limited'],
    ['[[fail:429:enforced_spend_limit_reached]]', 'provider_quota_exhausted'],
    ['[[fail:429:contract_spend_limit_reached]]', 'provider_quota_exhausted'],
    ['[[fail:500]]', 'provider_unavailable'],
    ['[[fail:502]]', 'provider_unavailable'],
    ['[[fail:503]] [[retry_after:3]]', 'provider_unavailable', { retryAfterMs: 3_000 }],
    ['[[fail:504]]', 'provider_timeout'],
    ['[[fail:529]]', 'provider_unavailable'],
    ['[[fail:529]] [[retry_after:9]]', 'provider_unavailable', { retryAfterMs: 9_000 }],
    ['[[garbage]]', 'provider_protocol_error'],
    ['[[malformed]]', 'provider_protocol_error'],
    ['[[error_200]]', 'provider_unavailable'],
  ])('%s is %s', async (directive, code, more = {}) => {
    const { outcome } = await complete(anthropicText, at(), inputOf(`a private prompt of mine ${directive}`))
    expect(outcome).toMatchObject({ kind: 'fault', code, providerRequestId: expect.any(String), ...more })
    expect(JSON.stringify(outcome)).not.toMatch(/private prompt|sk-ant-good-secret/)
  })

  it('of a key that is not known is the account’s', async () => {
    for (const secret of ['sk-bad', '']) {
      const { outcome } = await complete(anthropicText, { ...at(), secret }, inputOf('hello'))
      expect(outcome).toMatchObject({ code: 'provider_auth_failed' })
    }
  })

  const decode = (status: number, body: unknown, headers: Record<string, string> = {}) =>
    chatOf(anthropicText).decode(
      {
        card: anthropicText.chatModels[0] as never,
        input: inputOf('the secret plan of the north'),
        stream: false,
        baseUrl: '',
        secret: 'sk-ant-good-secret',
        id: '',
        nowMs: NOW_MS,
      },
      {
        kind: 'answered',
        status,
        headers: new Headers(headers),
        body: typeof body === 'string' ? body : JSON.stringify(body),
      },
    )
  const error = (type: string, message: string) => ({ type: 'error', error: { type, message }, request_id: 'req_1' })

  it.each([
    ['max_tokens: 9 > 5, which is too many', 'max_tokens'],
    ['messages.0.content.1: Input is bad', 'messages'],
    ['output_config.format.schema: is bad', 'response_format'],
    ['stop_sequences: is bad', 'stop'],
    ['thinking.budget_tokens: is bad', 'reasoning_effort'],
    ['something else is bad', undefined],
  ])('that says “%s” names %s', (message, param) => {
    const fault = decode(400, error('invalid_request_error', message))
    expect(fault).toMatchObject({ code: 'provider_rejected' })
    expect(fault).toHaveProperty('providerRequestId', 'req_1')
    expect((fault as { param?: string }).param).toBe(param)
  })

  it('that repeats the prompt or the secret is not told on', () => {
    const told = (message: string) => JSON.stringify(decode(400, error('invalid_request_error', message)))
    expect(told('the effort is too high')).toContain('the effort is too high')
    expect(told('Bad: the secret plan of the north')).not.toContain('plan')
    expect(told('Key sk-ant-good-secret is bad')).not.toContain('sk-ant')
  })

  it.each<[number, unknown, Record<string, string>, AttemptFaultCode]>([
    [429, '', { 'x-should-retry': 'false' }, 'provider_quota_exhausted'],
    [429, '', {}, 'provider_rate_limited'],
    [400, '', { 'x-should-retry': 'true' }, 'provider_unavailable'],
    [402, '', {}, 'provider_quota_exhausted'],
    [413, '<html>', {}, 'provider_rejected'],
    [408, '', {}, 'provider_timeout'],
    [520, '', {}, 'outcome_unknown'],
    [302, '', {}, 'provider_protocol_error'],
    [400, { success: false, error: [{ code: 2016, message: 'x' }] }, {}, 'content_rejected'],
  ])('of status %i without the provider’s words %j and headers %j is %s', (status, body, headers, code) => {
    expect(decode(status, body, headers)).toMatchObject({ kind: 'fault', code })
  })

  it('of an answer that was cut leaves open what became of it', () => {
    const answer = {
      kind: 'answered' as const,
      status: 200,
      headers: new Headers(),
      body: '{"type":"mess',
      cut: 'lost' as const,
    }
    const call = { card: anthropicText.chatModels[0] as never, input: inputOf('x'), stream: false, baseUrl: '' }
    expect(chatOf(anthropicText).decode({ ...call, secret: '', id: '', nowMs: 0 }, answer)).toMatchObject({
      code: 'outcome_unknown',
    })
  })

  it('before an answer was made bought nothing', async () => {
    for (const directive of ['[[fail:429]]', '[[fail:529]]', '[[credit]]', '[[context]]'])
      await complete(anthropicText, at(), inputOf(`hello ${directive}`))
    expect(anthropic.stats()).toMatchObject({ accepted: 0, tokens: { input: 0, output: 0 } })
  })
})

describe('what the headers say of limits', () => {
  it('counts calls down, and says when they come back', async () => {
    anthropic.control({ requestsPerMinute: 2 })
    const rates: unknown[] = []
    for (let number = 0; number < 3; number += 1) {
      const response = await fetch(`${anthropic.url}/v1/messages`, {
        method: 'POST',
        headers: { 'x-api-key': 'sk-ant-good-secret', 'anthropic-version': '2023-06-01' },
        body: JSON.stringify({ model: NEWEST, max_tokens: 9, messages: [{ role: 'user', content: 'hello' }] }),
      })
      rates.push(chatOf(anthropicText).rate(response.headers, NOW_MS).requests)
      await response.text()
    }
    expect(rates).toEqual([
      { remaining: 1, resetAfterMs: 60_000 },
      { remaining: 0, resetAfterMs: 60_000 },
      { remaining: 0, resetAfterMs: 60_000 },
    ])
    const { outcome } = await complete(anthropicText, at(), inputOf('hello'))
    expect(outcome).toMatchObject({ code: 'provider_rate_limited', retryAfterMs: 60_000 })
  })
})
