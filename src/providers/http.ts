import { LIMITS } from '../limits.ts'
import { refusesAddress } from './address.ts'
import { classifyNetworkError } from './network-error.ts'

/** How adapters reach the network: one call, one answer, every failure a value that says what it means for money. */

export type HttpRequest = {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  url: string
  headers?: Record<string, string>
  /** Sent as JSON. */
  json?: unknown
  form?: FormData
  /** Until response headers, and as long again for the body; default is the provider's configured timeout. */
  timeoutMs?: number
  /** Longest body that is read; default is `LIMITS.providerAnswerBytes`. */
  answerBytesMax?: number
}

/**
 * Where a request ended, by what it means for money:
 * `answered` – the provider answered: status and headers are whole. The body is text, bounded; `cut` says that it is
 *   not whole (larger than the bound, broken off, or out of time), so that the status still counts;
 * `refused` – our own guard did not let it out, nothing was sent;
 * `unsent` – the connection was never made, nothing was sent;
 * `lost` – the request may have arrived, the answer did not;
 * `timeout` – no headers in time, the request may have arrived;
 * `aborted` – our own signal (cancel or deadline) ended it; the request may have arrived.
 * Messages hold no URL, header or body.
 */
export type HttpResult =
  | { kind: 'answered'; status: number; headers: Headers; body: string; cut?: 'too_long' | 'lost' | 'timeout' }
  | { kind: 'refused' | 'unsent' | 'lost' | 'timeout' | 'aborted'; message: string }

export type Http = {
  send(request: HttpRequest): Promise<HttpResult>
}

export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export type HttpOptions = {
  timeoutMs: number
  /** Lets requests out to plain http and private addresses: development only. */
  allowPrivate: boolean
  /** The caller's own end: cancel, deadline. */
  signal?: AbortSignal | undefined
  /** For tests; the platform's `fetch` otherwise. */
  fetch?: Fetch | undefined
}

/**
 * workerd says the same "Network connection lost." for a connection that was never made and for one that broke later
 * (see network-error.ts). So the last byte of a JSON body is held back this long: what fails before then was never
 * whole at the provider, which cannot have acted on it. A refused connection fails within 3 ms on one machine.
 */
const HOLD_LAST_BYTE_MS = 5

export const createHttp = (options: HttpOptions): Http => ({
  send: (request) => send(request, options),
})

export const platformFetch: Fetch = (url, init) => fetch(url, init)

const send = async (request: HttpRequest, options: HttpOptions): Promise<HttpResult> => {
  const reason = refusesAddress(request.url, options.allowPrivate)
  if (reason) return { kind: 'refused', message: `The address ${reason}.` }
  if (options.signal?.aborted) return { kind: 'aborted', message: 'The call was ended before it was sent.' }
  const deadline = createDeadline(request.timeoutMs ?? options.timeoutMs, options.signal)
  const body = bodyOf(request)
  try {
    const response = await (options.fetch ?? platformFetch)(request.url, {
      method: request.method,
      headers: { accept: 'application/json', ...body.headers, ...request.headers },
      // Followed by hand or not at all: a redirect must not carry the secret elsewhere.
      redirect: 'manual',
      signal: deadline.signal,
      ...body.init,
    })
    deadline.restart()
    const text = await readText(response, deadline.signal, request.answerBytesMax ?? LIMITS.providerAnswerBytes)
    const ending = text.ending === 'broken' ? (deadline.cause() ?? 'lost') : text.ending
    if (ending === 'aborted') return { kind: 'aborted', message: 'The call was ended while the answer arrived.' }
    const answer = { kind: 'answered' as const, status: response.status, headers: response.headers, body: text.text }
    return ending === 'whole' ? answer : { ...answer, cut: ending }
  } catch (error) {
    return failureOf(error, deadline.cause(), body.isWhole())
  } finally {
    deadline.clear()
    body.release()
  }
}

export const failureOf = (error: unknown, cause: 'aborted' | 'timeout' | null, sentWhole: boolean): HttpResult => {
  if (cause === 'aborted') return { kind: 'aborted', message: 'The call was ended before an answer came.' }
  if (cause === 'timeout') return { kind: 'timeout', message: 'No answer came in time.' }
  if (!sentWhole || classifyNetworkError(error) === 'unsent') {
    return { kind: 'unsent', message: 'The connection could not be made.' }
  }
  return { kind: 'lost', message: 'The connection broke before an answer came.' }
}

/** One signal for the caller's end and for time running out; `restart` gives the same time again for the body. */
export const createDeadline = (timeoutMs: number, callers: AbortSignal | undefined) => {
  const controller = new AbortController()
  let cause: 'aborted' | 'timeout' | null = null
  const end = (why: 'aborted' | 'timeout') => {
    cause ??= why
    controller.abort(new Error(why))
  }
  // Set anew only when it rings too early: most calls are over long before.
  let restartedAtMs: number | null = null
  const onTimeout = () => {
    const leftMs = restartedAtMs === null ? 0 : restartedAtMs + timeoutMs - Date.now()
    if (leftMs <= 0) return end('timeout')
    timer = setTimeout(onTimeout, leftMs)
  }
  let timer = setTimeout(onTimeout, timeoutMs)
  const onAbort = () => end('aborted')
  if (callers?.aborted) onAbort()
  callers?.addEventListener('abort', onAbort, { once: true })
  return {
    signal: controller.signal,
    cause: () => cause,
    restart: () => {
      restartedAtMs = Date.now()
    },
    clear: () => {
      clearTimeout(timer)
      callers?.removeEventListener('abort', onAbort)
    },
  }
}

export type Body = { headers: Record<string, string>; init: RequestInit; isWhole(): boolean; release(): void }

export const bodyOf = (request: Pick<HttpRequest, 'json' | 'form'>): Body => {
  const nothing = { headers: {}, isWhole: () => true, release: () => {} }
  if (request.form) return { ...nothing, init: { body: request.form } }
  if (request.json === undefined) return { ...nothing, init: {} }
  const headers = { 'content-type': 'application/json' }
  const bytes = new TextEncoder().encode(JSON.stringify(request.json))
  // Only workerd has this stream, and only workerd needs it: Node names the cause of a failed connection.
  const { FixedLengthStream } = globalThis as { FixedLengthStream?: FixedLength }
  return FixedLengthStream
    ? { headers, ...heldBody(bytes, FixedLengthStream) }
    : { ...nothing, headers, init: { body: bytes } }
}

type FixedLength = new (length: number) => TransformStream<Uint8Array, Uint8Array>

/** A body of known length whose last byte waits; `isWhole` tells whether that byte has been let go. */
const heldBody = (bytes: Uint8Array, FixedLengthStream: FixedLength) => {
  const { readable, writable } = new FixedLengthStream(bytes.length)
  const writer = writable.getWriter()
  const ignore = () => {} // A broken body shows as the failure of the call itself.
  let whole = false
  writer.closed.catch(ignore)
  writer.write(bytes.subarray(0, -1)).catch(ignore)
  const finish = () => {
    whole = true
    writer.write(bytes.subarray(-1)).catch(ignore)
    writer.close().catch(ignore)
  }
  const timer = setTimeout(finish, HOLD_LAST_BYTE_MS)
  const release = () => {
    clearTimeout(timer)
    if (!whole) writer.abort().catch(ignore)
  }
  return { init: { body: readable }, isWhole: () => whole, release }
}

type Read = { text: string; ending: 'whole' | 'too_long' | 'broken' }

/** An announced length is one the runtime holds the provider to. A compressed body is longer than its header says. */
const isShort = (headers: Headers, bytesMax: number): boolean => {
  const length = headers.get('content-length') ?? ''
  return /^\d{1,9}$/.test(length) && Number(length) <= bytesMax && !headers.has('content-encoding')
}

/** Ends with the signal of its fetch, as any read of the body does. */
const readWhole = async (response: Response): Promise<Read> => {
  try {
    return { text: await response.text(), ending: 'whole' }
  } catch {
    return { text: '', ending: 'broken' }
  }
}

/** Reads at most `bytesMax`; the rest is dropped and the connection given back. */
export const readText = async (response: Response, signal: AbortSignal, bytesMax: number): Promise<Read> => {
  if (!response.body) return { text: '', ending: 'whole' }
  if (isShort(response.headers, bytesMax)) return readWhole(response)
  const reader = response.body.getReader()
  const ended = new Promise<'ended'>((resolve) => {
    if (signal.aborted) resolve('ended')
    signal.addEventListener('abort', () => resolve('ended'), { once: true })
  })
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  try {
    for (;;) {
      const step = await Promise.race([reader.read(), ended])
      if (step === 'ended') return { text, ending: 'broken' }
      if (step.done) return { text: text + decoder.decode(), ending: 'whole' }
      bytes += step.value.byteLength
      if (bytes > bytesMax) return { text, ending: 'too_long' }
      text += decoder.decode(step.value, { stream: true })
    }
  } catch {
    return { text, ending: 'broken' }
  } finally {
    // Frees the connection; without effect where the body was read to its end.
    reader.cancel().catch(() => {})
  }
}
