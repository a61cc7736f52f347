import { type Usage, usageOf } from '../contract/usage.ts'
import { recordOf } from './openai-usage.ts'

/**
 * `usageMetadata` (https://ai.google.dev/api/generate-content#UsageMetadata) to the neutral record, or null where there is
 * none to be read. Thoughts stand beside the candidates' tokens, and what tools of the provider's put into the prompt stands
 * beside the prompt's; both are added. Should a total show that the thoughts were inside after all, they are not. Counts that
 * are no counts are none; parts larger than their total are cut to it.
 */
export const geminiUsage = (value: unknown): Usage | null => {
  const usage = recordOf(value)
  if (!usage) return null
  const prompt = countOf(usage['promptTokenCount'])
  const candidates = countOf(usage['candidatesTokenCount'])
  if (prompt === null && candidates === null) return null
  const inputTokens = (prompt ?? 0) + (countOf(usage['toolUsePromptTokenCount']) ?? 0)
  const thoughts = countOf(usage['thoughtsTokenCount']) ?? 0
  const isInside = countOf(usage['totalTokenCount']) === inputTokens + (candidates ?? 0)
  const outputTokens = (candidates ?? 0) + (isInside ? 0 : thoughts)
  const read = (modality: string) =>
    modalityTokens(usage['promptTokensDetails'], modality) +
    modalityTokens(usage['toolUsePromptTokensDetails'], modality)
  const written = (modality: string) => modalityTokens(usage['candidatesTokensDetails'], modality)
  const cached = Math.min(countOf(usage['cachedContentTokenCount']) ?? 0, inputTokens)
  const images = Math.min(read('IMAGE'), inputTokens)
  const sound = Math.min(read('AUDIO'), inputTokens - images)
  // What does not fit beside the cached was cached itself, also where no details say so.
  const both = cached + images + sound - inputTokens
  const keptSound = Math.min(modalityTokens(usage['cacheTokensDetails'], 'AUDIO'), sound)
  const keptImages = Math.max(modalityTokens(usage['cacheTokensDetails'], 'IMAGE'), both - keptSound)
  const cachedImages = Math.min(keptImages, images, cached)
  const cachedSound = Math.min(Math.max(keptSound, both - cachedImages), sound, cached - cachedImages)
  return usageOf({
    inputTokens,
    cachedInputTokens: cached,
    imageInputTokens: images,
    audioInputTokens: sound,
    ...(cachedImages > 0 ? { cachedImageInputTokens: cachedImages } : {}),
    ...(cachedSound > 0 ? { cachedAudioInputTokens: cachedSound } : {}),
    outputTokens,
    reasoningTokens: Math.min(thoughts, outputTokens),
    imageOutputTokens: Math.min(written('IMAGE'), outputTokens),
    audioOutputTokens: Math.min(written('AUDIO'), outputTokens),
  })
}

/** Which tier served, in OpenAI's words; null where nothing says. */
export const geminiTier = (value: unknown): string | null => {
  const tier = recordOf(value)?.['serviceTier']
  return tier === 'standard' ? 'default' : tier === 'flex' || tier === 'priority' ? tier : null
}

const modalityTokens = (details: unknown, modality: string): number => {
  let tokens = 0
  for (const item of Array.isArray(details) ? details : []) {
    if (item?.modality === modality) tokens += countOf(item.tokenCount) ?? 0
  }
  return tokens
}

export const countOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
