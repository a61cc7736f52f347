import { LIMITS } from '../limits.ts'
import { decodeChat } from './anthropic-answer.ts'
import { ANTHROPIC_CHAT_MODELS } from './anthropic-models.ts'
import { anthropicRate } from './anthropic-rate.ts'
import { encodeChat, refusesChat } from './anthropic-request.ts'
import { openChatStream } from './anthropic-stream.ts'
import type { TextProvider } from './dialect.ts'

/**
 * Anthropic's `POST /v1/messages` (https://platform.claude.com/docs/en/api/messages), in both versions that are in use.
 * Limits are by account, tier and model, so none is assumed but what one Worker can hold open.
 */
export const anthropicText: TextProvider = {
  id: 'anthropic',
  title: 'Anthropic',
  defaultBaseUrl: 'https://api.anthropic.com',
  defaultLimits: { concurrency: 200 },
  // https://platform.claude.com/docs/en/api/rate-limits: by organization and model.
  countsBy: 'model',
  needsSecret: true,
  chat: {
    refuses: refusesChat,
    encode: encodeChat,
    decode: decodeChat,
    openStream: openChatStream,
    rate: anthropicRate,
  },
  wholeAnswerTokens: LIMITS.wholeAnswerTokens,
  embed: null,
  chatModels: ANTHROPIC_CHAT_MODELS,
  embedModels: [],
  unlisted: null,
}
