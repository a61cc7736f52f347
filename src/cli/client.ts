import WebSocket from 'ws'
import { CommandError } from './command.ts'

/** A small client of the HTTP contract, for the demo and the tests: one key, one base URL. */
export type Client = {
  /** One request; `body` goes as JSON. Never throws for a status, only when there is no answer. */
  call: <T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ) => Promise<Answer<T>>
  /** As `call`, but anything other than 2xx is an error with the fault's message. Returns the body. */
  ask: <T>(method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<T>
  /** Subscribes by WebSocket; `path` such as `/v1/instances/demo/events?after=0`. Resolves when connected. */
  subscribe: (path: string) => Promise<Subscription>
  /** The same server with another key. */
  withKey: (key: string) => Client
}

type Answer<T> = { status: number; headers: Headers; body: T; text: string }

/** An event of the contract; what `data` holds depends on the type. */
export type JobEvent = { seq: number; type: string; job: string; at: string; data: Record<string, unknown> }

type Subscription = {
  /** Everything received so far, in order. */
  events: JobEvent[]
  /** The first event, past or to come, that fits. Rejects after `withinMs` or when the socket closes first. */
  until: (fits: (event: JobEvent) => boolean, withinMs?: number) => Promise<JobEvent>
  onEvent: (listener: (event: JobEvent) => void) => void
  send: (text: string) => void
  /** Close code, once closed from either side. */
  closed: Promise<number>
  close: () => Promise<number>
}

/** A refusal by the server, as a line that a person can act on. */
class ApiError extends CommandError {
  readonly status: number
  readonly code: string

  constructor(request: string, status: number, code: string, message: string) {
    super(`${request}: ${status} ${code}: ${message}`)
    this.status = status
    this.code = code
  }
}

export const createClient = (url: string, key: string | null = null): Client => {
  const authorization: Record<string, string> = key === null ? {} : { authorization: `Bearer ${key}` }
  const call: Client['call'] = async <T>(method: string, path: string, body?: unknown, headers = {}) => {
    const response = await fetch(new URL(path, url), {
      method,
      redirect: 'manual',
      headers: { ...authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, body: parse(text) as T, text }
  }
  return {
    call,
    ask: async <T>(method: string, path: string, body?: unknown, headers = {}) => {
      const answer = await call<T>(method, path, body, headers)
      if (answer.status >= 200 && answer.status < 300) return answer.body
      const { code = 'unknown', message = answer.text.slice(0, 200) } =
        (answer.body as { error?: { code?: string; message?: string } } | null)?.error ?? {}
      throw new ApiError(`${method} ${path}`, answer.status, code, message)
    },
    subscribe: (path) => subscribe(new URL(path, url), authorization),
    withKey: (other) => createClient(url, other),
  }
}

const subscribe = async (url: URL, headers: Record<string, string>): Promise<Subscription> => {
  url.protocol = url.protocol.replace('http', 'ws')
  const socket = new WebSocket(url, { headers })
  const events: JobEvent[] = []
  const listeners = new Set<(event: JobEvent) => void>()
  socket.on('message', (data) => {
    const event = parse(String(data)) as JobEvent | null
    if (typeof event?.type !== 'string') return
    events.push(event)
    for (const listener of listeners) listener(event)
  })
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  await new Promise<void>((resolve, reject) => socket.once('open', () => resolve()).once('error', reject))
  // After the handshake an error is always followed by a close, which is what callers wait for.
  socket.on('error', () => {})
  return {
    events,
    closed,
    until: (fits, withinMs = 30_000) => firstFit(events, listeners, fits, withinMs, closed),
    onEvent: (listener) => listeners.add(listener),
    send: (text) => socket.send(text),
    close: () => {
      socket.close()
      return closed
    },
  }
}

const firstFit = (
  events: JobEvent[],
  listeners: Set<(event: JobEvent) => void>,
  fits: (event: JobEvent) => boolean,
  withinMs: number,
  closed: Promise<number>,
): Promise<JobEvent> =>
  new Promise((resolve, reject) => {
    const past = events.find(fits)
    if (past) return resolve(past)
    const seen = () => events.map((event) => `${event.seq} ${event.type}`).join(', ') || 'none'
    const end = () => {
      clearTimeout(timer)
      listeners.delete(listen)
    }
    const listen = (event: JobEvent) => {
      if (!fits(event)) return
      end()
      resolve(event)
    }
    const timer = setTimeout(() => {
      end()
      reject(new Error(`no such event within ${withinMs} ms; seen: ${seen()}`))
    }, withinMs)
    listeners.add(listen)
    void closed.then((code) => {
      end()
      reject(new Error(`the socket closed (${code}) before such an event; seen: ${seen()}`))
    })
  })

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
