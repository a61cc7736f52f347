import type { ImageInput } from '../contract/image.ts'
import { findModel } from '../providers/registry.ts'

/** What one attempt on `provider/model` is expected to cost, in micros; null where nobody knows. The one place to ask. */
export const estimateMicros = (model: string, input: ImageInput): number | null => {
  const found = findModel(model)
  return found ? found.provider.listedPriceMicros(found.card.model, input) : null
}
