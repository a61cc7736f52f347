import type { ChatInput, ReasoningEffort } from '../contract/chat.ts'
import type { ChatCard, EmbedCard } from './dialect.ts'

/**
 * Gemini's models of text: windows as https://ai.google.dev/gemini-api/docs/models has them, levels of thinking as
 * https://ai.google.dev/gemini-api/docs/thinking does. Ranks and times are our own estimates.
 */

const LEVELS: readonly ReasoningEffort[] = ['low', 'medium', 'high']
const FLASH_LEVELS: readonly ReasoningEffort[] = ['minimal', ...LEVELS]
/** Budgets can be zero, but not the larger model's. */
const BUDGETS: readonly ReasoningEffort[] = ['none', 'minimal', ...LEVELS]

/** The developer's API refuses them for every model here: "Penalty is not enabled", "Logprobs is not enabled". */
const WITHOUT: readonly (keyof ChatInput)[] = ['frequency_penalty', 'presence_penalty', 'logprobs', 'top_logprobs']

const chat = (
  model: string,
  [contextTokens, maxOutputTokens]: readonly [number, number | null],
  reasoning: readonly ReasoningEffort[],
  sampling: boolean,
  [qualityRank, typicalMs]: readonly [number, number],
): ChatCard => ({
  model,
  contextTokens,
  maxOutputTokens,
  images: true,
  tools: true,
  jsonObject: true,
  jsonSchema: true,
  reasoning,
  // From gemini-3.5-flash-lite on the provider leaves sampling as asked out of account.
  sampling,
  logprobs: false,
  without: WITHOUT,
  qualityRank,
  typicalMs,
})

export const GEMINI_CHAT_MODELS: readonly ChatCard[] = [
  chat('gemini-3.8-flash', [1_000_000, null], LEVELS, false, [4, 4_000]),
  chat('gemini-3.7-flash', [1_000_000, null], LEVELS, false, [4, 4_000]),
  chat('gemini-3.6-flash', [1_000_000, 65_536], LEVELS, false, [4, 4_000]),
  chat('gemini-3.5-flash', [1_000_000, 65_535], FLASH_LEVELS, true, [4, 5_000]),
  chat('gemini-3.5-flash-lite', [1_000_000, 65_536], FLASH_LEVELS, false, [2, 2_000]),
  chat('gemini-3.1-pro-preview', [1_048_576, 65_536], LEVELS, true, [5, 12_000]),
  chat('gemini-3-flash-preview', [1_000_000, 65_535], FLASH_LEVELS, true, [3, 4_000]),
  chat('gemini-2.5-pro', [1_048_576, 65_535], BUDGETS.slice(1), true, [4, 10_000]),
  chat('gemini-2.5-flash', [1_048_576, 65_535], BUDGETS, true, [3, 3_000]),
  chat('gemini-2.5-flash-lite', [1_000_000, 65_535], BUDGETS, true, [1, 1_500]),
]

const embeds = (model: string, contextTokens: number, qualityRank: number): EmbedCard => ({
  model,
  contextTokens,
  dimensions: 3_072,
  shortens: true,
  takesTokens: false,
  // The most that one `batchEmbedContents` may hold.
  inputsMax: 100,
  qualityRank,
  typicalMs: 600,
})

export const GEMINI_EMBED_MODELS: readonly EmbedCard[] = [
  embeds('gemini-embedding-2', 8_192, 5),
  embeds('gemini-embedding-001', 2_048, 4),
]
