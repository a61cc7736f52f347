import * as v from 'valibot'

/**
 * What one call of a text model used, whoever the provider is. Whole tokens. `inputTokens` and `outputTokens` are totals:
 * every other count is a part of one of them, and a provider that reports parts beside its total has them added first.
 */
export type Usage = {
  /** All of the prompt: fresh, read from a cache and written to one. */
  inputTokens: number
  cachedInputTokens: number
  /** Written to a cache of the provider's usual life: five minutes at Anthropic, thirty at OpenAI. */
  cacheWrite5mTokens: number
  cacheWrite1hTokens: number
  /** All that was generated, reasoning included. */
  outputTokens: number
  reasoningTokens: number
  imageInputTokens: number
  imageOutputTokens: number
  audioInputTokens: number
  audioOutputTokens: number
  /** Of pictures and sound, what was read from a cache. Left out by older versions, and where there is none. */
  cachedImageInputTokens?: number
  cachedAudioInputTokens?: number
  /** True where the provider said nothing and a tokenizer counted instead. */
  estimated: boolean
}

/** A usage with the parts that are known; the others are none. */
export const usageOf = (known: Partial<Usage>): Usage => ({
  inputTokens: 0,
  cachedInputTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  outputTokens: 0,
  reasoningTokens: 0,
  imageInputTokens: 0,
  imageOutputTokens: 0,
  audioInputTokens: 0,
  audioOutputTokens: 0,
  estimated: false,
  ...known,
})

/** Tokens by kind, such as `cached_input`; kinds that did not occur are left out. */
export const tokensByKind = (usage: Usage): Record<string, number> => {
  const kinds = {
    input: usage.inputTokens,
    cached_input: usage.cachedInputTokens,
    cache_write_5m: usage.cacheWrite5mTokens,
    cache_write_1h: usage.cacheWrite1hTokens,
    output: usage.outputTokens,
    reasoning: usage.reasoningTokens,
    input_image: usage.imageInputTokens,
    output_image: usage.imageOutputTokens,
    input_audio: usage.audioInputTokens,
    output_audio: usage.audioOutputTokens,
  }
  return Object.fromEntries(Object.entries(kinds).filter(([, count]) => count > 0))
}

const Tokens = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

/** `usage` of a completion, as OpenAI has it, with what it cost. */
export const CompletionUsage = v.object({
  prompt_tokens: Tokens,
  completion_tokens: Tokens,
  total_tokens: Tokens,
  prompt_tokens_details: v.object({
    cached_tokens: Tokens,
    cache_write_tokens: Tokens,
    image_tokens: Tokens,
    audio_tokens: Tokens,
  }),
  completion_tokens_details: v.object({ reasoning_tokens: Tokens, image_tokens: Tokens, audio_tokens: Tokens }),
  /** US dollars; null where no price is known. */
  cost_usd: v.optional(v.nullable(v.number())),
  /** True where the provider gave no counts and these are our own. */
  estimated: v.optional(v.boolean()),
})
export type CompletionUsage = v.InferOutput<typeof CompletionUsage>

/** The counts as a client gets them; the price is the gateway's to add. */
export const completionUsage = (usage: Usage): CompletionUsage => ({
  prompt_tokens: usage.inputTokens,
  completion_tokens: usage.outputTokens,
  total_tokens: usage.inputTokens + usage.outputTokens,
  prompt_tokens_details: {
    cached_tokens: usage.cachedInputTokens,
    cache_write_tokens: usage.cacheWrite5mTokens + usage.cacheWrite1hTokens,
    image_tokens: usage.imageInputTokens,
    audio_tokens: usage.audioInputTokens,
  },
  completion_tokens_details: {
    reasoning_tokens: usage.reasoningTokens,
    image_tokens: usage.imageOutputTokens,
    audio_tokens: usage.audioOutputTokens,
  },
  ...(usage.estimated ? { estimated: true } : {}),
})
