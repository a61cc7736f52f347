import type { ChatInput } from '../contract/chat.ts'
import { DECIDING_FIELDS, type Flavor, LEANING_FIELDS } from './chat-flavor.ts'
import type { TextProvider } from './dialect.ts'
import { bearerOf, chatDialect } from './openai-chat.ts'
import { embedDialect } from './openai-embeddings.ts'
import { OPENAI_CHAT_MODELS, OPENAI_EMBED_MODELS } from './openai-models.ts'

const flavor: Flavor = {
  id: 'openai',
  name: 'OpenAI',
  reach: ({ baseUrl, secret }) => ({ root: baseUrl, headers: bearerOf(secret) }),
  limitField: 'max_completion_tokens',
  developerRole: true,
  takes: new Set<keyof ChatInput>([...DECIDING_FIELDS, ...LEANING_FIELDS]),
  // Web search and audio are billed in ways that no usage tells.
  nativeFields: new Set(['moderation']),
  strictTerminator: true,
  // Undocumented: longer ones are answered with `string_above_max_length`.
  callIdCharacters: 40,
}

/** OpenAI's chats and embeddings. Limits are by account and tier, so none is assumed but what one Worker can hold open. */
export const openAiText: TextProvider = {
  id: 'openai',
  title: 'OpenAI',
  // With the version, as the official client has it.
  defaultBaseUrl: 'https://api.openai.com/v1',
  defaultLimits: { concurrency: 200 },
  // https://platform.openai.com/docs/guides/rate-limits: by organization, project and model.
  countsBy: 'model',
  needsSecret: true,
  chat: chatDialect(flavor),
  embed: embedDialect(flavor, { base64: true, user: true }),
  chatModels: OPENAI_CHAT_MODELS,
  embedModels: OPENAI_EMBED_MODELS,
  unlisted: null,
}
