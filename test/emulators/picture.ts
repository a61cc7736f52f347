import { Canvas, type Colour } from './picture/canvas.ts'
import { drawText, lineHeight, textWidth, wrapText } from './picture/font.ts'
import { encodeFlatPng, encodePng } from './picture/png.ts'
import { drawScene } from './picture/scene.ts'
import { hashText, seededRandom } from './random.ts'

export interface PictureRequest {
  prompt: string
  seed: number
  /** Pixels. */
  width: number
  height: number
  /** Leaves out the sky and the land behind the subject and keeps the alpha channel. */
  transparent?: boolean
}

/** Above this a picture is flat: drawing 4K and 8K pixel by pixel would hold the process for seconds. */
export const maxDrawnPixels = 2048 * 2048

const maxFlatPictures = 64
const flatPictures = new Map<string, Buffer>()

/** A PNG landscape that follows words in the prompt. The same request gives the same bytes. */
export function drawPicture(request: PictureRequest): Buffer {
  const { prompt, seed, width, height, transparent = false } = request
  if (width * height > maxDrawnPixels) return flatPicture(request)
  const canvas = new Canvas(width, height)
  const random = seededRandom(`${prompt} ${seed}`)
  drawScene(canvas, prompt.toLowerCase(), random, transparent)
  drawCaption(canvas, prompt)
  return encodePng(canvas.pixels, width, height, !transparent)
}

/** A one-colour PNG in the asked size, for runs that measure something else than drawing. */
export function flatPicture({ prompt, width, height, transparent = false }: PictureRequest): Buffer {
  const hue = hashText(prompt) % 8
  const key = `${width}x${height} ${transparent} ${hue}`
  const kept = flatPictures.get(key)
  if (kept) return kept
  const colour: Colour = [60 + hue * 20, 130, 220 - hue * 20]
  const made = encodeFlatPng(colour, width, height, transparent)
  if (flatPictures.size >= maxFlatPictures) flatPictures.delete(flatPictures.keys().next().value as string)
  flatPictures.set(key, made)
  return made
}

function drawCaption(canvas: Canvas, prompt: string): void {
  const scale = Math.max(1, Math.round(Math.min(canvas.width, canvas.height) / 480))
  const margin = scale * 6
  const lines = wrapText(prompt, Math.floor((canvas.width - margin * 2) / textWidth('x', scale)), 2)
  if (lines.length === 0) return
  const height = lines.length * lineHeight * scale + margin
  const top = canvas.height - height
  canvas.fillRectangle(0, top, canvas.width, height, [12, 14, 24], 0.45)
  lines.forEach((line, index) => {
    drawText(canvas, line, margin, top + margin / 2 + index * lineHeight * scale + scale, scale, [245, 242, 232])
  })
}
