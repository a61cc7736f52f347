import type { ImageArtifact } from '../contract/image.ts'
import type { Assignment } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { fetchFile } from '../providers/fetch-file.ts'
import type { GeneratedImage } from '../providers/provider.ts'
import { type ArtifactPlace, type ArtifactSource, storeImage } from '../storage/artifacts.ts'
import { fromBase64 } from '../storage/digest.ts'
import type { Tools } from './attempt.ts'

export type Stored = { ok: true; image: ImageArtifact } | { ok: false; message: string; retryable: boolean }

/** Fetches a generated image, for its URL expires, and stores it. */
export const storeGenerated = async (
  tools: Tools,
  place: ArtifactPlace,
  image: GeneratedImage & { safe: true },
  assignment: Assignment,
): Promise<Stored> => {
  const source = await open(image, tools)
  if ('message' in source) return { ok: false, ...source }
  const stored = await storeImage(tools.artifacts, place, source, {
    model: assignment.model,
    requestId: assignment.requestId,
    seed: image.seed,
  })
  if (!stored.ok)
    return {
      ok: false,
      message: `Image ${place.index + 1} was not stored: ${stored.message}.`,
      retryable: stored.retryable,
    }
  return { ok: true, image: { ...stored.image, seed: image.seed, safe: true } }
}

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
