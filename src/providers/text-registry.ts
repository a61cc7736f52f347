import { anthropicText } from './anthropic-text.ts'
import type { ChatCard, EmbedCard, TextProvider } from './dialect.ts'
import { geminiText } from './gemini-text.ts'
import { LOCAL_SERVERS } from './local-servers.ts'
import { openAiText } from './openai-text.ts'
import { workersAi } from './workers-ai.ts'

/** Every provider of text. A new one adds its line here. */
export const TEXT_PROVIDERS: readonly TextProvider[] = [
  openAiText,
  anthropicText,
  geminiText,
  workersAi,
  ...LOCAL_SERVERS,
]

export const textProviderOf = (id: string): TextProvider | null =>
  TEXT_PROVIDERS.find((provider) => provider.id === id) ?? null

/** By the name a request uses, `openai/gpt-5-mini`; a model's own name may hold slashes. */
export const findChatModel = (name: string): { provider: TextProvider; card: ChatCard } | null => {
  const { provider, model } = split(name)
  if (!provider?.chat || model === '') return null
  const card = provider.chatModels.find((known) => known.model === model) ?? provider.unlisted?.chat(model)
  return card ? { provider, card } : null
}

export const findEmbedModel = (name: string): { provider: TextProvider; card: EmbedCard } | null => {
  const { provider, model } = split(name)
  if (!provider?.embed || model === '') return null
  const card = provider.embedModels.find((known) => known.model === model) ?? provider.unlisted?.embed(model)
  return card ? { provider, card } : null
}

const split = (name: string): { provider: TextProvider | null; model: string } => {
  const slash = name.indexOf('/')
  return slash < 0
    ? { provider: null, model: '' }
    : { provider: textProviderOf(name.slice(0, slash)), model: name.slice(slash + 1) }
}
