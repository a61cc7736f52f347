import { numberOf } from '../base/directives.ts'
import { failsAtFirst } from '../base/jobs/faults.ts'
import { sendPicture } from '../base/jobs/picture.ts'
import { type Exchange, sendJson } from '../base/wire.ts'
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
  const failed = failsAtFirst(faults, 'image_fail', file.downloads)
  if (failed !== undefined) return void (await sendJson(response, failed, problemOf(failed).body))
  await sendPicture(response, faults, 'image/png', () => pictureOf(state, file))
}

function pictureOf(state: State, { prediction, index }: OutputFile): Buffer {
  const request = { prompt: prediction.text, seed: prediction.seed + index, ...prediction.size }
  return state.settings.draw ? drawPicture(request) : flatPicture(request)
}
