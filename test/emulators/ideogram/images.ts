import { createHmac, timingSafeEqual } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { numberOf } from '../base/directives.ts'
import { failsAtFirst } from '../base/jobs/faults.ts'
import { sendPicture } from '../base/jobs/picture.ts'
import { type Exchange, sendJson } from '../base/wire.ts'
import { convertPicture } from '../picture/formats.ts'
import { drawPicture, flatPicture, type PictureRequest } from '../picture.ts'
import { refusal } from './faults.ts'
import type { Generation, Image } from './ledger.ts'
import type { State } from './state.ts'

const pathPattern = /^\/api\/images\/ephemeral\/([\w-]+)\.png$/

/** The signed URL of an image, of the form the provider gives: `…/ephemeral/<id>.png?exp=<unix seconds>&sig=<hex>`. */
export function imageUrl(state: State, image: Image): string {
  const expires = image.generation.urlsExpireAt
  return `${state.url}/api/images/ephemeral/${image.id}.png?exp=${expires}&sig=${signature(state, image.id, expires)}`
}

/** Serves `GET /api/images/ephemeral/…`: 403 for a bad signature or after expiry, 404 for an image no longer kept. */
export async function serveImage(state: State, { response, url }: Exchange): Promise<void> {
  const id = pathPattern.exec(url.pathname)?.[1] ?? ''
  const expires = url.searchParams.get('exp') ?? ''
  const given = Buffer.from(url.searchParams.get('sig') ?? '')
  const wanted = Buffer.from(signature(state, id, expires))
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    return void (await sendJson(response, 403, { error: 'Invalid signature.' }))
  }
  if (state.now() >= Number(expires) * 1000) return void (await sendJson(response, 403, { error: 'URL has expired.' }))
  const image = state.ledger.images.get(id)
  if (!image) return void (await sendJson(response, 404, { error: 'Image not found.' }))
  image.downloads += 1
  image.generation.record.downloads += 1
  state.ledger.totals.downloads += 1
  await sendImage(state, image, response)
}

async function sendImage(state: State, image: Image, response: ServerResponse): Promise<void> {
  const { faults } = image.generation
  await state.wait(numberOf(faults, 'slow_image', 0, 0))
  const failed = failsAtFirst(faults, 'image_fail', image.downloads)
  if (failed !== undefined) {
    const { status, body } = refusal(failed, undefined, 0)
    return void (await sendJson(response, status, body))
  }
  const format = faults.get('image_format')?.[0] ?? 'png'
  await sendPicture(response, faults, `image/${format}`, () => spoil(image, paint(state, image)))
}

function paint(state: State, image: Image): Buffer {
  const generation: Generation = image.generation
  const request: PictureRequest = {
    prompt: generation.text,
    seed: image.seed,
    transparent: generation.transparent,
    ...generation.size,
  }
  const [width = '', height = ''] = generation.faults.get('wrong_size')?.[0]?.split('x') ?? []
  if (width && height) Object.assign(request, { width: Number(width), height: Number(height) })
  if (isBlank(image)) return flatPicture(request)
  return state.settings.draw ? drawPicture(request) : flatPicture(request)
}

/** `blank_image` makes all pictures of a generation blank, `blank_image:2` only the second. */
function isBlank({ generation, ...image }: Image): boolean {
  const [which] = generation.faults.get('blank_image') ?? ['none']
  return which === undefined || generation.images[Number(which) - 1]?.id === image.id
}

/** `corrupt_image:n` damages the first n downloads only, as a bad transfer would. */
async function spoil({ generation, downloads }: Image, png: Buffer): Promise<Buffer> {
  const format = generation.faults.get('image_format')?.[0]
  const made = format === 'jpeg' || format === 'webp' ? await convertPicture(png, format) : png
  if (!generation.faults.has('corrupt_image')) return made
  if (downloads > numberOf(generation.faults, 'corrupt_image', 0, Number.POSITIVE_INFINITY)) return made
  const damaged = Buffer.from(made)
  damaged.fill(0, Math.floor(made.length * 0.4), Math.floor(made.length * 0.6))
  return damaged
}

function signature(state: State, id: string, expires: number | string): string {
  return createHmac('sha256', state.urlSecret).update(`${id}.png?exp=${expires}`).digest('hex')
}
