import { createHash } from 'node:crypto'
import { failsAtFirst, isPollCut } from '../base/jobs/faults.ts'
import { type Exchange, sendJson } from '../base/wire.ts'
import { refusal } from './faults.ts'
import { imageUrl } from './images.ts'
import type { Generation } from './ledger.ts'
import type { State } from './state.ts'

interface ImageObject {
  url: string | null
  prompt: string
  resolution: string
  is_image_safe: boolean
  seed: number
  style_type?: string
}

/** The body of a finished synchronous generation; v1 and v2 differ in what stands around the images. */
export function answerBody(state: State, generation: Generation): { data: ImageObject[]; [field: string]: unknown } {
  const { record } = generation
  const data = imageObjects(state, generation)
  if (record.api === 'v1') return { created: new Date(record.acceptedAt).toISOString(), data }
  return { generation_id: record.id, seed: record.seed, data }
}

/** The body that acknowledges an asynchronous generation. */
export function acceptanceBody({ record }: Generation): Record<string, unknown> {
  return { generation_id: record.id, seed: record.seed }
}

/** Answers `GET /v2/generations/{id}`: 404 for an id that is unknown or belongs to another key. */
export async function poll(state: State, { request, response }: Exchange, id: string, apiKey: string): Promise<void> {
  state.ledger.totals.polls += 1
  const generation = state.ledger.generations.get(id)
  if (!generation || generation.apiKey !== apiKey) {
    return void (await sendJson(response, 404, { error: 'Generation not found.' }))
  }
  const { faults, record } = generation
  record.polls += 1
  if (isPollCut(faults, record.polls)) return void request.socket.destroy()
  const failed = failsAtFirst(faults, 'poll_fail', record.polls)
  if (failed !== undefined) {
    const why = refusal(failed, undefined, state.settings.maxInflight)
    return void (await sendJson(response, why.status, why.body))
  }
  await sendJson(response, 200, {
    generation_id: record.id,
    status: record.status,
    created: new Date(record.acceptedAt).toISOString(),
    response_type: 'url',
    ...(record.status === 'pending' ? {} : { usage_cost_usd_micros: record.costUsdMicros }),
    failure_reason: generation.failureReason,
    ...(record.status === 'completed' ? { data: imageObjects(state, generation) } : {}),
  })
}

/** A stable id for the owner of a key, as webhooks carry. */
export function userIdOf(apiKey: string): string {
  return createHash('sha256').update(apiKey).digest('base64url').slice(0, 22)
}

function imageObjects(state: State, generation: Generation): ImageObject[] {
  const safe = !generation.faults.has('unsafe')
  return generation.images.map((image) => ({
    url: safe ? imageUrl(state, image) : null,
    prompt: generation.text,
    resolution: `${generation.size.width}x${generation.size.height}`,
    is_image_safe: safe,
    seed: image.seed,
    ...(generation.styleType === null ? {} : { style_type: generation.styleType }),
  }))
}
