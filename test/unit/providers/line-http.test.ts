import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import type { Fetch } from '../../../src/providers/http.ts'
import { type LineOptions, type LineResult, sendOnLine } from '../../../src/providers/line-http.ts'

/** A stream of fixed length is what tells workerd from Node; here it shows whether the last byte is held back. */
class FixedLength extends TransformStream<Uint8Array, Uint8Array> {
  constructor(_length: number) {
    super()
  }
}

let origin = 0
/** A provider that nobody has called yet. */
const unknownProvider = () => {
  origin += 1
  return `https://p${origin}.example/v1/chat/completions`
}

const send = (url: string, fetch: Fetch, more: Partial<LineOptions> = {}): Promise<LineResult> =>
  sendOnLine(
    { url, headers: {}, json: { a: 1 } },
    {
      timeoutMs: 5_000,
      allowPrivate: false,
      signal: new AbortController().signal,
      now: () => Date.now(),
      fetch,
      ...more,
    },
  )

const isHeld = (init: RequestInit): boolean => init.body instanceof ReadableStream
const lost = new Error('Network connection lost.')

describe('the last byte of a request', () => {
  const bodies: boolean[] = []
  const well: Fetch = async (_url, init) => {
    bodies.push(isHeld(init))
    return new Response('{}')
  }
  const broken: Fetch = async (_url, init) => {
    bodies.push(isHeld(init))
    throw lost
  }
  beforeEach(() => {
    bodies.length = 0
    vi.useFakeTimers()
    vi.stubGlobal('FixedLengthStream', FixedLength)
  })
  afterEach(() => {
    vi.useRealTimers()
    vi.unstubAllGlobals()
  })

  test('is held back while nobody knows whether the provider is there, so that a lost connection has bought nothing', async () => {
    expect(await send(unknownProvider(), broken)).toMatchObject({ kind: 'unsent' })
    expect(bodies).toEqual([true])
  })

  test('goes at once to a provider that has just answered, and a lost connection is then unknown', async () => {
    const url = unknownProvider()
    await send(url, well)
    expect(await send(url, broken)).toMatchObject({ kind: 'lost' })
    expect(bodies).toEqual([true, false])
  })

  test('is held back again once a call was lost', async () => {
    const url = unknownProvider()
    await send(url, well)
    await send(url, broken)
    expect(await send(url, broken)).toMatchObject({ kind: 'unsent' })
    expect(bodies).toEqual([true, false, true])
  })

  test('is held back again after a while', async () => {
    const url = unknownProvider()
    await send(url, well)
    await vi.advanceTimersByTimeAsync(LIMITS.originProvenMs)
    await send(url, well)
    expect(bodies).toEqual([true, true])
  })

  test('of one provider says nothing of another', async () => {
    await send(unknownProvider(), well)
    await send(unknownProvider(), well)
    expect(bodies).toEqual([true, true])
  })

  test('is not proven by a call that we have ended ourselves, nor disproved', async () => {
    const url = unknownProvider()
    await send(url, well)
    const abort = new AbortController()
    const left = send(
      url,
      (_url, init) =>
        new Promise((_, reject) => init.signal?.addEventListener('abort', () => reject(new Error('aborted')))),
      { signal: abort.signal },
    )
    abort.abort()
    expect(await left).toMatchObject({ kind: 'aborted' })
    await send(url, well)
    expect(bodies).toEqual([true, false])
  })
})

describe('an answer', () => {
  const events = { 'content-type': 'text/event-stream' }

  test.each([
    ['of events is read as it comes', new Response('data: 1\n\n', { headers: events }), 'streaming'],
    ['of JSON is read whole', new Response('{}', { headers: { 'content-type': 'application/json' } }), 'answered'],
    [
      'of events that is a failure is read whole',
      new Response('data: 1\n\n', { status: 500, headers: events }),
      'answered',
    ],
  ])('%s', async (_what, response, kind) => {
    expect((await send(unknownProvider(), async () => response)).kind).toBe(kind)
  })

  test('larger than its bound is cut', async () => {
    const piece = new Uint8Array(1024 * 1024)
    const body = new ReadableStream({ pull: (controller) => controller.enqueue(piece) }, { highWaterMark: 0 })
    const result = await send(unknownProvider(), async () => new Response(body))
    expect(result).toMatchObject({ kind: 'answered', cut: 'too_long' })
  })

  test('to a private address is not asked for', async () => {
    const fetch = vi.fn()
    expect(await send('https://10.0.0.1/v1', fetch)).toMatchObject({ kind: 'refused' })
    expect(fetch).not.toHaveBeenCalled()
  })
})
