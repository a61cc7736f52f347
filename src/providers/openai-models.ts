import type { ChatInput, ReasoningEffort } from '../contract/chat.ts'
import type { ChatCard, EmbedCard } from './dialect.ts'

/**
 * OpenAI's models of text: windows as https://platform.openai.com/docs/models has them. Ranks and times are our own
 * estimates. Dated versions of a model are asked for under the name of the model.
 */

const GPT_5: readonly ReasoningEffort[] = ['minimal', 'low', 'medium', 'high']
const GPT_5_4: readonly ReasoningEffort[] = ['none', 'low', 'medium', 'high', 'xhigh']
const GPT_5_6: readonly ReasoningEffort[] = [...GPT_5_4, 'max']
const O_SERIES: readonly ReasoningEffort[] = ['low', 'medium', 'high']

/** Predicted outputs are of the models that do not reason. */
const NEWER: readonly (keyof ChatInput)[] = ['prediction']
const OLDER: readonly (keyof ChatInput)[] = ['verbosity']

const base = { images: true, tools: true, jsonObject: true, jsonSchema: true }

/** They sample as told only while they do not reason. */
const reasons = (
  model: string,
  [contextTokens, maxOutputTokens]: readonly [number, number | null],
  reasoning: readonly ReasoningEffort[],
  [qualityRank, typicalMs]: readonly [number, number],
): ChatCard => ({
  ...base,
  model,
  contextTokens,
  maxOutputTokens,
  reasoning,
  sampling: false,
  logprobs: false,
  without: NEWER,
  qualityRank,
  typicalMs,
})

const speaks = (
  model: string,
  [contextTokens, maxOutputTokens]: readonly [number, number],
  [qualityRank, typicalMs]: readonly [number, number],
): ChatCard => ({
  ...base,
  model,
  contextTokens,
  maxOutputTokens,
  reasoning: [],
  sampling: true,
  logprobs: true,
  without: OLDER,
  qualityRank,
  typicalMs,
})

/** The reference: `stop` is "not supported with latest reasoning models o3 and o4-mini". */
const oSeries = (model: string, rank: readonly [number, number]): ChatCard => ({
  ...reasons(model, [200_000, 100_000], O_SERIES, rank),
  without: ['prediction', 'verbosity', 'stop'],
})

export const OPENAI_CHAT_MODELS: readonly ChatCard[] = [
  // No list says how much the sixth generation writes at most.
  reasons('gpt-6-astra', [1_050_000, null], GPT_5_6, [5, 15_000]),
  reasons('gpt-6-sol', [1_050_000, null], GPT_5_6, [5, 8_000]),
  reasons('gpt-6-luna', [1_050_000, null], GPT_5_6, [3, 3_000]),
  reasons('gpt-5.6-sol', [1_050_000, 128_000], GPT_5_6, [5, 10_000]),
  reasons('gpt-5.6-terra', [1_050_000, 128_000], GPT_5_6, [4, 6_000]),
  reasons('gpt-5.6-luna', [1_050_000, 128_000], GPT_5_6, [3, 3_000]),
  reasons('gpt-5.5', [1_000_000, 128_000], GPT_5_4, [5, 10_000]),
  reasons('gpt-5.4', [1_050_000, 128_000], GPT_5_4, [4, 8_000]),
  reasons('gpt-5.4-mini', [400_000, 128_000], GPT_5_4, [3, 4_000]),
  reasons('gpt-5.4-nano', [400_000, 128_000], GPT_5_4, [2, 2_500]),
  reasons('gpt-5', [400_000, 128_000], GPT_5, [4, 8_000]),
  reasons('gpt-5-mini', [400_000, 128_000], GPT_5, [3, 5_000]),
  reasons('gpt-5-nano', [400_000, 128_000], GPT_5, [2, 3_000]),
  speaks('gpt-4.1', [1_000_000, 32_768], [3, 3_000]),
  speaks('gpt-4.1-mini', [1_000_000, 32_768], [2, 2_000]),
  speaks('gpt-4.1-nano', [1_000_000, 32_768], [1, 1_500]),
  speaks('gpt-4o', [128_000, 16_384], [3, 3_000]),
  // A picture is 2,833 tokens and 5,667 for each of up to eight tiles: its tokens cost a seventeenth of gpt-4o's.
  { ...speaks('gpt-4o-mini', [128_000, 16_384], [2, 2_000]), imageTokens: 48_169 },
  oSeries('o3', [4, 10_000]),
  oSeries('o4-mini', [3, 6_000]),
]

const embeds = (model: string, dimensions: number, shortens: boolean, qualityRank: number): EmbedCard => ({
  model,
  dimensions,
  shortens,
  contextTokens: 8_192,
  takesTokens: true,
  inputsMax: 2_048,
  qualityRank,
  typicalMs: 500,
})

export const OPENAI_EMBED_MODELS: readonly EmbedCard[] = [
  embeds('text-embedding-3-small', 1_536, true, 3),
  embeds('text-embedding-3-large', 3_072, true, 5),
  embeds('text-embedding-ada-002', 1_536, false, 2),
]
