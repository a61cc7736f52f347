import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { anthropicRate, anthropicWaitMs } from '../../../src/providers/anthropic-rate.ts'
import { anthropicUsage, mergedUsage } from '../../../src/providers/anthropic-usage.ts'

describe('usage', () => {
  it('adds what stands beside the fresh tokens, and keeps each kind', () => {
    expect(
      anthropicUsage({
        input_tokens: 10,
        cache_creation_input_tokens: 30,
        cache_creation: { ephemeral_5m_input_tokens: 20, ephemeral_1h_input_tokens: 10 },
        cache_read_input_tokens: 100,
        output_tokens: 50,
        output_tokens_details: { thinking_tokens: 40 },
        service_tier: 'standard',
      }),
    ).toEqual({
      inputTokens: 140,
      cachedInputTokens: 100,
      cacheWrite5mTokens: 20,
      cacheWrite1hTokens: 10,
      outputTokens: 50,
      reasoningTokens: 40,
      imageInputTokens: 0,
      imageOutputTokens: 0,
      audioInputTokens: 0,
      audioOutputTokens: 0,
      estimated: false,
    })
  })

  it.each<[object, object]>([
    [{ cache_creation_input_tokens: 30 }, { cacheWrite5mTokens: 30, cacheWrite1hTokens: 0 }],
    [{ cache_creation: { ephemeral_1h_input_tokens: 7 } }, { cacheWrite5mTokens: 0, cacheWrite1hTokens: 7 }],
    [
      { cache_creation_input_tokens: 5, cache_creation: { ephemeral_1h_input_tokens: 9 } },
      { cacheWrite5mTokens: 0, cacheWrite1hTokens: 5 },
    ],
    [
      { cache_creation_input_tokens: null, cache_creation: null },
      { cacheWrite5mTokens: 0, cacheWrite1hTokens: 0 },
    ],
    [{ output_tokens_details: { thinking_tokens: 99 } }, { reasoningTokens: 5 }],
    [{ output_tokens: 'many' }, { inputTokens: 1, outputTokens: 0 }],
  ])('of %j is %j', (given, expected) => {
    expect(anthropicUsage({ input_tokens: 1, output_tokens: 5, ...given })).toMatchObject(expected)
  })

  it.each([null, undefined, 'x', [], {}, { input_tokens: -1 }, { output_tokens: 1.5 }])('of %j is none', (value) => {
    expect(anthropicUsage(value)).toBeNull()
  })

  it('never has a part beyond its total', () => {
    const count = fc.option(fc.oneof(fc.nat(1_000_000), fc.constantFrom(-1, 1.5, '7')), { nil: null })
    const usage = fc.record({
      input_tokens: count,
      cache_creation_input_tokens: count,
      cache_read_input_tokens: count,
      cache_creation: fc.record({ ephemeral_5m_input_tokens: count, ephemeral_1h_input_tokens: count }),
      output_tokens: count,
      output_tokens_details: fc.record({ thinking_tokens: count }),
    })
    fc.assert(
      fc.property(usage, (value) => {
        const read = anthropicUsage(value)
        if (!read) return
        const parts = read.cachedInputTokens + read.cacheWrite5mTokens + read.cacheWrite1hTokens
        expect(parts).toBeLessThanOrEqual(read.inputTokens)
        expect(read.reasoningTokens).toBeLessThanOrEqual(read.outputTokens)
        for (const tokens of Object.values(read)) expect(Number(tokens)).toBeGreaterThanOrEqual(0)
      }),
    )
  })

  it('of a stream is what was told last, and earlier what is left out', () => {
    const start = { input_tokens: 10, output_tokens: 1, cache_creation: { ephemeral_1h_input_tokens: 4 } }
    expect(mergedUsage(start, { output_tokens: 9, input_tokens: null })).toEqual({ ...start, output_tokens: 9 })
    expect(mergedUsage(start, null)).toEqual(start)
    expect(mergedUsage(null, 'x')).toBeNull()
  })
})

describe('rate headers', () => {
  const now = Date.parse('2026-11-21T12:00:00Z')
  const limit = (kind: string, remaining: string, reset = '2026-11-21T12:00:30Z') => ({
    [`anthropic-ratelimit-${kind}-remaining`]: remaining,
    [`anthropic-ratelimit-${kind}-reset`]: reset,
  })

  it('say what is left of calls and of tokens, and nothing where one is missing', () => {
    const headers = new Headers({ ...limit('requests', '59'), ...limit('tokens', '8000', '2026-11-21T12:01:00Z') })
    expect(anthropicRate(headers, now)).toEqual({
      requests: { remaining: 59, resetAfterMs: 30_000 },
      tokens: { remaining: 8_000, resetAfterMs: 60_000 },
    })
    expect(anthropicRate(new Headers({ 'anthropic-ratelimit-requests-remaining': '5' }), now)).toEqual({
      requests: null,
      tokens: null,
    })
    expect(anthropicRate(new Headers(limit('requests', '-1')), now).requests).toBeNull()
    expect(anthropicRate(new Headers(limit('requests', '1', 'soon')), now).requests).toBeNull()
    expect(anthropicRate(new Headers(limit('requests', '1', '2020-01-01T00:00:00Z')), now).requests).toEqual({
      remaining: 1,
      resetAfterMs: 0,
    })
  })

  it('speak of the tighter kind of tokens where they speak of no total', () => {
    const both = { ...limit('input-tokens', '100'), ...limit('output-tokens', '50') }
    expect(anthropicRate(new Headers(both), now).tokens).toMatchObject({ remaining: 50 })
    expect(anthropicRate(new Headers(limit('input-tokens', '100')), now).tokens).toMatchObject({ remaining: 100 })
  })

  it.each<[number, Record<string, string>, number | null]>([
    [429, { 'retry-after-ms': '250', 'retry-after': '9' }, 250],
    [429, { 'retry-after-ms': 'x', 'retry-after': '9' }, 9_000],
    [529, { 'retry-after': '2' }, 2_000],
    [429, limit('input-tokens', '0'), 30_000],
    [429, limit('input-tokens', '5'), null],
    [500, limit('input-tokens', '0'), null],
    [429, {}, null],
    [429, { 'retry-after-ms': '999999999999' }, LIMITS.retryAfterMaxMs],
  ])('of a %i with %j ask to wait %s ms', (status, headers, ms) => {
    expect(anthropicWaitMs(status, new Headers(headers), now)).toBe(ms)
  })
})
