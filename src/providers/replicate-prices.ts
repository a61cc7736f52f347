/**
 * What Replicate lists for one output image, in millionths of a US dollar, as of 2026-11-20. Official models are priced
 * per output, so a prediction that fails costs nothing. The first two are third-party (workflowlab.dev, May 2026); the
 * other three are remembered and were not confirmed.
 */
const MICROS_PER_IMAGE: Record<string, number> = {
  'black-forest-labs/flux-schnell': 3_000,
  'black-forest-labs/flux-dev': 25_000,
  'black-forest-labs/flux-1.1-pro': 40_000,
  'black-forest-labs/flux-1.1-pro-ultra': 60_000,
  'ideogram-ai/ideogram-v3-turbo': 30_000,
}

/** Of one image, or null where no list knows it. Pure. */
export const listedMicrosPerImage = (model: string): number | null =>
  Object.hasOwn(MICROS_PER_IMAGE, model) ? (MICROS_PER_IMAGE[model] ?? null) : null
