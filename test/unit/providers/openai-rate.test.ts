import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { durationMs, openAiRate, openAiWaitMs } from '../../../src/providers/openai-rate.ts'
import { openAiUsage } from '../../../src/providers/openai-usage.ts'

describe('a duration', () => {
  it.each<[string, number | null]>([
    ['1s', 1_000],
    ['6m0s', 360_000],
    ['120ms', 120],
    ['1m30.5s', 90_500],
    ['0s', 0],
    ['9h', LIMITS.retryAfterMaxMs],
    ['', null],
    ['6', null],
    ['soon', null],
    ['-1s', null],
    [`${'9'.repeat(40)}s`, null],
  ])('%s is %s ms', (text, ms) => {
    expect(durationMs(text)).toBe(ms)
  })
})

describe('rate headers', () => {
  it('say what is left of calls and of tokens, and nothing where one is missing', () => {
    const headers = {
      'x-ratelimit-remaining-requests': '59',
      'x-ratelimit-reset-requests': '1s',
      'x-ratelimit-remaining-tokens': '149984',
      'x-ratelimit-reset-tokens': '6m0s',
    }
    expect(openAiRate(new Headers(headers))).toEqual({
      requests: { remaining: 59, resetAfterMs: 1_000 },
      tokens: { remaining: 149_984, resetAfterMs: 360_000 },
    })
    expect(openAiRate(new Headers({ 'x-ratelimit-remaining-requests': '59' }))).toEqual({
      requests: null,
      tokens: null,
    })
    expect(openAiRate(new Headers({ ...headers, 'x-ratelimit-remaining-tokens': '-5' })).tokens).toBeNull()
  })

  it.each<[number, Record<string, string>, number | null]>([
    [429, { 'retry-after-ms': '250', 'retry-after': '9' }, 250],
    [429, { 'retry-after-ms': 'x', 'retry-after': '9' }, 9_000],
    [503, { 'retry-after': '2' }, 2_000],
    [429, { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '7s' }, 7_000],
    [429, { 'x-ratelimit-remaining-tokens': '5', 'x-ratelimit-reset-tokens': '7s' }, null],
    [500, { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '7s' }, null],
    [429, {}, null],
    [429, { 'retry-after-ms': '999999999999' }, LIMITS.retryAfterMaxMs],
  ])('of a %i with %j ask to wait %s ms', (status, headers, ms) => {
    expect(openAiWaitMs(status, new Headers(headers), 0)).toBe(ms)
  })
})

describe('usage', () => {
  it('is read in both of the provider’s forms', () => {
    expect(
      openAiUsage({
        prompt_tokens: 100,
        completion_tokens: 50,
        prompt_tokens_details: { cached_tokens: 40, cache_write_tokens: 20, audio_tokens: 1, image_tokens: 2 },
        completion_tokens_details: { reasoning_tokens: 30, audio_tokens: 3 },
      }),
    ).toEqual({
      inputTokens: 100,
      cachedInputTokens: 40,
      cacheWrite5mTokens: 20,
      cacheWrite1hTokens: 0,
      outputTokens: 50,
      reasoningTokens: 30,
      imageInputTokens: 2,
      imageOutputTokens: 0,
      audioInputTokens: 1,
      audioOutputTokens: 3,
      estimated: false,
    })
    expect(
      openAiUsage({ input_tokens: 9, output_tokens: 272, output_tokens_details: { image_tokens: 272 } }),
    ).toMatchObject({ inputTokens: 9, outputTokens: 272, imageOutputTokens: 272 })
  })

  it.each([null, undefined, 'x', [], {}, { prompt_tokens: -1 }, { completion_tokens: 1.5 }, { prompt_tokens: '9' }])(
    'of %j is none',
    (value) => {
      expect(openAiUsage(value)).toBeNull()
    },
  )

  it('never counts a part beyond its total', () => {
    const usage = openAiUsage({
      prompt_tokens: 10,
      completion_tokens: 2,
      prompt_tokens_details: { cached_tokens: 8, cache_write_tokens: 8 },
      completion_tokens_details: { reasoning_tokens: 5 },
    })
    expect(usage).toMatchObject({ cachedInputTokens: 8, cacheWrite5mTokens: 2, reasoningTokens: 2 })
  })
})
