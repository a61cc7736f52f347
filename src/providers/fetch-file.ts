import { LIMITS } from '../limits.ts'
import { refusesAddress } from './address.ts'
import { createDeadline, type Fetch, platformFetch } from './http.ts'

/**
 * `file`: its bytes, where it is small and says so; else the body streams, and `length` is in bytes and null where it is
 * not known beforehand. A stream that breaks errors.
 * `failed`: `retryable` where the same URL may work later. Messages hold no URL, since result URLs are signed.
 */
export type FetchedFile =
  | { kind: 'file'; body: ReadableStream<Uint8Array>; length: number | null; contentType: string | null }
  | { kind: 'file'; bytes: Uint8Array; contentType: string | null }
  | { kind: 'failed'; message: string; status?: number; retryable: boolean }

export type FileOptions = {
  allowPrivate: boolean
  signal?: AbortSignal | undefined
  /** For the whole transfer, redirects and body included. */
  timeoutMs: number
  fetch?: Fetch | undefined
}

const REDIRECTS = [301, 302, 303, 307, 308]

/**
 * Fetches a generated file without credentials. Follows up to `LIMITS.redirects` redirects by hand, so that every hop
 * passes the guard. Read the body or cancel it: until then it holds a connection.
 */
export const fetchFile = async (url: string, options: FileOptions): Promise<FetchedFile> => {
  const deadline = createDeadline(options.timeoutMs, options.signal)
  const failed = (message: string, retryable: boolean, status?: number): FetchedFile => {
    deadline.clear()
    return { kind: 'failed', message, retryable, ...(status === undefined ? {} : { status }) }
  }
  let at = url
  for (let hop = 0; hop <= LIMITS.redirects; hop += 1) {
    const reason = refusesAddress(at, options.allowPrivate)
    if (reason) return failed(`The file's address ${reason}.`, false)
    let response: Response
    try {
      const init = { method: 'GET', redirect: 'manual', signal: deadline.signal } as const
      response = await (options.fetch ?? platformFetch)(at, init)
      if (response.status === 200 && isSmall(response.headers)) return await heldFile(response, deadline)
    } catch {
      if (deadline.cause() === 'aborted') return failed('The download was ended.', false)
      return failed(deadline.cause() ? 'The file did not come in time.' : 'The connection to the file broke.', true)
    }
    const { status, headers, body } = response
    if (status === 200 && body) return fileOf(body, headers, deadline)
    await body?.cancel().catch(() => {})
    const target = REDIRECTS.includes(status) ? headers.get('location') : null
    if (target === null) return failed(`The file was answered with status ${status}.`, isPassing(status), status)
    if (!URL.canParse(target, at)) return failed('The file redirects to no valid address.', false, status)
    at = new URL(target, at).href
  }
  return failed(`The file redirects more than ${LIMITS.redirects} times.`, false)
}

const isPassing = (status: number): boolean => status === 408 || status === 425 || status === 429 || status >= 500

const isSmall = (headers: Headers): boolean => {
  const length = lengthOf(headers)
  return length !== null && length <= LIMITS.artifactHeldBytes
}

/** Read at once: a stream through three hands costs more than such a file. */
const heldFile = async (response: Response, deadline: ReturnType<typeof createDeadline>): Promise<FetchedFile> => {
  const bytes = new Uint8Array(await response.arrayBuffer())
  deadline.clear()
  return { kind: 'file', bytes, contentType: response.headers.get('content-type') }
}

const fileOf = (
  body: ReadableStream<Uint8Array>,
  headers: Headers,
  deadline: ReturnType<typeof createDeadline>,
): FetchedFile => {
  // Piped rather than handed on, so that the clock stops with the stream and cannot cut a later use of the connection.
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  body
    .pipeTo(writable, { signal: deadline.signal })
    .catch(() => {}) // The reader of the other end sees it.
    .finally(deadline.clear)
  return { kind: 'file', body: readable, length: lengthOf(headers), contentType: headers.get('content-type') }
}

/** A compressed body is longer than its header says once it is read. */
const lengthOf = (headers: Headers): number | null => {
  const text = headers.get('content-length') ?? ''
  const encoded = (headers.get('content-encoding') ?? 'identity') !== 'identity'
  return /^\d{1,15}$/.test(text) && !encoded ? Number(text) : null
}
