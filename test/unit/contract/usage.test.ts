import { describe, expect, it } from 'vitest'
import { completionUsage, usageOf } from '../../../src/contract/usage.ts'

describe('usage', () => {
  it('becomes OpenAI’s, with parts inside their totals', () => {
    const usage = usageOf({
      inputTokens: 100,
      cachedInputTokens: 40,
      cacheWrite5mTokens: 10,
      cacheWrite1hTokens: 5,
      outputTokens: 50,
      reasoningTokens: 20,
    })
    const told = completionUsage(usage)
    expect(told).toMatchObject({
      prompt_tokens: 100,
      completion_tokens: 50,
      total_tokens: 150,
      prompt_tokens_details: { cached_tokens: 40, cache_write_tokens: 15 },
      completion_tokens_details: { reasoning_tokens: 20 },
    })
    expect(told).not.toHaveProperty('estimated')
  })

  it('says where it is our own estimate', () => {
    expect(completionUsage(usageOf({ inputTokens: 1, estimated: true }))).toMatchObject({ estimated: true })
  })
})
