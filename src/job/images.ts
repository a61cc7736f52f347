import { providerIdOf } from '../contract/ids.ts'
import type { ImageArtifact, ImageInput } from '../contract/image.ts'
import type { Assignment } from '../contract/rpc.ts'
import { type ImageProblem, wantedChecks } from '../core/image-checks.ts'
import { LIMITS } from '../limits.ts'
import { fetchFile } from '../providers/fetch-file.ts'
import type { GeneratedImage } from '../providers/provider.ts'
import { type ArtifactMeta, type ArtifactPlace, type ArtifactSource, storeImage } from '../storage/artifacts.ts'
import { fromBase64, sha256Hex } from '../storage/digest.ts'
import type { Tools } from './attempt.ts'
import { examineImage, holdImage, type Order } from './checked-image.ts'

/** `retryable`: storing again may help. `suspect` is then the digest of the bytes that were bad, where the bytes were. */
export type Stored =
  | { ok: true; image: ImageArtifact }
  | { ok: false; code: ImageProblem['code']; message: string; param?: string; retryable: boolean; suspect?: string }

/**
 * Fetches a generated image, for its URL expires, and stores it. Where the job wants it checked it is held in memory, else
 * it streams. `suspect` is the digest of what an earlier attempt found bad.
 */
export const storeGenerated = async (
  tools: Tools,
  place: ArtifactPlace,
  image: GeneratedImage & { safe: true },
  assignment: Assignment,
  suspect?: string,
): Promise<Stored> => {
  const input = JSON.parse(assignment.input) as ImageInput
  const checks = wantedChecks(input)
  if (checks) {
    const order = { checks, input, provider: providerIdOf(assignment.model) }
    return tools.checking.pass(() => storeChecked(tools, place, image, assignment, order, suspect))
  }
  const source = await open(image, tools)
  if ('message' in source) return { ok: false, code: 'artifact_failed', ...source }
  const stored = await storeImage(tools.artifacts, place, source, metaOf(assignment, image))
  if (!stored.ok) return notStored(place, stored.message, stored.retryable)
  return { ok: true, image: { ...stored.image, seed: image.seed, safe: true } }
}

const storeChecked = async (
  tools: Tools,
  place: ArtifactPlace,
  image: GeneratedImage & { safe: true },
  assignment: Assignment,
  order: Order,
  suspect: string | undefined,
): Promise<Stored> => {
  const source = await open(image, tools)
  if ('message' in source) return { ok: false, code: 'artifact_failed', ...source }
  const held = await holdImage(source)
  if (!held.ok) return notStored(place, held.message, held.retryable)
  /** A transfer may have spoilt the bytes: they are fetched once more, and believed when they come again. */
  const spoilt = async (message: string): Promise<Stored> => {
    const digest = await sha256Hex(held.bytes)
    const isWorthAnother = 'url' in image.source && digest !== suspect
    return { ...notStored(place, message, isWorthAnother), ...(isWorthAnother ? { suspect: digest } : {}) }
  }
  const examined = await examineImage(held.bytes, order)
  if (!examined.ok && !examined.isFinal) return spoilt(examined.problem.message)
  if (!examined.ok) {
    const { code, message, param } = examined.problem
    return { ...notStored(place, message, false), code, ...(param ? { param } : {}) }
  }
  const stored = await storeImage(tools.artifacts, place, { bytes: held.bytes }, metaOf(assignment, image))
  if (!stored.ok && stored.reason !== 'storage') return spoilt(stored.message)
  if (!stored.ok) return notStored(place, stored.message, stored.retryable)
  return { ok: true, image: { ...stored.image, seed: image.seed, safe: true, checks: examined.results } }
}

const metaOf = (assignment: Assignment, image: GeneratedImage): ArtifactMeta => ({
  model: assignment.model,
  requestId: assignment.requestId,
  seed: image.seed,
})

const notStored = (place: ArtifactPlace, message: string, retryable: boolean): Extract<Stored, { ok: false }> => ({
  ok: false,
  code: 'artifact_failed',
  message: `Image ${place.index + 1} was not stored: ${message}.`,
  retryable,
})

const open = async (
  image: GeneratedImage & { safe: true },
  tools: Tools,
): Promise<ArtifactSource | { message: string; retryable: boolean }> => {
  if ('base64' in image.source) {
    const bytes = fromBase64(image.source.base64)
    return bytes ? { bytes } : { message: 'The provider sent an image that is not base64.', retryable: false }
  }
  const file = await fetchFile(image.source.url, {
    allowPrivate: tools.allowPrivate,
    signal: tools.signal,
    timeoutMs: LIMITS.artifactFetchTimeoutMs,
  })
  return file.kind === 'file' ? file : { message: file.message, retryable: file.retryable }
}
