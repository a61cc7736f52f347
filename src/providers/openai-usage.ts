import { type Usage, usageOf } from '../contract/usage.ts'

/**
 * `usage` in OpenAI's form to the neutral record, or null where there is none to be read. Cached and written tokens are
 * inside `prompt_tokens`, reasoning inside `completion_tokens`. Counts that are no counts are none; parts larger than their
 * total are cut to it, so that no price is taken of tokens twice.
 */
export const openAiUsage = (value: unknown): Usage | null => {
  const usage = recordOf(value)
  if (!usage) return null
  const inputTokens = countOf(usage['prompt_tokens'] ?? usage['input_tokens'])
  const outputTokens = countOf(usage['completion_tokens'] ?? usage['output_tokens'])
  if (inputTokens === null && outputTokens === null) return null
  const read = recordOf(usage['prompt_tokens_details'] ?? usage['input_tokens_details']) ?? {}
  const written = recordOf(usage['completion_tokens_details'] ?? usage['output_tokens_details']) ?? {}
  const input = inputTokens ?? 0
  const output = outputTokens ?? 0
  const cached = Math.min(countOf(read['cached_tokens']) ?? 0, input)
  return usageOf({
    inputTokens: input,
    cachedInputTokens: cached,
    cacheWrite5mTokens: Math.min(countOf(read['cache_write_tokens']) ?? 0, input - cached),
    imageInputTokens: Math.min(countOf(read['image_tokens']) ?? 0, input),
    audioInputTokens: Math.min(countOf(read['audio_tokens']) ?? 0, input),
    outputTokens: output,
    reasoningTokens: Math.min(countOf(written['reasoning_tokens']) ?? 0, output),
    imageOutputTokens: Math.min(countOf(written['image_tokens']) ?? 0, output),
    audioOutputTokens: Math.min(countOf(written['audio_tokens']) ?? 0, output),
  })
}

export const recordOf = (value: unknown): Record<string, unknown> | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null

const countOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
