import { outputLimitOf, type ReasoningEffort } from '../contract/chat.ts'
import type { AssistantMessage, ExtraContent } from '../contract/chat-message.ts'
import { LIMITS } from '../limits.ts'
import { mannersOf } from './anthropic-models.ts'
import { optionsOf } from './anthropic-options.ts'
import type { ChatCall, ChatCard } from './dialect.ts'
import { recordOf } from './openai-usage.ts'

/** Thoughts: how many are asked for, and how they come back to the model that had them. */

/** Tokens of thought that an effort is worth to a model that thinks by a budget: our own rule. */
const BUDGETS: Partial<Record<ReasoningEffort, number>> = { low: 2_048, medium: 8_192, high: 24_576 }
/** The least that may be thought, and the least we leave for the answer itself. */
const LEAST_TOKENS = 1_024

/**
 * `max_tokens`, which has to be sent: what is asked, else all that the model makes, as in a vocabulary where no limit is
 * none. An answer that does not stream gets no more than the official client lets one wait for.
 */
export const limitOf = ({ card, input, stream }: ChatCall): number => {
  const most = card.maxOutputTokens ?? LIMITS.wholeAnswerTokens
  return outputLimitOf(input) ?? (stream ? most : Math.min(most, LIMITS.wholeAnswerTokens))
}

/**
 * What of the body asks for thoughts; null where an effort that was asked for cannot be had. `unprepared`: a thought by a
 * budget has no place before what comes next, such as a call that is forced.
 */
export const thinkingOf = (
  call: ChatCall,
  unprepared: boolean,
): { thinking?: object; effort?: ReasoningEffort } | null => {
  const { card, input } = call
  const { reasoning_effort: effort } = input
  const manners = mannersOf(card)
  const { display, budget_tokens: told } = optionsOf(input).thinking ?? {}
  if (effort === 'none') return manners.off === null ? null : { thinking: { type: manners.off } }
  if (manners.thinks === 'adaptive') {
    const wanted = effort !== undefined || display !== undefined
    return {
      ...(wanted ? { thinking: { type: 'adaptive', display: display ?? 'summarized' } } : {}),
      ...(effort === undefined ? {} : { effort }),
    }
  }
  const wanted = told ?? (effort === undefined ? undefined : BUDGETS[effort])
  if (wanted === undefined) return {}
  const tokens = Math.min(wanted, limitOf(call) - LEAST_TOKENS)
  if (unprepared || tokens < LEAST_TOKENS) return null
  return { thinking: { type: 'enabled', budget_tokens: tokens, ...(display === undefined ? {} : { display }) } }
}

/** Whether this call thinks for sure, in which case it cannot be told how to sample. */
export const isThinking = (thinking: object | undefined): boolean =>
  thinking !== undefined && 'type' in thinking && thinking.type !== 'disabled'

/**
 * A thought as the provider signed it, or what stood between thoughts: a text by its length, a call of a tool by its turn.
 * Thoughts are taken back only unchanged and in their place
 * (https://platform.claude.com/docs/en/build-with-claude/thinking).
 */
export type Kept =
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'redacted_thinking'; data: string }
  | { type: 'text'; characters: number }
  | { type: 'tool_use' }

const isThought = ({ type }: Kept): boolean => type === 'thinking' || type === 'redacted_thinking'

/** What an assistant's message bears for the next turn: nothing where there was no thought, or more than may come back. */
export const keptContent = (card: ChatCard, blocks: readonly Kept[]): ExtraContent | undefined => {
  if (!blocks.some(isThought)) return undefined
  const anthropic = { model: card.model, blocks: [...blocks] }
  const bytes = new TextEncoder().encode(JSON.stringify(anthropic)).length
  return bytes <= LIMITS.extraContentBytes ? { anthropic } : undefined
}

/** The blocks that came with this message; none where another model had those thoughts. */
export const keptBlocks = (card: ChatCard, { extra_content }: AssistantMessage): Kept[] => {
  const kept = extra_content?.['anthropic']
  if (!kept || kept['model'] !== card.model || !Array.isArray(kept['blocks'])) return []
  const blocks = kept['blocks'].map(keptBlock)
  return blocks.every((block) => block !== null) ? blocks : []
}

const keptBlock = (value: unknown): Kept | null => {
  const { type, thinking, signature, data, characters } = recordOf(value) ?? {}
  if (type === 'thinking' && typeof thinking === 'string' && typeof signature === 'string')
    return { type, thinking, signature }
  if (type === 'redacted_thinking' && typeof data === 'string') return { type, data }
  if (type === 'text' && typeof characters === 'number' && Number.isSafeInteger(characters) && characters >= 0)
    return { type, characters }
  return type === 'tool_use' ? { type } : null
}
