import { drawPicture, flatPicture } from '../picture.ts'
import { hashText } from '../random.ts'
import { type GenerateBody, isImageModel, type Part } from './body.ts'
import type { Directives } from './directives.ts'
import type { State } from './state.ts'

/** Pixels at 1K, by shape. */
const sides: Record<string, readonly [number, number]> = {
  '1:1': [1024, 1024],
  '2:3': [832, 1248],
  '3:2': [1248, 832],
  '3:4': [864, 1184],
  '4:3': [1184, 864],
  '4:5': [896, 1152],
  '5:4': [1152, 896],
  '9:16': [768, 1344],
  '16:9': [1344, 768],
  '21:9': [1536, 672],
}
const scales: Record<string, number> = { '512': 0.5, '1K': 1, '2K': 2, '4K': 4 }
const tokensPerPicture: Record<string, number> = { '512': 747, '1K': 1_120, '2K': 1_680, '4K': 2_520 }

/** The parts of a picture: words where text was asked for too, and drafts, which are thoughts. Null where none is made. */
export function pictureFor(
  state: State,
  model: string,
  body: GenerateBody,
  directives: Directives,
  text: string,
): { part: Part; tokens: number }[] | null {
  if (!isImageModel(model)) return null
  if (/IMAGE|SAFETY/.test(directives.get('finish')?.[0] ?? '')) return []
  const { imageConfig = {}, responseModalities = ['TEXT', 'IMAGE'] } = body.generationConfig ?? {}
  const { aspectRatio = '1:1', imageSize = '1K' } = imageConfig
  const [width, height] = (sides[aspectRatio] ?? [1024, 1024]).map((side) => side * (scales[imageSize] ?? 1))
  const request = { prompt: text, seed: hashText(text), width: width ?? 1024, height: height ?? 1024 }
  const draw = state.settings.draw ? drawPicture : flatPicture
  const part = (): Part => ({ inlineData: { mimeType: 'image/png', data: draw(request).toString('base64') } })
  return [
    ...(responseModalities.includes('TEXT') ? [{ part: { text: 'Here you are: ' }, tokens: 0 }] : []),
    ...(directives.has('draft') ? [{ part: { ...part(), thought: true }, tokens: 0 }] : []),
    { part: part(), tokens: tokensPerPicture[imageSize] ?? 1_120 },
  ]
}
