import { LIMITS } from '../limits.ts'
import { refusesAddress } from './address.ts'
import { type Body, bodyOf, type Fetch, failureOf, type HttpResult, platformFetch, readText } from './http.ts'
import { createWatch, type Watch } from './watch.ts'

/** How a call is sent while somebody waits for it: at once, and with an answer that may be a stream. */

export type LineRequest = { url: string; headers: Record<string, string>; json: unknown }

export type LineOptions = {
  /** From request to response headers, and as long again for a body that is no stream. */
  timeoutMs: number
  allowPrivate: boolean
  /** The client's end, or the job's. */
  signal: AbortSignal
  now(): number
  /** Most that an answer in one piece may hold; `LIMITS.textAnswerBytes` without it. */
  answerBytesMax?: number | undefined
  /** For tests; the platform's otherwise. */
  fetch?: Fetch | undefined
}

/** As `HttpResult`, or a 2xx whose events are still to be read. */
export type LineResult = HttpResult | { kind: 'streaming'; status: number; headers: Headers; bytes: ByteStream }

/** The body of a stream, read when it is wanted: who reads slowly slows the provider. */
export type ByteStream = {
  /** Null at its end; `broken` where it broke off or was given up, and `watch` then says which. */
  read(): Promise<Uint8Array | null | 'broken'>
  readonly watch: Watch
  /** Ends it, and lets the connection be used again where the provider has only its last bytes left to send. */
  finish(): Promise<void>
  /** Ends it at once: the provider learns that nobody listens. */
  stop(): void
}

export const sendOnLine = async (request: LineRequest, options: LineOptions): Promise<LineResult> => {
  const reason = refusesAddress(request.url, options.allowPrivate)
  if (reason) return { kind: 'refused', message: `The address ${reason}.` }
  if (options.signal.aborted) return { kind: 'aborted', message: 'The call was ended before it was sent.' }
  const origin = originOf(request.url)
  const body = isProven(origin, options.now()) ? plainBody(request.json) : bodyOf({ json: request.json })
  const send = async (signal: AbortSignal): Promise<Response> => {
    try {
      const response = await (options.fetch ?? platformFetch)(request.url, {
        method: 'POST',
        headers: { accept: 'application/json, text/event-stream', ...body.headers, ...request.headers },
        redirect: 'manual',
        signal,
        ...body.init,
      })
      prove(origin, options.now())
      return response
    } catch (error) {
      if (!signal.aborted) provenAtMs.delete(origin)
      throw error
    }
  }
  try {
    return await receive(send, body.isWhole, options)
  } finally {
    body.release()
  }
}

/**
 * Waits for what `send` brings within the bounds of time and size, however it is sent: a stream that is still to be read, or
 * a whole answer. `isWhole` says of a `send` that throws whether the request had gone out.
 */
export const receive = async (
  send: (signal: AbortSignal) => Promise<Response>,
  isWhole: () => boolean,
  options: LineOptions,
): Promise<LineResult> => {
  const watch = createWatch(options.signal, options.now)
  watch.expect(options.timeoutMs)
  let streaming = false
  try {
    const response = await send(watch.signal)
    const { status, headers } = response
    if (isEventStream(response) && response.body) {
      streaming = true
      return { kind: 'streaming', status, headers, bytes: byteStream(response.body, watch, options.now) }
    }
    watch.expect(options.timeoutMs)
    const read = await readText(response, watch.signal, options.answerBytesMax ?? LIMITS.textAnswerBytes)
    const ending = read.ending === 'broken' ? (watch.cause() ?? 'lost') : read.ending
    if (ending === 'aborted') return { kind: 'aborted', message: 'The call was ended while the answer arrived.' }
    const answer = { kind: 'answered' as const, status, headers, body: read.text }
    return ending === 'whole' ? answer : { ...answer, cut: ending }
  } catch (error) {
    return failureOf(error, watch.cause(), isWhole())
  } finally {
    if (!streaming) watch.clear()
  }
}

const isEventStream = ({ status, headers }: Response): boolean =>
  status >= 200 && status < 300 && /^text\/event-stream\b/i.test(headers.get('content-type') ?? '')

/**
 * Where the last byte of a request was held back (see http.ts), a connection that fails is known to have bought nothing.
 * Those five milliseconds are worth it only while nobody knows whether the provider is there: one that has answered lately
 * is sent the whole request at once, and one that has just failed is not (docs/decisions/0024).
 */
const provenAtMs = new Map<string, number>()

const isProven = (origin: string, nowMs: number): boolean =>
  nowMs - (provenAtMs.get(origin) ?? Number.NEGATIVE_INFINITY) < LIMITS.originProvenMs

const prove = (origin: string, nowMs: number): void => {
  if (provenAtMs.size >= LIMITS.originsRemembered && !provenAtMs.has(origin)) provenAtMs.clear()
  provenAtMs.set(origin, nowMs)
}

const originOf = (url: string): string => url.slice(0, url.indexOf('/', 'https://'.length))

const plainBody = (json: unknown): Body => ({
  headers: { 'content-type': 'application/json' },
  init: { body: JSON.stringify(json) },
  isWhole: () => true,
  release: () => {},
})

const byteStream = (body: ReadableStream<Uint8Array>, watch: Watch, now: () => number): ByteStream => {
  const reader = body.getReader()
  let over = false
  // A read that the runtime does not end with the signal of its fetch ends with the reader.
  watch.signal.addEventListener('abort', () => void reader.cancel().catch(() => {}), { once: true })
  const stop = () => {
    watch.clear()
    if (over) return
    over = true
    reader.cancel().catch(() => {})
  }
  const read = async (): Promise<Uint8Array | null | 'broken'> => {
    try {
      const { done, value } = await reader.read()
      if (watch.cause() !== null) return 'broken'
      over ||= done
      return done ? null : value
    } catch {
      over = true
      return 'broken'
    }
  }
  const finish = async () => {
    const untilMs = now() + LIMITS.streamTailMs
    watch.expect(LIMITS.streamTailMs)
    for (let rest = over ? null : await read(); rest instanceof Uint8Array; rest = await read()) {
      if (now() > untilMs) break
    }
    stop()
  }
  return { read, watch, finish, stop }
}
