import { numberOf } from '../ideogram/faults.ts'
import { type Exchange, sendBytes, sendJson } from '../ideogram/state.ts'
import { drawPicture, flatPicture } from '../picture.ts'
import type { OutputFile } from './ledger.ts'
import { notFound, problemOf } from './problems.ts'
import type { State } from './state.ts'

const pathPattern = /^\/delivery\/xezq\/([\w-]+)\/out-\d+\.png$/

/**
 * Stands for `https://replicate.delivery/xezq/<token>/out-0.webp`. Pictures are PNG whatever format was asked for, and
 * say so.
 */
export function fileUrl(state: State, { id, index }: OutputFile): string {
  return `${state.url}/delivery/xezq/${id}/out-${index}.png`
}

/** The picture as a data URI, as answers to `Prefer: wait` have been recorded. */
export function dataUri(state: State, file: OutputFile): string {
  return `data:image/png;base64,${pictureOf(state, file).toString('base64')}`
}

/** Serves a file without credentials, as the delivery host does; 404 once it is removed. */
export async function serveFile(state: State, { response, url }: Exchange): Promise<void> {
  const file = state.ledger.files.get(pathPattern.exec(url.pathname)?.[1] ?? '')
  const { faults, record } = file?.prediction ?? {}
  const endedAt = record?.completedAt ?? null
  const kept = endedAt !== null && !faults?.has('expired') && state.now() < endedAt + state.settings.urlLifetimeMs
  if (!file || !record || !faults || !kept) return void (await sendJson(response, 404, notFound.body))
  file.downloads += 1
  record.downloads += 1
  state.ledger.totals.downloads += 1
  await state.wait(numberOf(faults, 'slow_image', 0, 0))
  if (faults.has('image_fail') && file.downloads <= numberOf(faults, 'image_fail', 1, 1)) {
    const { status, body } = problemOf(numberOf(faults, 'image_fail', 0, 500))
    return void (await sendJson(response, status, body))
  }
  await sendFile(state, file, response)
}

async function sendFile(state: State, file: OutputFile, response: Exchange['response']): Promise<void> {
  const { faults } = file.prediction
  const target = faults.get('redirect')?.join(':')
  if (target) return void (await sendBytes(response, 302, Buffer.alloc(0), { location: target }))
  const whole = faults.has('bad_image') ? Buffer.from('this is not an image') : pictureOf(state, file)
  const half = whole.subarray(0, Math.floor(whole.length / 2))
  const headers = { 'content-type': faults.has('wrong_type') ? 'text/html' : 'image/png' }
  if (faults.has('truncated_image')) {
    response.writeHead(200, { ...headers, 'content-length': String(whole.length) })
    response.write(half, () => response.destroy())
    return
  }
  if (faults.has('no_length')) {
    response.writeHead(200, { ...headers, 'transfer-encoding': 'chunked' })
    response.write(half)
    response.end(whole.subarray(half.length))
    return
  }
  await sendBytes(response, 200, faults.has('short_image') ? half : whole, headers)
}

function pictureOf(state: State, { prediction, index }: OutputFile): Buffer {
  const request = { prompt: prediction.text, seed: prediction.seed + index, ...prediction.size }
  return state.settings.draw ? drawPicture(request) : flatPicture(request)
}
