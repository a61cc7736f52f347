import type { IdeogramRequest } from './ideogram-request.ts'

/**
 * What Ideogram lists for one image, in millionths of a US dollar, as of 2026-11-20. The defaults are the provider's own
 * price quotes of 2026-10-10 (docs/PRICES-2026-10-10.md of qmediat/ideogram-mcp); turbo and quality are third-party
 * (developer.puter.com, June 2026). A call outside this table is asked for with a quote.
 */
const MICROS_PER_IMAGE: Record<string, Record<string, number>> = {
  'ideogram-3': { turbo: 30_000, default: 60_000, quality: 90_000 },
  'ideogram-4': { turbo: 30_000, default: 60_000, quality: 100_000 },
}
const MICROS_PER_IMAGE_4_5 = 100_000

/** For all images of the request, or null where the list does not say. Pure. */
export const listedMicros = ({ model, body, images }: IdeogramRequest): number | null => {
  if (model === 'ideogram-4-5') {
    // Listed only as it comes: high quality, a size of its own choice, no source images.
    const plain = (body.quality ?? 'high') === 'high' && (body.size ?? 'auto') === 'auto'
    return plain && body.image_asset_identifiers === undefined ? MICROS_PER_IMAGE_4_5 * images : null
  }
  // A trained model of one's own is priced apart.
  if (body.custom_model_uri !== undefined) return null
  const each = MICROS_PER_IMAGE[model]?.[String(body.rendering_speed ?? 'default').toLowerCase()]
  return each === undefined ? null : each * images
}
