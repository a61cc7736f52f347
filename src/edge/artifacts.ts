import { artifactKey } from '../contract/ids.ts'
import { CONTENT_TYPES } from '../contract/image.ts'

/**
 * Serves a stored artifact over HTTP (RFC 9110: conditions, section 13; ranges, section 14). GET and HEAD only. The
 * caller has authorized the request and adds what all answers carry. Null: there is no such artifact. Throws what R2 throws.
 */
export const serveArtifact = async (
  request: Request,
  bucket: R2Bucket,
  instance: string,
  artifactId: string,
): Promise<Response | null> => {
  const key = artifactKey(instance, artifactId)
  if (key === null) return null
  // The plain case is one call to R2; what depends on the object's size, tag or age asks for these first.
  const isPlain = request.method === 'GET' && !CONDITIONS.some((name) => request.headers.has(name))
  if (isPlain) return whole(await bucket.get(key), artifactId)
  const known = await bucket.head(key)
  if (!known) return null
  const answer = answerTo(request, known)
  if (answer.status === 304) return new Response(null, { status: 304, headers: validatorsOf(known) })
  if (answer.status === 416) {
    const headers = { 'content-range': `bytes */${known.size}`, 'accept-ranges': 'bytes' }
    return new Response(null, { status: 416, headers })
  }
  if (request.method === 'HEAD') return new Response(null, { headers: headersOf(known, artifactId, known.size) })
  if (answer.status === 200) return whole(await bucket.get(key), artifactId)
  const { offset, length } = answer
  const part = await bucket.get(key, { range: { offset, length } })
  if (!part) return null
  const headers = headersOf(part, artifactId, length)
  headers.set('content-range', `bytes ${offset}-${offset + length - 1}/${part.size}`)
  return new Response(part.body, { status: 206, headers })
}

const whole = (object: R2ObjectBody | null, artifactId: string): Response | null =>
  object && new Response(object.body, { headers: headersOf(object, artifactId, object.size) })

type Answer = { status: 200 } | { status: 304 } | { status: 416 } | { status: 206; offset: number; length: number }

const CONDITIONS = ['range', 'if-none-match', 'if-modified-since']

const answerTo = (request: Request, object: R2Object): Answer => {
  if (isUnchanged(request.headers, object)) return { status: 304 }
  const range = request.headers.get('range')
  if (request.method !== 'GET' || range === null || !mayUseRange(request.headers, object)) return { status: 200 }
  return answerToRange(range, object.size)
}

/** If-None-Match compares weakly and, where present, decides alone. */
const isUnchanged = (headers: Headers, object: R2Object): boolean => {
  const tags = headers.get('if-none-match')
  if (tags !== null) {
    const mine = withoutWeakness(object.httpEtag)
    return tags.split(',').some((tag) => tag.trim() === '*' || withoutWeakness(tag.trim()) === mine)
  }
  const since = headers.get('if-modified-since')
  return since !== null && wholeSeconds(object.uploaded) <= Date.parse(since)
}

/** If-Range compares strongly: a tag must be the very same, a date the very second. Otherwise the range is ignored. */
const mayUseRange = (headers: Headers, object: R2Object): boolean => {
  const condition = headers.get('if-range')
  if (condition === null) return true
  return condition.startsWith('"')
    ? condition === object.httpEtag
    : Date.parse(condition) === wholeSeconds(object.uploaded)
}

/** One range of bytes. Anything else (other units, several ranges, nonsense) may be ignored and gets the whole file. */
const answerToRange = (range: string, size: number): Answer => {
  const parts = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(range)
  const [, first, last] = parts ?? []
  if (!first && !last) return { status: 200 }
  if (!first) {
    const length = Math.min(Number(last), size)
    return length > 0 ? { status: 206, offset: size - length, length } : { status: 416 }
  }
  const offset = Number(first)
  const end = last ? Number(last) : Number.POSITIVE_INFINITY
  if (end < offset) return { status: 200 }
  if (offset >= size) return { status: 416 }
  return { status: 206, offset, length: Math.min(end, size - 1) - offset + 1 }
}

const withoutWeakness = (tag: string): string => tag.replace(/^W\//, '')

/** HTTP dates have no milliseconds. */
const wholeSeconds = (date: Date): number => Math.floor(date.getTime() / 1000) * 1000

/** An artifact never changes, so it may be kept for ever, but only by its receiver. */
const validatorsOf = (object: R2Object) => ({
  etag: object.httpEtag,
  'last-modified': object.uploaded.toUTCString(),
  'cache-control': 'private, max-age=31536000, immutable',
})

/**
 * A stranger made the bytes: no type but a picture's is declared, nothing is sniffed, and opened on its own it runs
 * nothing.
 */
const headersOf = (object: R2Object, artifactId: string, length: number): Headers => {
  const type = CONTENT_TYPES.find((known) => known === object.httpMetadata?.contentType)
  const ending = type ? type.slice('image/'.length).replace('jpeg', 'jpg') : 'bin'
  return new Headers({
    ...validatorsOf(object),
    'content-type': type ?? 'application/octet-stream',
    'content-length': String(length),
    'content-disposition': `inline; filename="${artifactId}.${ending}"`,
    'accept-ranges': 'bytes',
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none'; sandbox",
    'cross-origin-resource-policy': 'cross-origin',
  })
}
