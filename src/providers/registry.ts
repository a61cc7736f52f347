import { gemini } from './gemini-images.ts'
import { ideogram } from './ideogram.ts'
import { openAi } from './openai-images.ts'
import type { ModelCard, Provider } from './provider.ts'
import { replicate } from './replicate.ts'

/** Every provider that jobs may name. A new one adds its line here. */
export const PROVIDERS: Provider[] = [ideogram, replicate, openAi, gemini]

export const providerOf = (id: string): Provider | null => PROVIDERS.find((provider) => provider.id === id) ?? null

export type FoundModel = { provider: Provider; card: ModelCard }

/** By the name a job uses, `ideogram/ideogram-3`; a model's own name may hold slashes. */
export const findModel = (name: string): FoundModel | null => {
  const slash = name.indexOf('/')
  const provider = slash < 0 ? null : providerOf(name.slice(0, slash))
  const card = provider?.models.find(({ model }) => model === name.slice(slash + 1))
  return provider && card ? { provider, card } : null
}

/** In the order of the registry. */
export const modelsFor = (type: string): FoundModel[] =>
  PROVIDERS.flatMap((provider) =>
    provider.models.filter(({ types }) => types.some((known) => known === type)).map((card) => ({ provider, card })),
  )
