import type { IdeogramRequest } from './ideogram-request.ts'
import type { Expected } from './provider.ts'

/** How Ideogram's price list names a request: by model and speed. What it does not list is asked for with a quote. */
export const ideogramExpects = ({ model, body, images }: IdeogramRequest): Expected | null => {
  const usage = { images }
  // What `auto` picks is known afterwards; a trained model of one's own is priced apart.
  if (model === 'auto' || body.custom_model_uri !== undefined) return null
  if (model !== 'ideogram-4-5') {
    return { price: `${model}/${String(body.rendering_speed ?? 'default').toLowerCase()}`, usage }
  }
  // Listed only as it comes: high quality, a size of its own choice, no source images.
  if ((body.size ?? 'auto') !== 'auto' || body.image_asset_identifiers !== undefined) return null
  const quality = String(body.quality ?? 'high')
  return { price: quality === 'high' ? model : `${model}/${quality}`, usage }
}
