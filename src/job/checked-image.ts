import type { CheckResults, ImageInput, NamedChecks } from '../contract/image.ts'
import { isBlank } from '../core/blank.ts'
import { type ImageProblem, problemOf, resultsOf, wantsPixels } from '../core/image-checks.ts'
import { looksLikeImage, readImageHeader } from '../core/image-header.ts'
import { LIMITS } from '../limits.ts'
import type { ArtifactSource } from '../storage/artifacts.ts'
import { type Head, join, openIncoming, readHead } from '../storage/incoming.ts'
import { decodeImage } from './decode.ts'

/** What a job asks of its pictures, and whose they are. */
export type Order = { checks: NamedChecks; input: ImageInput; provider: string }

export type Held = { ok: true; bytes: Uint8Array } | { ok: false; message: string; retryable: boolean }

/** Reads a picture into memory, within `LIMITS.checkedBytes`. */
export const holdImage = async (source: ArtifactSource): Promise<Held> => {
  if ('bytes' in source) return source.bytes.length > LIMITS.checkedBytes ? TOO_LONG : { ok: true, bytes: source.bytes }
  const incoming = openIncoming(source.body)
  try {
    if (source.length !== null && source.length > LIMITS.checkedBytes) return TOO_LONG
    const head: Head = { chunks: [], bytes: 0, over: null }
    await readHead(incoming, head, LIMITS.checkedBytes + 1)
    if (head.bytes > LIMITS.checkedBytes) return TOO_LONG
    if (head.over === 'broken') return { ok: false, message: 'the body broke off', retryable: true }
    if (source.length !== null && head.bytes !== source.length) {
      return {
        ok: false,
        message: `the body is not the ${source.length} bytes long that it was said to be`,
        retryable: true,
      }
    }
    return { ok: true, bytes: join(head.chunks, head.bytes) }
  } finally {
    incoming.cancel()
  }
}

const TOO_LONG: Held = {
  ok: false,
  message: `the picture is larger than the ${LIMITS.checkedBytes} bytes that are checked`,
  retryable: false,
}

/**
 * `isFinal` where the same bytes would meet the same end and no transfer can have spoilt them: nothing is gained by
 * fetching them again.
 */
export type Examined = { ok: true; results: CheckResults } | { ok: false; problem: ImageProblem; isFinal: boolean }

/** Looks at a picture as its job wants it, cheapest first: nothing is decoded that the header rules out. Never throws. */
export const examineImage = async (bytes: Uint8Array, { checks, input, provider }: Order): Promise<Examined> => {
  const header = readImageHeader(bytes)
  if (!header) {
    const type = looksLikeImage(bytes)
    return bad(type ? `it begins like ${type}, but has no size` : 'the bytes are no PNG, JPEG, WebP, GIF or AVIF')
  }
  const problem = problemOf(checks, input, provider, { ...header, bytes: bytes.length })
  if (problem) return { ok: false, problem, isFinal: problem.code !== 'artifact_failed' }
  if (!wantsPixels(checks)) return { ok: true, results: resultsOf(checks, input, provider, 'structure') }

  const decoded = await decodeImage(bytes, header)
  if (decoded.kind === 'broken') return bad(decoded.message)
  if (decoded.kind === 'pixels' && checks.not_blank && isBlank(decoded.pixels)) {
    return { ok: false, problem: { code: 'content_rejected', message: 'it is blank' }, isFinal: true }
  }
  return { ok: true, results: resultsOf(checks, input, provider, decoded.kind) }
}

const bad = (message: string): Extract<Examined, { ok: false }> => ({
  ok: false,
  problem: { code: 'artifact_failed', message },
  isFinal: false,
})
