import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import type { CallBound } from '../../../src/contract/foreground-rpc.ts'
import { usageOf } from '../../../src/contract/usage.ts'
import { boundMicros } from '../../../src/core/call-bound.ts'
import { callCostMicros, presumedCallMicros } from '../../../src/core/call-cost.ts'
import { promptTokensOf } from '../../../src/core/expected.ts'
import { namesOf, priceAt } from '../../../src/core/price.ts'
import { bounding } from '../../../src/job/text-judge.ts'
import { LIMITS } from '../../../src/limits.ts'
import { listedPrices } from '../../../src/prices/list.ts'
import { TEXT_PROVIDERS } from '../../../src/providers/text-registry.ts'

const TEXT = 'Tell me of the sea.'
const asked = (more: Partial<ChatInput> = {}): ChatInput => ({ messages: [{ role: 'user', content: TEXT }], ...more })
const boundOf = (model: string, more: Partial<ChatInput> = {}, stream = true): CallBound => {
  const bound = bounding({ type: 'text.generate@1', input: asked(more) }, stream)(model)
  if (!bound) throw new Error('there is no such model')
  return bound
}
const part = (more: object) => [{ role: 'user' as const, content: [{ type: 'text' as const, text: TEXT, ...more }] }]
const breakpoint = part({ prompt_cache_breakpoint: { mode: 'explicit' } })
const kept = (ttl: string) => ({ provider_options: { anthropic: { cache_control: { type: 'ephemeral', ttl } } } })
const [GPT, NEWER, CLAUDE, GEMINI] = [
  'openai/gpt-5-mini',
  'openai/gpt-5.6-sol',
  'anthropic/claude-sonnet-4-5',
  'google/gemini-2.5-pro',
]

describe('the bound of a chat', () => {
  test.each<[string, string, Partial<ChatInput>, Partial<CallBound>]>([
    ['writes nothing where nothing is said', CLAUDE, {}, { writes: 'none' }],
    ['writes for five minutes at a breakpoint', CLAUDE, { messages: breakpoint }, { writes: 'short' }],
    ['writes for five minutes by the option', CLAUDE, kept('5m'), { writes: 'short' }],
    ['writes for an hour', CLAUDE, { ...kept('1h'), messages: breakpoint }, { writes: 'long' }],
    ['writes by itself at OpenAI, where the list has a rate', NEWER, {}, { writes: 'listed' }],
    ['writes at a breakpoint at OpenAI', NEWER, { messages: breakpoint }, { writes: 'short' }],
    ['does not write at Gemini', GEMINI, { messages: breakpoint }, { writes: 'none' }],
    ['costs more in a tier at OpenAI', GPT, { service_tier: 'priority' }, { tierFactor: 2.5 }],
    ['costs more by its new name', GPT, { service_tier: 'fast' }, { tierFactor: 2.5 }],
    ['costs more in a tier at Gemini', GEMINI, { service_tier: 'priority' }, { tierFactor: 2 }],
    ['costs no less in the cheaper tier', GPT, { service_tier: 'flex' }, { tierFactor: 1 }],
    ['costs no more where the tier is not told', CLAUDE, { service_tier: 'priority' }, { tierFactor: 1 }],
    ['is the limit for each choice', GPT, { max_tokens: 50, n: 3 }, { outputTokens: 150, outputTokensMax: 150 }],
    ['is what the model makes', GPT, { n: 2 }, { outputTokens: 8_192, outputTokensMax: 256_000, choices: 2 }],
    ['is little without thoughts', 'openai/gpt-4o', {}, { outputTokens: 1_024, outputTokensMax: 16_384 }],
    [
      'leaves room for a budget of thoughts',
      CLAUDE,
      { provider_options: { anthropic: { thinking: { budget_tokens: 20_000 } } } },
      { outputTokens: 21_024 },
    ],
    [
      'leaves room for a budget of thoughts at Gemini',
      GEMINI,
      { provider_options: { google: { generationConfig: { thinkingConfig: { thinkingBudget: 9_000 } } } } },
      { outputTokens: 10_024 },
    ],
    ['is the window where no list says what a model makes', 'openai/gpt-6-sol', {}, { outputTokensMax: 1_050_000 }],
    [
      'has a cache made beforehand in its prompt',
      GEMINI,
      { provider_options: { google: { cachedContent: 'cachedContents/abc' } } },
      { cachedTokens: 1_048_576 },
    ],
  ])('%s', (_what, model, more, bound) => expect(boundOf(model, more)).toMatchObject(bound))

  test('that does not stream is what its provider is asked for then', () => {
    expect(boundOf(CLAUDE, {}, false).outputTokensMax).toBe(LIMITS.wholeAnswerTokens)
    expect(boundOf(CLAUDE, {}, true).outputTokensMax).toBe(64_000)
  })

  test('has what was predicted beside the answer, and no less to hold', () => {
    const bound = boundOf('openai/gpt-4o', { prediction: { type: 'content', content: TEXT } })
    expect(bound.outputTokens).toBe(bound.outputTokensMax)
    expect(bound.outputTokens).toBeGreaterThan(16_384)
  })

  test('counts pictures at the most that a model takes for one', () => {
    const messages: ChatInput['messages'] = [
      {
        role: 'user',
        content: [{ type: 'image_url', image_url: { url: 'https://example.com/a.png', detail: 'low' } }],
      },
    ]
    expect(boundOf('google/gemini-2.5-pro', { messages }).inputTokens).toBeGreaterThanOrEqual(LIMITS.imageTokensMost)
    expect(boundOf('openai/gpt-4o-mini', { messages }).inputTokens).toBeGreaterThanOrEqual(48_169)
  })

  test('counts tools, schemas, names, refusals and state that goes back', () => {
    const plain = boundOf(CLAUDE).inputTokens
    const tools = boundOf(CLAUDE, { tools: [{ type: 'function', function: { name: 'look', description: TEXT } }] })
    const json_schema = { name: 'x', schema: { type: 'object' }, description: TEXT.repeat(20) }
    const format = boundOf(CLAUDE, { response_format: { type: 'json_schema', json_schema } })
    for (const { inputTokens } of [tools, format])
      expect(inputTokens).toBeGreaterThan(plain + LIMITS.hiddenPromptTokens)
    const said = (more: object) =>
      boundOf(CLAUDE, { messages: [{ role: 'assistant', content: TEXT, ...more }] }).inputTokens
    const state = { anthropic: { blocks: [{ type: 'thinking', thinking: TEXT.repeat(50) }] } }
    for (const more of [{ name: 'a_long_name' }, { refusal: TEXT }, { extra_content: state }])
      expect(said(more)).toBeGreaterThan(said({}))
  })
})

describe('by the listed prices', () => {
  const now = Date.parse('2026-11-21')
  const models = TEXT_PROVIDERS.flatMap(({ id, chatModels }) =>
    chatModels.flatMap(({ model }) => {
      const price = priceAt(listedPrices(id), namesOf(id, model), now)
      return price ? [{ name: `${id}/${model}`, price }] : []
    }),
  )
  const inputs: fc.Arbitrary<Partial<ChatInput>> = fc.record({
    messages: fc.array(
      fc.record({ role: fc.constant('user' as const), content: fc.string({ unit: 'grapheme', maxLength: 400 }) }),
      { minLength: 1, maxLength: 4 },
    ),
    max_completion_tokens: fc.integer({ min: 1, max: 8_000 }),
    n: fc.constantFrom(1, 1, 3),
    service_tier: fc.constantFrom('default' as const, 'priority' as const, 'flex' as const),
    provider_options: fc.constantFrom({}, kept('5m').provider_options, kept('1h').provider_options),
  })

  test('what is held for a request with a limit is never below what it costs, whatever becomes of it', () => {
    expect(models.length).toBeGreaterThan(20)
    const part = fc.double({ min: 0, max: 1, noNaN: true })
    fc.assert(
      fc.property(fc.constantFrom(...models), inputs, part, part, fc.boolean(), ({ name, price }, more, a, b, tier) => {
        const bound = boundOf(name, more)
        const hold = boundMicros(price, bound, bound.outputTokens)
        const inputTokens = Math.round(promptTokensOf(asked(more)) * 1.3)
        expect(inputTokens).toBeLessThanOrEqual(bound.inputTokens)
        const short =
          bound.writes === 'none' || (bound.writes === 'listed' && !price.rates.cache_write_per_mtok) ? 0 : a
        const long = bound.writes === 'long' ? (1 - short) * b : 0
        const outputTokens = Math.floor((more.max_completion_tokens ?? 0) * (more.n ?? 1) * b)
        const usage = usageOf({
          inputTokens,
          cacheWrite5mTokens: Math.floor(inputTokens * short),
          cacheWrite1hTokens: Math.floor(inputTokens * long),
          outputTokens,
        })
        const served = tier && !name.startsWith('anthropic') ? (more.service_tier ?? null) : 'default'
        const isTold = name.startsWith('openai') || name.startsWith('google')
        const by = isTold ? served : null
        const cost = callCostMicros(price, usage, by) ?? presumedCallMicros(price, usage, by)
        expect(cost).not.toBeNull()
        expect(cost).toBeLessThanOrEqual(hold ?? -1)
      }),
      { numRuns: 1_000 },
    )
  })
})
