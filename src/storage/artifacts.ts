import { artifactId, artifactKey } from '../contract/ids.ts'
import type { ImageArtifact } from '../contract/image.ts'
import { type ImageHeader, looksComplete, looksLikeImage, readImageHeader, TAIL_BYTES } from '../core/image-header.ts'
import { LIMITS } from '../limits.ts'
import { sha256Hex } from './digest.ts'
import { createMeasure, type Head, type Incoming, join, openIncoming, readHead } from './incoming.ts'
import { openUpload, type PutOptions, type UploadOutcome, upload } from './upload.ts'

/** Pictures in R2, one object each under `artifactKey`. An object is written once and never changed. */

/** Which picture of which attempt: its id and key follow from this, so that a repeat meets the first one's object. */
export type ArtifactPlace = { instance: string; job: string; attempt: number; index: number }

/** `length` in bytes as announced (Content-Length of an uncompressed answer), null where unknown. */
export type ArtifactSource = { body: ReadableStream<Uint8Array>; length: number | null } | { bytes: Uint8Array }

/** Kept with the object, for people who look into the bucket. */
export type ArtifactMeta = { model: string; requestId: string; seed: number | null }

/** What storing finds out; the provider knows the rest of an `ImageArtifact`. */
export type StoredImage = Omit<ImageArtifact, 'seed' | 'safe'>

export type StoreFailure = {
  ok: false
  /** `truncated`: ended early, errored, another length than announced, or no proper end of the picture. `storage`: R2. */
  reason: 'not_an_image' | 'truncated' | 'too_large' | 'storage'
  message: string
  /** Whether fetching and storing the same picture again may help. */
  retryable: boolean
}

/** `repeated`: the object was there already, from before a crash; the values are read from it. */
export type StoreResult = { ok: true; image: StoredImage; repeated: boolean } | StoreFailure

/** The type and size of nearly every picture stand in its first 64 KiB … */
const HEAD_BYTES = 64 * 1024
/** … but JPEG and AVIF may put metadata before it: colour profiles, previews, C2PA manifests. */
const LONG_HEAD_BYTES = 1024 * 1024

/**
 * Stores one picture and answers what it is. Type, size, length and digest come from the bytes alone. A body of known
 * length goes through without being held, except for its head; one of unknown length is held, because R2 must be told.
 * Expected failures are values. A body that stalls must be ended by the signal of the fetch it came from.
 *
 * The SHA-256 of a streamed picture is not in the object's metadata: R2 takes metadata with the request's head, before the
 * digest is known, cannot change it later, and its binding has no copy. It is in the answer, and the job's row keeps it;
 * pictures held in memory have it in the metadata too, and R2 checks their bytes against it.
 */
export const storeImage = async (
  bucket: R2Bucket,
  place: ArtifactPlace,
  source: ArtifactSource,
  meta: ArtifactMeta,
): Promise<StoreResult> => {
  const artifact = artifactId(place.job, place.attempt, place.index)
  const key = artifactKey(place.instance, artifact)
  if (key === null) throw new Error(`${artifact} is no artifact id`)
  const target: Target = { bucket, key, artifact, place, meta }
  if ('bytes' in source) return storeHeld(target, [source.bytes])

  const incoming = openIncoming(source.body)
  try {
    if (source.length !== null && source.length > LIMITS.artifactBytes) return tooLarge(LIMITS.artifactBytes)
    const head: Head = { chunks: [], bytes: 0, over: null }
    const header = await readImageHead(incoming, head)
    if (head.over === 'broken') return truncated('the body broke off')
    if (head.over === 'end' && source.length !== null && head.bytes !== source.length) return wrongLength(source.length)
    if (!header) return notAnImage(join(head.chunks, HEAD_BYTES))
    // Small enough to be here already: as good as held.
    if (head.over === 'end') return await storeHeld(target, head.chunks)
    if (source.length !== null) return await storeStreamed(target, header, head, incoming, source.length)

    await readHead(incoming, head, LIMITS.artifactUnknownLengthBytes + 1)
    if (head.bytes > LIMITS.artifactUnknownLengthBytes) return tooLarge(LIMITS.artifactUnknownLengthBytes)
    if (head.over === 'broken') return truncated('the body broke off')
    return await storeHeld(target, head.chunks)
  } finally {
    incoming.cancel()
  }
}

/**
 * Deletes up to `limit` objects of an instance and answers whether more remain: an instance's end is many small steps.
 * Throws what R2 throws; the step may be repeated.
 */
export const deleteArtifacts = async (
  bucket: R2Bucket,
  instance: string,
  limit: number = LIMITS.deleteKeysPerStep,
): Promise<{ deleted: number; more: boolean }> => {
  if (instance === '') throw new Error('an instance has a name') // the prefix would be every instance's
  const page = await bucket.list({ prefix: `${instance}/`, limit: Math.min(limit, LIMITS.deleteKeysPerStep) })
  if (page.objects.length > 0) await bucket.delete(page.objects.map((object) => object.key))
  return { deleted: page.objects.length, more: page.truncated }
}

type Target = { bucket: R2Bucket; key: string; artifact: string; place: ArtifactPlace; meta: ArtifactMeta }

const readImageHead = async (incoming: Incoming, head: Head): Promise<ImageHeader | null> => {
  for (const bound of [HEAD_BYTES, LONG_HEAD_BYTES]) {
    await readHead(incoming, head, bound)
    const bytes = join(head.chunks, bound)
    const header = readImageHeader(bytes)
    if (header || head.over || !looksLikeImage(bytes)) return header
  }
  return null
}

/** All bytes are at hand. They are sent in their pieces: one buffer for all would need the memory twice. */
const storeHeld = async (target: Target, chunks: readonly Uint8Array[]): Promise<StoreResult> => {
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  if (bytes > LIMITS.artifactBytes) return tooLarge(LIMITS.artifactBytes)
  const whole = bytes <= LIMITS.artifactHeldBytes ? join(chunks, bytes) : null
  const head = whole ?? join(chunks, LONG_HEAD_BYTES)
  const header = readImageHeader(head)
  if (!header) return notAnImage(head)
  const { sha256, tail } = whole ? { sha256: await sha256Hex(whole), tail: whole } : await measureAll(chunks)
  if (!looksComplete(header.contentType, tail.slice(-TAIL_BYTES), bytes, head))
    return truncated('the picture has no end')

  const image = imageOf(target, header, bytes, sha256)
  const options = { ...putOptions(target, header, sha256), sha256 }
  // Twice, because a broken object in the way is removed after the first.
  for (let tries = 0; tries < 2; tries += 1) {
    const outcome = whole
      ? await upload(target.bucket, target.key, whole, options)
      : await uploadPieces(target, bytes, chunks, options)
    const ended = await settle(target, outcome)
    if (ended === 'stored') return stored(image)
    if (ended !== 'removed') return ended
  }
  return storageFailed('a broken object stood in the way')
}

const measureAll = async (chunks: readonly Uint8Array[]): Promise<{ sha256: string; tail: Uint8Array }> => {
  const measure = createMeasure()
  for (const chunk of chunks) await measure.take(chunk)
  return { sha256: await measure.sha256(), tail: measure.tail() }
}

const uploadPieces = async (
  { bucket, key }: Target,
  bytes: number,
  chunks: readonly Uint8Array[],
  options: PutOptions,
): Promise<UploadOutcome> => {
  const pieces = openUpload(bucket, key, bytes, options)
  for (const chunk of chunks) if (!(await pieces.write(chunk))) break
  return pieces.close()
}

/**
 * The last piece is held back until the end of the body has proved good: R2 stores nothing that falls short of its
 * announced length, so a picture cut short never becomes visible and nothing has to be deleted.
 */
const storeStreamed = async (
  target: Target,
  header: ImageHeader,
  head: Head,
  incoming: Incoming,
  length: number,
): Promise<StoreResult> => {
  const start = join(head.chunks, HEAD_BYTES)
  const measure = createMeasure()
  const pieces = openUpload(target.bucket, target.key, length, putOptions(target, header, null))
  const giveUp = async (failure: StoreFailure): Promise<StoreFailure> => {
    measure.abandon()
    await pieces.abort()
    return failure
  }

  let held: Uint8Array | null = null
  let isStopped = false
  while (!isStopped) {
    const piece: Uint8Array | 'end' | 'broken' = head.chunks.shift() ?? (await incoming.next())
    if (piece === 'broken') return giveUp(truncated('the body broke off'))
    if (piece === 'end') break
    await measure.take(piece)
    if (measure.bytes() > length) return giveUp(wrongLength(length))
    // False: the put has ended by itself, since the object exists or R2 failed.
    if (held) isStopped = !(await pieces.write(held))
    held = piece
  }
  if (!isStopped) {
    if (measure.bytes() !== length) return giveUp(wrongLength(length))
    if (!looksComplete(header.contentType, measure.tail(), length, start)) {
      return giveUp(truncated('the picture has no end'))
    }
    if (held) await pieces.write(held)
  }
  const ended = await settle(target, await pieces.close())
  if (ended === 'stored') return stored(imageOf(target, header, length, await measure.sha256()))
  measure.abandon()
  return ended === 'removed' ? storageFailed('a broken object stood in the way and was removed') : ended
}

const settle = async (target: Target, outcome: UploadOutcome): Promise<StoreResult | 'stored' | 'removed'> => {
  if (outcome === 'stored') return 'stored'
  if (outcome === 'failed') return storageFailed('R2 did not take the object')
  try {
    return await readBack(target)
  } catch {
    return storageFailed('R2 did not give the object that exists')
  }
}

/** The object that exists, read as a stream. One that is no whole picture is removed. Throws what R2 throws. */
const readBack = async (target: Target): Promise<StoreResult | 'removed'> => {
  const object = await target.bucket.get(target.key)
  if (!object) return 'removed'
  const incoming = openIncoming(object.body)
  const measure = createMeasure()
  const start: Uint8Array[] = []
  let piece = await incoming.next()
  while (typeof piece !== 'string') {
    if (measure.bytes() < LONG_HEAD_BYTES) start.push(piece)
    await measure.take(piece)
    piece = await incoming.next()
  }
  const sha256 = await measure.sha256()
  if (piece === 'broken' || measure.bytes() !== object.size)
    return storageFailed('reading the object that exists broke off')
  const head = join(start, LONG_HEAD_BYTES)
  const header = readImageHeader(head)
  if (header && looksComplete(header.contentType, measure.tail(), object.size, head)) {
    return { ...stored(imageOf(target, header, object.size, sha256)), repeated: true }
  }
  await target.bucket.delete(target.key)
  return 'removed'
}

/** R2 holds at most 8 KiB of metadata as text; all of this is short. `sha256` is null where it is not known yet. */
const putOptions = ({ place, meta }: Target, header: ImageHeader, sha256: string | null) => ({
  httpMetadata: { contentType: header.contentType, cacheControl: 'private, max-age=31536000, immutable' },
  customMetadata: {
    job: place.job,
    attempt: String(place.attempt),
    index: String(place.index),
    model: meta.model,
    request_id: meta.requestId,
    width: String(header.width),
    height: String(header.height),
    ...(meta.seed === null ? {} : { seed: String(meta.seed) }),
    ...(sha256 === null ? {} : { sha256 }),
  },
})

const imageOf = (target: Target, header: ImageHeader, bytes: number, sha256: string): StoredImage => ({
  artifact: target.artifact,
  content_type: header.contentType,
  width: header.width,
  height: header.height,
  bytes,
  sha256,
})

const stored = (image: StoredImage) => ({ ok: true, image, repeated: false }) as const

const failure = (reason: StoreFailure['reason'], message: string, retryable: boolean): StoreFailure => ({
  ok: false,
  reason,
  message,
  retryable,
})

const truncated = (message: string): StoreFailure => failure('truncated', message, true)

const wrongLength = (length: number): StoreFailure =>
  truncated(`the body is not the ${length} bytes long that it was said to be`)

const storageFailed = (message: string): StoreFailure => failure('storage', message, true)

const tooLarge = (limit: number): StoreFailure =>
  failure('too_large', `the picture is larger than ${limit} bytes`, false)

const notAnImage = (head: Uint8Array): StoreFailure => {
  const type = looksLikeImage(head)
  if (head.length === 0) return failure('not_an_image', 'the body is empty', false)
  if (!type) return failure('not_an_image', 'the bytes are no PNG, JPEG, WebP, GIF or AVIF', false)
  return failure(
    'not_an_image',
    `the bytes begin like ${type}, but have no size of 1 to ${LIMITS.imageSideMax} pixels`,
    false,
  )
}
