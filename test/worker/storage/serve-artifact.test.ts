import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test } from 'vitest'
import { serveArtifact } from '../../../src/edge/artifacts.ts'
import { storeImage } from '../../../src/storage/artifacts.ts'
import { pngOf } from './pictures.ts'

const artifact = 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_1_0'
const key = 'prod/job_01JAAAAAAAAAAAAAAAAAAAAAAA/1-0'
const picture = pngOf(1000)
const bucket = env.ARTIFACTS

const serve = async (headers: Record<string, string> = {}, method = 'GET'): Promise<Response> => {
  const request = new Request('https://switchyard.example/', { method, headers })
  const response = await serveArtifact(request, bucket, 'prod', artifact)
  if (!response) throw new Error('not found')
  return response
}
const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer())

beforeEach(async () => {
  const place = { instance: 'prod', job: 'job_01JAAAAAAAAAAAAAAAAAAAAAAA', attempt: 1, index: 0 }
  await storeImage(bucket, place, { bytes: picture }, { model: 'a/b', requestId: 'r', seed: null })
})

describe('serving an artifact', () => {
  test('gives the bytes and headers that make a stranger’s file safe to open', async () => {
    const response = await serve()
    expect(response.status).toBe(200)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'content-length': '1000',
      'content-disposition': `inline; filename="${artifact}.png"`,
      'accept-ranges': 'bytes',
      'cache-control': 'private, max-age=31536000, immutable',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
      'cross-origin-resource-policy': 'cross-origin',
      etag: expect.stringMatching(/^"[^"]+"$/),
      'last-modified': expect.stringMatching(/GMT$/),
    })
    expect(await bytesOf(response)).toEqual(picture)
  })

  test('answers HEAD with the same headers and no body, a range or not', async () => {
    const whole = await serve()
    await whole.body?.cancel()
    const head = await serve({ range: 'bytes=0-1' }, 'HEAD')
    expect(head.status).toBe(200)
    expect(head.body).toBeNull()
    expect(Object.fromEntries(head.headers)).toEqual(Object.fromEntries(whole.headers))
  })

  test.each([
    ['another instance', 'prod-2', artifact],
    ['an artifact that is not there', 'prod', 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_1_1'],
    ['an id that is none', 'prod', '../prod/job_01JAAAAAAAAAAAAAAAAAAAAAAA/1-0'],
  ])('finds nothing for %s', async (_name, instance, id) => {
    for (const headers of [{}, { range: 'bytes=0-1' }]) {
      expect(await serveArtifact(new Request('https://x.example/', { headers }), bucket, instance, id)).toBeNull()
    }
  })

  test('declares no type but a picture’s', async () => {
    await bucket.delete(key)
    await bucket.put(key, '<script>', { httpMetadata: { contentType: 'text/html' } })
    const response = await serve()
    expect(response.headers.get('content-type')).toBe('application/octet-stream')
    expect(response.headers.get('content-disposition')).toBe(`inline; filename="${artifact}.bin"`)
    await response.body?.cancel()
  })
})

describe('a range', () => {
  test.each([
    ['bytes=0-0', 0, 1],
    ['bytes=10-19', 10, 20],
    ['BYTES=10-19', 10, 20],
    ['bytes=990-', 990, 1000],
    ['bytes=990-99999999999999999999', 990, 1000],
    ['bytes=-1', 999, 1000],
    ['bytes=-5000', 0, 1000],
    ['bytes=0-', 0, 1000],
  ])('%s is served in part', async (range, from, to) => {
    const response = await serve({ range })
    expect(response.status).toBe(206)
    expect(response.headers.get('content-range')).toBe(`bytes ${from}-${to - 1}/1000`)
    expect(response.headers.get('content-length')).toBe(String(to - from))
    expect(await bytesOf(response)).toEqual(picture.slice(from, to))
  })

  test.each(['bytes=1000-', 'bytes=1000-1001', 'bytes=-0'])('%s cannot be served', async (range) => {
    const response = await serve({ range })
    expect(response.status).toBe(416)
    expect(response.headers.get('content-range')).toBe('bytes */1000')
  })

  test.each(['bytes=0-1,5-6', 'bytes=5-4', 'bytes=-', 'bytes=a-b', 'bytes', 'items=0-1', 'bytes=0-1-2'])(
    '%s is ignored: the whole file',
    async (range) => {
      const response = await serve({ range })
      expect(response.status).toBe(200)
      expect(await bytesOf(response)).toEqual(picture)
    },
  )

  test('counts only while the file is the one that If-Range means', async () => {
    const first = await serve({}, 'HEAD')
    const etag = first.headers.get('etag') ?? ''
    const date = first.headers.get('last-modified') ?? ''
    const table: [string, number][] = [
      [etag, 206],
      [date, 206],
      ['"other"', 200],
      [`W/${etag}`, 200],
      ['Thu, 01 Jan 1970 00:00:00 GMT', 200],
      ['nonsense', 200],
    ]
    for (const [condition, status] of table) {
      const response = await serve({ range: 'bytes=0-9', 'if-range': condition })
      expect([condition, response.status]).toEqual([condition, status])
      await response.body?.cancel()
    }
  })
})

describe('a condition', () => {
  test('that says the client has it already gives 304, for GET and HEAD', async () => {
    const first = await serve({}, 'HEAD')
    const etag = first.headers.get('etag') ?? ''
    const date = first.headers.get('last-modified') ?? ''
    const past = 'Thu, 01 Jan 1970 00:00:00 GMT'
    const table: [Record<string, string>, number][] = [
      [{ 'if-none-match': etag }, 304],
      [{ 'if-none-match': `W/${etag}` }, 304],
      [{ 'if-none-match': `"a", ${etag}` }, 304],
      [{ 'if-none-match': '*' }, 304],
      [{ 'if-none-match': '"a"' }, 200],
      [{ 'if-modified-since': date }, 304],
      [{ 'if-modified-since': past }, 200],
      [{ 'if-modified-since': 'nonsense' }, 200],
      [{ 'if-none-match': '"a"', 'if-modified-since': date }, 200],
      [{ 'if-none-match': etag, range: 'bytes=0-1' }, 304],
    ]
    for (const [headers, status] of table) {
      for (const method of ['GET', 'HEAD']) {
        const response = await serve(headers, method)
        expect([headers, method, response.status]).toEqual([headers, method, status])
        if (status === 304) {
          expect(response.headers.get('etag')).toBe(etag)
          expect(response.headers.has('content-type')).toBe(false)
        }
        await response.body?.cancel()
      }
    }
  })
})
