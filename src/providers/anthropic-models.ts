import type { ReasoningEffort } from '../contract/chat.ts'
import type { ChatCard } from './dialect.ts'

/**
 * Anthropic's models: windows as https://platform.claude.com/docs/en/models/overview has them, what each takes as its
 * page of changes says (…/docs/en/models/opus-5-5/whats-new-opus-5-5 and its like). Ranks and times are our own estimates.
 */

/** How a model is told to think, and what it does not take. */
export type Manners = {
  /** `adaptive`: by `output_config.effort`. `budget`: by a number of tokens, and without any unless it is asked. */
  thinks: 'adaptive' | 'budget'
  /** What turns thinking off, as far as that can be; null for a model that always thinks. */
  off: 'disabled' | 'between_tools' | null
  /** Whether a call of a tool can be forced. */
  forcesTools: boolean
}

const EFFORTS: readonly ReasoningEffort[] = ['low', 'medium', 'high', 'xhigh', 'max']
const OR_NONE: readonly ReasoningEffort[] = ['none', ...EFFORTS]

type Window = readonly [contextTokens: number, maxOutputTokens: number]
type Rank = readonly [qualityRank: number, typicalMs: number]

const LONG: Window = [1_000_000, 128_000]

/** Structured outputs are of all models since 4.5; a JSON object without a schema is had by forcing a tool. */
const card = (
  model: string,
  [contextTokens, maxOutputTokens]: Window,
  reasoning: readonly ReasoningEffort[],
  [qualityRank, typicalMs]: Rank,
  { forcesTools, sampling = false }: { forcesTools: boolean; sampling?: boolean },
): ChatCard => ({
  model,
  contextTokens,
  maxOutputTokens,
  images: true,
  tools: true,
  jsonObject: forcesTools,
  jsonSchema: true,
  reasoning,
  sampling,
  logprobs: false,
  qualityRank,
  typicalMs,
})

const always = (forcesTools: boolean): Manners => ({ thinks: 'adaptive', off: null, forcesTools })
const adaptive: Manners = { thinks: 'adaptive', off: 'disabled', forcesTools: true }
const budget: Manners = { thinks: 'budget', off: 'disabled', forcesTools: true }

const MODELS: readonly (readonly [ChatCard, Manners])[] = [
  [card('claude-fable-5-2', LONG, EFFORTS, [5, 12_000], { forcesTools: false }), always(false)],
  [card('claude-fable-5-1', LONG, EFFORTS, [5, 15_000], { forcesTools: false }), always(false)],
  [card('claude-fable-5', LONG, EFFORTS, [5, 15_000], { forcesTools: true }), always(true)],
  [card('claude-opus-5-5', LONG, EFFORTS, [5, 8_000], { forcesTools: false }), always(false)],
  [card('claude-opus-5', LONG, OR_NONE, [5, 10_000], { forcesTools: true }), adaptive],
  [card('claude-opus-4-8', LONG, OR_NONE, [4, 8_000], { forcesTools: true }), adaptive],
  [
    card('claude-sonnet-5-5', LONG, OR_NONE, [4, 5_000], { forcesTools: false }),
    { thinks: 'adaptive', off: 'between_tools', forcesTools: false },
  ],
  [card('claude-sonnet-5', LONG, OR_NONE, [4, 6_000], { forcesTools: true }), adaptive],
  [
    card('claude-sonnet-4-6', [1_000_000, 64_000], ['none', 'low', 'medium', 'high', 'max'], [3, 6_000], {
      forcesTools: true,
      sampling: true,
    }),
    adaptive,
  ],
  [
    card('claude-sonnet-4-5', [200_000, 64_000], ['none', 'low', 'medium', 'high'], [3, 6_000], {
      forcesTools: true,
      sampling: true,
    }),
    budget,
  ],
  [card('claude-haiku-5-5', LONG, OR_NONE, [3, 2_000], { forcesTools: true }), adaptive],
  [
    card('claude-haiku-4-5', [200_000, 64_000], ['none', 'low', 'medium', 'high'], [2, 3_000], {
      forcesTools: true,
      sampling: true,
    }),
    budget,
  ],
]

export const ANTHROPIC_CHAT_MODELS: readonly ChatCard[] = MODELS.map(([known]) => known)

const MANNERS: ReadonlyMap<string, Manners> = new Map(MODELS.map(([{ model }, manners]) => [model, manners]))

/** Of a model that stands in no list: of the newest. */
export const mannersOf = ({ model }: ChatCard): Manners => MANNERS.get(model) ?? always(false)
