import { numberOf } from '../base/directives.ts'
import { drawPicture, flatPicture } from '../picture.ts'
import { hashText } from '../random.ts'
import { readDirectives } from './directives.ts'
import { accept } from './intake.ts'
import { problem, turnAway } from './problems.ts'
import type { Exchange, State } from './state.ts'
import { tokensOf } from './tokens.ts'
import { endAnswer } from './wire.ts'

export interface ImageBody {
  model?: string
  prompt: string
  n?: number
  size?: string
  quality?: string
  background?: string
  output_format?: string
  stream?: boolean
}

/** Output tokens of a picture of one megapixel. */
const tokensPerPicture: Record<string, number> = { low: 272, medium: 1_056, high: 4_160 }

/** `POST /images/generations` of the GPT image models: pictures in base64, never links. Always PNG, whatever was asked. */
export async function generateImages(state: State, exchange: Exchange, body: ImageBody): Promise<void> {
  const refuse = (param: string, message: string) =>
    turnAway(state, exchange, problem(400, 'invalid_value', message, param))
  if (body.stream) return refuse('stream', 'The emulator streams no pictures.')
  if (body.prompt.length > 32_000) return refuse('prompt', 'The prompt is too long.')
  const size = body.size === undefined || body.size === 'auto' ? '1024x1024' : body.size
  const [width = 0, height = 0] = /^\d+x\d+$/.test(size) ? size.split('x').map(Number) : []
  if (!sizeFits(body.model ?? '', size, width, height)) return refuse('size', `Invalid size '${size}'.`)
  const quality = body.quality === undefined || body.quality === 'auto' ? 'medium' : body.quality
  const count = body.n ?? 1
  const { text, directives } = readDirectives(body.prompt)
  const promptTokens = tokensOf(text)
  const accepted = await accept(state, exchange, {
    kind: 'image',
    model: body.model ?? 'gpt-image-1.5',
    stream: false,
    text: body.prompt,
    tokens: promptTokens,
  })
  if (!accepted) return
  const each = Math.round(((tokensPerPicture[quality] ?? 1_056) * width * height) / (1_024 * 1_024))
  accepted.record.images = directives.has('unsafe') ? 0 : count
  accepted.record.tokens = {
    prompt: promptTokens,
    cached: 0,
    written: 0,
    completion: each * count,
    reasoning: numberOf(directives, 'reasoning', 0, 0),
  }
  accepted.record.usageTold = true
  const picture = (at: number) =>
    (state.settings.draw ? drawPicture : flatPicture)({
      prompt: text,
      seed: hashText(text) + at,
      width,
      height,
      transparent: body.background === 'transparent',
    })
  const usage = {
    input_tokens: promptTokens,
    input_tokens_details: { text_tokens: promptTokens, image_tokens: 0 },
    output_tokens: each * count,
    output_tokens_details: { image_tokens: each * count, text_tokens: 0 },
    total_tokens: promptTokens + each * count,
  }
  const answer = {
    created: accepted.createdAt,
    background: body.background === 'transparent' ? 'transparent' : 'opaque',
    output_format: 'png',
    quality,
    size,
    data: Array.from({ length: count }, (_, at) => ({ b64_json: picture(at).toString('base64') })),
    ...(directives.has('no_usage') ? {} : { usage }),
  }
  await endAnswer(state, exchange, accepted, JSON.stringify(answer))
}

const threeSizes = ['1024x1024', '1536x1024', '1024x1536']

function sizeFits(model: string, size: string, width: number, height: number): boolean {
  if (threeSizes.includes(size)) return true
  const free = /^gpt-image-2/.test(model)
  const stepped = width % 16 === 0 && height % 16 === 0 && width > 0 && height > 0
  return free && stepped && Math.max(width, height) <= 3_840 && Math.max(width / height, height / width) <= 3
}
