import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { completionUsage } from '../../../src/contract/usage.ts'
import { gatewayBaseUrl, viaGateway } from '../../../src/providers/cloudflare-gateway.ts'
import { geminiText } from '../../../src/providers/gemini-text.ts'
import { type GeminiEmulator, startGemini } from '../../emulators/gemini.ts'
import { answers, problemWith } from '../../emulators/openai/spec.ts'
import { chatOf, complete, inputOf, stream } from './text-call.ts'

let gemini: GeminiEmulator
const SECRET = 'AIza-good-secret'
const at = (model = 'gemini-3.8-flash') => ({ baseUrl: gemini.url, secret: SECRET, model })

beforeAll(async () => {
  gemini = await startGemini({ apiKeys: [SECRET], draw: false })
})
afterEach(() => gemini.reset())
afterAll(() => gemini.close())

const THOUGHTS = { google: { generationConfig: { thinkingConfig: { includeThoughts: true } } } }

describe('a whole answer', () => {
  it('is as OpenAI’s reference has it, with usage apart', async () => {
    const { outcome, dropped } = await complete(geminiText, at(), inputOf('hello [[say:Grüße, 灯 🚢!]]'))
    expect(outcome).toMatchObject({
      kind: 'completed',
      completion: {
        object: 'chat.completion',
        model: 'gemini-3.8-flash',
        choices: [{ index: 0, message: { content: 'Grüße, 灯 🚢!', refusal: null }, finish_reason: 'stop' }],
      },
      serviceTier: 'default',
      providerRequestId: expect.stringMatching(/^emulated/),
    })
    expect(dropped).toEqual([])
    if (outcome.kind !== 'completed' || !outcome.usage) throw new Error('no usage')
    expect(problemWith(answers.chat, { ...outcome.completion, usage: completionUsage(outcome.usage) })).toBeUndefined()
  })

  it('tells tokens of every kind as the provider billed them', async () => {
    const { outcome } = await complete(
      geminiText,
      at(),
      inputOf('hello [[chunks:12]] [[cached:5]] [[tool_use:3]] [[thoughts:7]]', { service_tier: 'flex' }),
    )
    const [billed] = gemini.stats().calls
    expect(billed?.tokens).toMatchObject({ candidates: 12, thoughts: 7, toolUse: 3, cached: 5 })
    expect(outcome).toMatchObject({
      serviceTier: 'flex',
      usage: {
        inputTokens: (billed?.tokens.prompt ?? 0) + 3,
        cachedInputTokens: 5,
        outputTokens: 19,
        reasoningTokens: 7,
        estimated: false,
      },
    })
  })

  it('without usage says so, and does not say zero', async () => {
    const { outcome } = await complete(geminiText, at(), inputOf('hello [[no_usage]]'))
    expect(outcome).toMatchObject({ kind: 'completed', usage: null, serviceTier: null })
  })

  it('shows thoughts apart from what is said', async () => {
    const { outcome } = await complete(
      geminiText,
      at(),
      inputOf('hello [[thoughts:20]] [[say:yes]]', { provider_options: THOUGHTS, reasoning_effort: 'high' }),
    )
    expect(outcome).toMatchObject({
      completion: {
        choices: [
          {
            message: {
              content: 'yes',
              reasoning_content: '**Considering the question**\n',
              extra_content: { google: { thought_signature: expect.any(String) } },
            },
          },
        ],
      },
    })
  })

  it('has as many choices as were asked for', async () => {
    const { outcome } = await complete(geminiText, at(), inputOf('hello', { n: 3 }))
    if (outcome.kind !== 'completed') throw new Error(outcome.message)
    expect(outcome.completion.choices.map(({ index }) => index)).toEqual([0, 1, 2])
  })

  it('takes a picture in the prompt, and counts it', async () => {
    const url = 'data:image/png;base64,iVBORw0KGgo='
    const { outcome } = await complete(geminiText, at(), {
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'what?' },
            { type: 'image_url', image_url: { url } },
            { type: 'image_url', image_url: { url: 'https://example.com/a.jpg?x=1' } },
          ],
        },
      ],
    })
    expect(outcome).toMatchObject({ kind: 'completed', usage: { imageInputTokens: 516 } })
  })

  it.each<[string, string]>([
    ['STOP', 'stop'],
    ['MAX_TOKENS', 'length'],
    ['SAFETY', 'content_filter'],
    ['RECITATION', 'content_filter'],
    ['LANGUAGE', 'content_filter'],
    ['BLOCKLIST', 'content_filter'],
    ['PROHIBITED_CONTENT', 'content_filter'],
    ['SPII', 'content_filter'],
    ['OTHER', 'content_filter'],
    ['ESCALATION', 'content_filter'],
    ['OF_TOMORROW', 'content_filter'],
  ])('that ended with %s says %s, whole and in a stream', async (told, known) => {
    const input = inputOf(`hello [[finish:${told}]]`)
    const { outcome } = await complete(geminiText, at(), input)
    expect(outcome).toMatchObject({ kind: 'completed', completion: { choices: [{ finish_reason: known }] } })
    const { end, pieces } = await stream(geminiText, at(), input)
    expect(end).toMatchObject({ fault: null, finish: known })
    expect(pieces.filter(({ finish }) => finish).map(({ finish }) => finish)).toEqual([known])
  })

  it.each<[string, AttemptFaultCode]>([
    ['MALFORMED_FUNCTION_CALL', 'provider_protocol_error'],
    ['MALFORMED_RESPONSE', 'provider_protocol_error'],
    ['UNEXPECTED_TOOL_CALL', 'provider_protocol_error'],
    ['TOO_MANY_TOOL_CALLS', 'provider_protocol_error'],
    ['MISSING_THOUGHT_SIGNATURE', 'provider_rejected'],
  ])('that ended with %s is no answer but %s, whole and in a stream', async (told, code) => {
    const input = inputOf(`hello [[finish:${told}]]`)
    expect((await complete(geminiText, at(), input)).outcome).toMatchObject({ kind: 'fault', code })
    const { end } = await stream(geminiText, at(), input)
    expect(end).toMatchObject({ fault: { code }, usage: { inputTokens: expect.any(Number) } })
  })

  it('of a blocked prompt is a refusal by its name, whole and in a stream', async () => {
    const input = inputOf('hello [[block:PROHIBITED_CONTENT]]')
    const refused = { kind: 'fault', code: 'content_rejected', message: expect.stringContaining('PROHIBITED_CONTENT') }
    const { outcome } = await complete(geminiText, at(), input)
    expect(outcome).toMatchObject({ ...refused, providerRequestId: expect.any(String) })
    const { end, pieces } = await stream(geminiText, at(), input)
    expect(end.fault).toMatchObject(refused)
    expect(pieces).toEqual([])
  })

  it('is the same by v1beta and through the gateway', async () => {
    const beta = await complete(geminiText, { ...at(), baseUrl: `${gemini.url}/v1beta` }, inputOf('x [[say:hi]]'))
    expect(beta.outcome).toMatchObject({ kind: 'completed' })
    const route = gatewayBaseUrl({ account: 'acc', gateway: 'gw', origin: gemini.url }, 'google') ?? ''
    const passage = { provider: 'google', token: 'token', cache: false }
    const provider = { ...geminiText, chat: viaGateway(chatOf(geminiText), passage) }
    const routed = await complete(provider, { ...at(), baseUrl: route }, inputOf('x [[say:hi]]'))
    expect(routed.outcome).toMatchObject({ kind: 'completed' })
    expect(gemini.stats().calls.map(({ apiVersion, apiKey }) => [apiVersion, apiKey])).toEqual([
      ['v1beta', SECRET],
      ['v1', SECRET],
    ])
  })
})

describe('a stream', () => {
  it('is one of OpenAI’s chunks, with the usage apart', async () => {
    const { chunks, pieces, text, end } = await stream(geminiText, at(), inputOf('hello [[say:Grüße, 灯 🚢!]]'))
    expect(text).toBe('Grüße, 灯 🚢!')
    expect(chunks[0]).toMatchObject({ choices: [{ delta: { role: 'assistant' } }] })
    expect(chunks.slice(1).some(({ choices }) => choices[0]?.delta.role)).toBe(false)
    expect(pieces.filter(({ finish }) => finish).map(({ finish }) => finish)).toEqual(['stop'])
    for (const chunk of chunks) {
      expect(problemWith(answers.chunk, chunk)).toBeUndefined()
      expect(chunk).not.toHaveProperty('usage')
    }
    const [billed] = gemini.stats().calls
    expect(end).toMatchObject({
      fault: null,
      finish: 'stop',
      serviceTier: 'default',
      model: 'gemini-3.8-flash',
      id: expect.stringMatching(/^emulated/),
      usage: { inputTokens: billed?.tokens.prompt, outputTokens: billed?.tokens.candidates, estimated: false },
    })
  })

  it('shows thoughts and the signature as they come', async () => {
    const { chunks, text } = await stream(
      geminiText,
      at(),
      inputOf('hello [[thoughts:20]] [[say:yes]]', { provider_options: THOUGHTS }),
    )
    const deltas = chunks.map(({ choices }) => choices[0]?.delta)
    expect(deltas.map((delta) => delta?.reasoning_content ?? '').join('')).toBe('**Considering the question**\n')
    expect(deltas.map((delta) => delta?.content ?? '').join('')).toBe('yes')
    expect(deltas.filter((delta) => delta?.extra_content)).toHaveLength(1)
    expect(text).toBe('**Considering the question**\nyes')
  })

  it('of several choices ends when all have', async () => {
    const { chunks, end } = await stream(geminiText, at(), inputOf('hello', { n: 2 }))
    const finished = chunks.flatMap(({ choices }) => choices.filter((choice) => choice.finish_reason))
    expect(finished.map(({ index }) => index)).toEqual([0, 1])
    expect(end.fault).toBeNull()
  })

  it.each(['[[lf]]', '[[comments]]', '[[split:1]]', '[[split:3]] [[lf]] [[comments]]'])(
    'is read however its bytes come: %s',
    async (directive) => {
      const { text, end } = await stream(geminiText, at(), inputOf(`hello [[say:Grüße, 灯 🚢!]] ${directive}`))
      expect(text).toBe('Grüße, 灯 🚢!')
      expect(end).toMatchObject({ fault: null, usage: { estimated: false } })
    },
  )

  it.each<[string, AttemptFaultCode]>([
    ['[[cut:1500]]', 'outcome_unknown'],
    ['[[no_finish]]', 'outcome_unknown'],
    ['[[empty_stream]]', 'outcome_unknown'],
    ['[[no_candidates]]', 'outcome_unknown'],
    ['[[malformed:3]]', 'provider_protocol_error'],
    ['[[error_event:503:0]]', 'provider_unavailable'],
    ['[[error_event:500:4]]', 'provider_unavailable'],
    ['[[error_event:504:4]]', 'provider_timeout'],
    ['[[error_event:429:1]]', 'provider_rate_limited'],
    ['[[error_event:429:0]] [[quota:GenerateRequestsPerDayPerProjectPerModel]]', 'provider_quota_exhausted'],
    ['[[error_event:400:0]]', 'provider_rejected'],
  ])('that fails with %s is %s, never a silent end', async (directive, code) => {
    const { end, status, pieces } = await stream(geminiText, at(), inputOf(`hello ${directive} [[chunks:20]]`))
    expect(status).toBe(200)
    expect(end.fault).toMatchObject({ kind: 'fault', code })
    if (/:0\]\]/.test(directive)) expect(pieces).toEqual([])
  })

  it('says nothing more after an error', async () => {
    const { pieces, text, end } = await stream(geminiText, at(), inputOf('hello [[error_event:500:3]]'))
    expect(pieces).toHaveLength(3)
    expect(text.length).toBeGreaterThan(0)
    expect(end.usage).toMatchObject({ outputTokens: 3 })
  })
})
