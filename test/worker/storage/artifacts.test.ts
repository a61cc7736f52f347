import { env } from 'cloudflare:workers'
import { describe, expect, test, vi } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { deleteArtifacts, type StoreResult, storeImage } from '../../../src/storage/artifacts.ts'
import { sha256Hex } from '../../../src/storage/digest.ts'
import { bodyOf, jpegOf, pngOf } from './pictures.ts'

const place = { instance: 'prod', job: 'job_01JAAAAAAAAAAAAAAAAAAAAAAA', attempt: 2, index: 0 }
const key = 'prod/job_01JAAAAAAAAAAAAAAAAAAAAAAA/2-0'
const artifact = 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_2_0'
const meta = { model: 'ideogram/ideogram-3', requestId: 'request-1', seed: 7 }
const bucket = env.ARTIFACTS

const storeBody = (bytes: Uint8Array, length: number | null = bytes.length, end: 'close' | 'error' = 'close') =>
  storeImage(bucket, place, { body: bodyOf(bytes, 16_384, end).body, length }, meta)

/** By digest: comparing megabytes element by element takes seconds. */
const expectStored = async (picture: Uint8Array) => {
  const object = await bucket.get(key)
  expect(await sha256Hex(new Uint8Array((await object?.arrayBuffer()) ?? []))).toBe(await sha256Hex(picture))
}

const expectRefusal = async (result: StoreResult, reason: string, retryable: boolean) => {
  expect(result).toMatchObject({ ok: false, reason, retryable, message: expect.any(String) })
  expect(await bucket.head(key)).toBeNull()
}

describe('storing an image', () => {
  const sizes = [57, 1000, 65_536, 65_537, 300_000, 3_000_000]

  test.each(sizes)('streams a body of %i bytes and tells what it is', async (size) => {
    const picture = pngOf(size, 1280, 720)
    const result = await storeBody(picture)
    expect(result).toEqual({
      ok: true,
      repeated: false,
      image: {
        artifact,
        content_type: 'image/png',
        width: 1280,
        height: 720,
        bytes: size,
        sha256: await sha256Hex(picture),
      },
    })
    await expectStored(picture)
    const object = await bucket.head(key)
    expect(object?.httpMetadata).toMatchObject({
      contentType: 'image/png',
      cacheControl: 'private, max-age=31536000, immutable',
    })
    expect(object?.customMetadata).toMatchObject({
      job: place.job,
      attempt: '2',
      index: '0',
      model: meta.model,
      request_id: 'request-1',
      width: '1280',
      height: '720',
      seed: '7',
    })
  })

  test.each([
    ['bytes at hand', (picture: Uint8Array) => ({ bytes: picture })],
    ['a body of unknown length', (picture: Uint8Array) => ({ body: bodyOf(picture).body, length: null })],
  ])('%s: the digest stands in the metadata and R2 has checked it', async (_name, sourceOf) => {
    const picture = pngOf(200_000)
    const result = await storeImage(bucket, place, sourceOf(picture), { ...meta, seed: null })
    const sha256 = await sha256Hex(picture)
    expect(result).toMatchObject({ ok: true, image: { bytes: 200_000, sha256 } })
    const object = await bucket.head(key)
    expect(object?.customMetadata?.sha256).toBe(sha256)
    expect(object?.customMetadata).not.toHaveProperty('seed')
    expect(object?.checksums.toJSON().sha256).toBe(sha256)
    await expectStored(picture)
  })

  test('finds the size of a JPEG behind more metadata than 64 KiB', async () => {
    const picture = jpegOf(200_000, 1024, 768)
    expect(await storeBody(picture)).toMatchObject({
      ok: true,
      image: { content_type: 'image/jpeg', width: 1024, height: 768 },
    })
    await expectStored(picture)
  })

  test.each([100, 65_536, 300_000])(
    'stores %i bytes from a stream of the runtime, as an HTTP answer is',
    async (size) => {
      const picture = pngOf(size)
      for (const [index, length] of [size, null].entries()) {
        const { body } = new Response(picture)
        if (!body) throw new Error('no body')
        const result = await storeImage(bucket, { ...place, index }, { body, length }, meta)
        expect(result).toMatchObject({
          ok: true,
          repeated: false,
          image: { bytes: size, sha256: await sha256Hex(picture) },
        })
      }
      await expectStored(picture)
    },
  )

  test('a body that comes as one piece is stored', async () => {
    const picture = pngOf(900_000)
    const { body } = bodyOf(picture, 900_000)
    expect(await storeImage(bucket, place, { body, length: 900_000 }, meta)).toMatchObject({ ok: true })
    await expectStored(picture)
  })
})

describe('a body at fault', () => {
  const picture = pngOf(300_000)

  test.each([
    ['errors halfway', () => storeBody(picture.slice(0, 150_000), 300_000, 'error')],
    ['errors within its head', () => storeBody(picture.slice(0, 1000), 300_000, 'error')],
    ['errors where its length is unknown', () => storeBody(picture.slice(0, 150_000), null, 'error')],
    ['errors at its very end', () => storeBody(picture, 300_000, 'error')],
    ['ends early', () => storeBody(picture.slice(0, 150_000), 300_000)],
    ['ends within its head', () => storeBody(picture.slice(0, 1000), 300_000)],
    ['ends one byte early', () => storeBody(picture.slice(0, -1), 300_000)],
    ['is longer than announced', () => storeBody(picture, 200_000)],
    ['is small and longer than announced', () => storeBody(pngOf(1000), 900)],
    ['is of the announced length, but the picture has no end', () => storeBody(picture.slice(0, 200_000))],
    ['has no end, small', () => storeBody(pngOf(1000).slice(0, 900))],
    ['has no end, unknown length', () => storeBody(picture.slice(0, 200_000), null)],
    ['has no end, bytes at hand', () => storeImage(bucket, place, { bytes: picture.slice(0, 200_000) }, meta)],
  ])('%s: truncated, may be tried again, nothing is stored', async (_name, store) => {
    await expectRefusal(await store(), 'truncated', true)
    expect(await storeBody(picture)).toMatchObject({ ok: true, repeated: false })
  })

  test.each([300_000, null])('breaks off as a stream of the runtime, length %s: truncated', async (length) => {
    const { readable, writable } = new IdentityTransformStream()
    const writer = writable.getWriter()
    const sent = writer.write(picture.slice(0, 150_000)).then(() => writer.abort(new Error('connection lost')))
    const [result] = await Promise.all([storeImage(bucket, place, { body: readable, length }, meta), sent])
    await expectRefusal(result, 'truncated', true)
  })

  const html = new TextEncoder().encode(`<!doctype html>${'<p>Not found</p>'.repeat(50_000)}`)

  test('HTML is no image, and no more of it is read than the head', async () => {
    const { body, seen } = bodyOf(html)
    await expectRefusal(await storeImage(bucket, place, { body, length: html.length }, meta), 'not_an_image', false)
    await vi.waitFor(() => expect(seen.canceled).toBe(true))
    expect(seen.taken).toBeLessThan(150_000)
  })

  test.each([
    ['HTML at hand', { bytes: html }],
    ['nothing', { bytes: new Uint8Array(0) }],
    ['a picture with a side over the limit', { bytes: pngOf(1000, LIMITS.imageSideMax + 1, 1) }],
  ])('%s is no image', async (_name, source) => {
    await expectRefusal(await storeImage(bucket, place, source, meta), 'not_an_image', false)
  })

  test('an empty body is no image', async () => {
    await expectRefusal(await storeBody(new Uint8Array(0)), 'not_an_image', false)
  })

  test('a body announced over the limit is refused unread', async () => {
    const { body, seen } = bodyOf(picture)
    const result = await storeImage(bucket, place, { body, length: LIMITS.artifactBytes + 1 }, meta)
    await expectRefusal(result, 'too_large', false)
    expect(seen.taken).toBe(0)
    await vi.waitFor(() => expect(seen.canceled).toBe(true))
  })

  test('a body of unknown length is read up to its own limit', async () => {
    const { body, seen } = bodyOf(pngOf(LIMITS.artifactUnknownLengthBytes + 3_000_000), 1_000_000)
    await expectRefusal(await storeImage(bucket, place, { body, length: null }, meta), 'too_large', false)
    expect(seen.taken).toBeLessThan(LIMITS.artifactUnknownLengthBytes + 1_500_000)
  })

  test('bytes at hand over the limit are refused', async () => {
    await expectRefusal(
      await storeImage(bucket, place, { bytes: pngOf(LIMITS.artifactBytes + 1) }, meta),
      'too_large',
      false,
    )
  })
})

describe('an object that exists already', () => {
  const picture = pngOf(300_000)

  test.each([
    ['streamed', () => storeBody(picture)],
    ['unknown length', () => storeBody(picture, null)],
    ['small', () => storeBody(pngOf(1000))],
  ])('a repeat of an upload is harmless: %s', async (_name, store) => {
    const first = await store()
    const before = await bucket.head(key)
    const second = await store()
    expect(first).toMatchObject({ ok: true, repeated: false })
    expect(second).toEqual({ ...first, repeated: true })
    expect((await bucket.head(key))?.version).toBe(before?.version)
  })

  test('a repeat tells what is stored, not what came', async () => {
    await storeBody(picture)
    const other = pngOf(100_000, 10, 10)
    expect(await storeBody(other)).toMatchObject({
      ok: true,
      repeated: true,
      image: { width: 640, bytes: 300_000, sha256: await sha256Hex(picture) },
    })
  })

  test('two uploads at once: one stores, both give the same answer', async () => {
    const results = await Promise.all([
      storeBody(picture),
      storeBody(picture),
      storeImage(bucket, place, { bytes: picture }, meta),
    ])
    expect(results.map((result) => result.ok && result.repeated).toSorted()).toEqual([false, true, true])
    const sha256 = await sha256Hex(picture)
    for (const result of results) expect(result).toMatchObject({ ok: true, image: { bytes: 300_000, sha256 } })
    await expectStored(picture)
  })

  test('a broken object is replaced at once where the bytes are at hand', async () => {
    await bucket.put(key, picture.slice(0, 5000))
    expect(await storeImage(bucket, place, { bytes: picture }, meta)).toMatchObject({ ok: true, repeated: false })
    await expectStored(picture)
  })

  test('a broken object is removed before a streamed upload is tried again', async () => {
    await bucket.put(key, picture.slice(0, 5000))
    await expectRefusal(await storeBody(picture), 'storage', true)
    expect(await storeBody(picture)).toMatchObject({ ok: true, repeated: false })
  })
})

describe('R2 at fault', () => {
  const picture = pngOf(300_000)
  const broken = new Error('put: We encountered an internal error. Please try again. (10001)')

  test('a failing put is a value and may be tried again', async () => {
    vi.spyOn(bucket, 'put').mockRejectedValue(broken)
    expect(await storeBody(picture)).toMatchObject({ ok: false, reason: 'storage', retryable: true })
    expect(await storeImage(bucket, place, { bytes: picture }, meta)).toMatchObject({ ok: false, reason: 'storage' })
    vi.restoreAllMocks()
    expect(await storeBody(picture)).toMatchObject({ ok: true })
  })

  test('a failing read of the object that exists does not remove it', async () => {
    await storeBody(picture)
    vi.spyOn(bucket, 'get').mockRejectedValue(broken)
    expect(await storeBody(picture)).toMatchObject({ ok: false, reason: 'storage', retryable: true })
    vi.restoreAllMocks()
    await expectStored(picture)
  })
})

describe('deleting the artifacts of an instance', () => {
  test('goes by bounded steps and touches no other instance', async () => {
    const names = ['prod/a', 'prod/b', 'prod/c', 'prod-2/a', 'pro/a']
    await Promise.all(names.map((name) => bucket.put(name, 'x')))
    expect(await deleteArtifacts(bucket, 'prod', 2)).toEqual({ deleted: 2, more: true })
    expect(await deleteArtifacts(bucket, 'prod', 2)).toEqual({ deleted: 1, more: false })
    expect(await deleteArtifacts(bucket, 'prod', 2)).toEqual({ deleted: 0, more: false })
    expect((await bucket.list()).objects.map((object) => object.key).toSorted()).toEqual(['pro/a', 'prod-2/a'])
  })
})
