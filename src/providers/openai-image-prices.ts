import type { OpenAiImageRequest } from './openai-image-request.ts'

/**
 * What OpenAI's pictures cost before their tokens are known, in millionths of a US dollar: its estimates per picture of
 * 2026-11-20, and five dollars a million tokens of prompt. Where quality or size is the provider's choice, the dearest.
 * gpt-image-2 makes any size, so there is no list for it.
 */
const MICROS_PER_IMAGE: Record<string, Record<string, Record<'low' | 'medium' | 'high', number>>> = {
  'gpt-image-1.5': {
    '1024x1024': { low: 8_700, medium: 33_800, high: 133_100 },
    '1024x1536': { low: 13_100, medium: 50_700, high: 199_700 },
    '1536x1024': { low: 12_800, medium: 50_200, high: 198_700 },
  },
  'gpt-image-1-mini': {
    '1024x1024': { low: 2_200, medium: 8_400, high: 33_300 },
  },
}

const MICROS_PER_PROMPT_TOKEN = 5

export const listedImageMicros = ({ model, size, quality, images, body }: OpenAiImageRequest): number | null => {
  const sizes = MICROS_PER_IMAGE[model]
  if (!sizes) return null
  // The list knows the wide sizes of the larger model alone.
  if (size === 'auto' && Object.keys(sizes).length < 3) return null
  const listed = size === 'auto' ? Object.values(sizes) : [sizes[size]]
  const each = listed.map((row) => row?.[quality === 'auto' ? 'high' : quality])
  if (each.some((micros) => micros === undefined)) return null
  // A character is a token at most.
  return (
    Math.max(...each.map((micros) => micros ?? 0)) * images + String(body['prompt']).length * MICROS_PER_PROMPT_TOKEN
  )
}
