import { type ChatInput, outputLimitOf } from '../contract/chat.ts'
import type { EmbedInput } from '../contract/embedding.ts'
import type { CallBound } from '../contract/foreground-rpc.ts'
import { mostEmbedTokensOf } from '../core/expected.ts'
import { mostTokensOf } from '../core/most-tokens.ts'
import { tierFactor } from '../core/tier.ts'
import { LIMITS } from '../limits.ts'
import { optionsOf } from '../providers/anthropic-options.ts'
import type { ChatCard, TextProvider } from '../providers/dialect.ts'
import { recordOf } from '../providers/openai-usage.ts'

/** What a call can come to at most by the rules of its provider. Pure. */

/** Of a model that accepts the input. `promptTokens`: of the prompt at most, by what the model counts for a picture. */
export const boundOfChat = (
  { id: provider, wholeAnswerTokens }: TextProvider,
  card: ChatCard,
  input: ChatInput,
  { stream, promptTokens }: { stream: boolean; promptTokens(ofPicture: number): number },
): CallBound => {
  const choices = input.n ?? 1
  const predicted = predictedTokens(input)
  const made = card.maxOutputTokens ?? card.contextTokens ?? LIMITS.outputTokensMax
  const most = stream ? made : Math.min(made, wholeAnswerTokens ?? made)
  const limit = outputLimitOf(input)
  // A prediction cannot stand beside a limit, so there is no less to hold.
  const least = limit ?? (predicted > 0 ? most : Math.min(most, leastOutput(provider, card, input)))
  return {
    inputTokens: promptTokens(card.imageTokens ?? LIMITS.imageTokensMost),
    cachedTokens: cachedTokens(provider, card, input),
    writes: writesOf(provider, input),
    outputTokens: (least + predicted) * choices,
    outputTokensMax: ((limit ?? most) + predicted) * choices,
    choices,
    tierFactor: askedFactor(provider, input),
  }
}

export const boundOfEmbed = (input: EmbedInput): CallBound => ({
  inputTokens: mostEmbedTokensOf(input),
  cachedTokens: 0,
  writes: 'none',
  outputTokens: 0,
  outputTokensMax: 0,
  choices: 1,
  tierFactor: 1,
})

/** What is predicted and not said is billed beside the answer (https://platform.openai.com/docs/guides/predicted-outputs). */
const predictedTokens = ({ prediction }: ChatInput): number => {
  const content = prediction?.content ?? ''
  if (typeof content === 'string') return mostTokensOf(content)
  return content.reduce((sum, part) => sum + mostTokensOf(part.text), 0)
}

/** What an answer needs to be one; with a budget of thoughts, that too. */
const leastOutput = (provider: string, card: ChatCard, input: ChatInput): number => {
  if (card.reasoning.length === 0 || input.reasoning_effort === 'none') return LIMITS.outputTokensExpected
  return Math.max(LIMITS.reasonedTokensExpected, budgetOfThoughts(provider, input) + LIMITS.outputTokensExpected)
}

const budgetOfThoughts = (provider: string, input: ChatInput): number => {
  if (provider === 'anthropic') return optionsOf(input).thinking?.budget_tokens ?? 0
  if (provider !== 'google') return 0
  const config = recordOf(recordOf(input.provider_options?.['google'])?.['generationConfig'])
  const budget = recordOf(config?.['thinkingConfig'])?.['thinkingBudget']
  // -1 leaves it to the model.
  return typeof budget === 'number' ? Math.max(0, budget) : 0
}

/** OpenAI's newer models write by themselves, Anthropic's where they are told to; others have no such thing. */
const writesOf = (provider: string, input: ChatInput): CallBound['writes'] => {
  if (provider === 'openai') return hasBreakpoint(input) ? 'short' : 'listed'
  if (provider !== 'anthropic') return 'none'
  const { cache_control: kept } = optionsOf(input)
  if (kept?.ttl === '1h') return 'long'
  return kept !== undefined || hasBreakpoint(input) ? 'short' : 'none'
}

const hasBreakpoint = ({ messages }: ChatInput): boolean =>
  messages.some(
    ({ content }) =>
      Array.isArray(content) &&
      content.some((part) => 'prompt_cache_breakpoint' in part && part.prompt_cache_breakpoint),
  )

/** Gemini's cache that was made beforehand is a part of the prompt; how large, only the window bounds. */
const cachedTokens = (provider: string, card: ChatCard, input: ChatInput): number => {
  const isNamed = provider === 'google' && recordOf(input.provider_options?.['google'])?.['cachedContent'] !== undefined
  return isNamed ? (card.contextTokens ?? 0) : 0
}

/** Only OpenAI and Google are told of a tier that asks more. `auto` may be one by the settings of OpenAI's project. */
const askedFactor = (provider: string, { service_tier: tier }: ChatInput): number =>
  provider === 'openai' || provider === 'google' ? tierFactor(provider, tier ?? null) : 1
