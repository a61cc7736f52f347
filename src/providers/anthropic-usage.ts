import { type Usage, usageOf } from '../contract/usage.ts'
import { recordOf } from './openai-usage.ts'

/**
 * `usage` in Anthropic's form to the neutral record, or null where there is none to be read. Here `input_tokens` are only
 * the fresh ones: what was read from the cache and written to it stands beside them and is added. Counts that are no counts
 * are none; thoughts beyond what was generated are cut to it.
 */
export const anthropicUsage = (value: unknown): Usage | null => {
  const usage = recordOf(value)
  const fresh = countOf(usage?.['input_tokens'])
  const output = countOf(usage?.['output_tokens'])
  if (!usage || (fresh === null && output === null)) return null
  const read = countOf(usage['cache_read_input_tokens']) ?? 0
  const { fiveMinutes, oneHour } = writtenOf(usage)
  const outputTokens = output ?? 0
  const thoughts = countOf(recordOf(usage['output_tokens_details'])?.['thinking_tokens']) ?? 0
  return usageOf({
    inputTokens: (fresh ?? 0) + read + fiveMinutes + oneHour,
    cachedInputTokens: read,
    cacheWrite5mTokens: fiveMinutes,
    cacheWrite1hTokens: oneHour,
    outputTokens,
    reasoningTokens: Math.min(thoughts, outputTokens),
  })
}

/** The total and its parts by life: what no part names was written for five minutes. */
const writtenOf = (usage: Record<string, unknown>): { fiveMinutes: number; oneHour: number } => {
  const parts = recordOf(usage['cache_creation'])
  const oneHour = countOf(parts?.['ephemeral_1h_input_tokens']) ?? 0
  const fiveMinutes = countOf(parts?.['ephemeral_5m_input_tokens']) ?? 0
  const total = countOf(usage['cache_creation_input_tokens']) ?? oneHour + fiveMinutes
  const long = Math.min(oneHour, total)
  return { fiveMinutes: total - long, oneHour: long }
}

/** Later counts of a stream over earlier ones: they are cumulative, and what they leave out stands. */
export const mergedUsage = (earlier: unknown, later: unknown): Record<string, unknown> | null => {
  const [before, after] = [recordOf(earlier), recordOf(later)]
  if (!after) return before
  return { ...before, ...Object.fromEntries(Object.entries(after).filter(([, count]) => count !== null)) }
}

/** In the words of the vocabulary: the usual tier is its `default`. */
export const tierOf = (usage: unknown): string | null => {
  const tier = recordOf(usage)?.['service_tier']
  return typeof tier !== 'string' || tier === '' ? null : tier === 'standard' ? 'default' : tier
}

const countOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
