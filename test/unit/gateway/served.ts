import { ChatRequest } from '../../../src/contract/chat.ts'
import { EmbedRequest } from '../../../src/contract/embedding.ts'
import { check } from '../../../src/edge/body.ts'
import { answerChat } from '../../../src/edge/chat.ts'
import { streamChat } from '../../../src/edge/chat-stream.ts'
import { answerEmbeddings } from '../../../src/edge/embeddings.ts'
import { Leases } from '../../../src/edge/foreground.ts'
import { LineCall } from '../../../src/edge/line-call.ts'
import { Refused } from '../../../src/edge/refused.ts'
import { problem } from '../../../src/edge/respond.ts'
import type { Fetch } from '../../../src/providers/http.ts'
import type { FakeForeground } from './fake-foreground.ts'

/** A request on its way through the gateway, without a runtime: what the route does between the body and the answer. */
export type Served = {
  /** As the router would give it, refusals included. */
  response: Promise<Response>
  /** The client goes away. */
  leave(): void
  /** All that goes on behind the answer. */
  settled(): Promise<void>
}

/** A secret that no master key opens. */
export const SEALED_FOR_EVER = 'sealed for ever'

const REQUEST = { model: 'openai/gpt-5-mini', messages: [{ role: 'user', content: 'Hello there' }] }

type Kind = 'chat' | 'stream' | 'embeddings'

export const serve = (kind: Kind, foreground: FakeForeground, fetch: Fetch, more: object = {}): Served => {
  const abort = new AbortController()
  const works: Promise<unknown>[] = []
  const waitUntil = (work: Promise<unknown>) => void works.push(work.catch(() => {}))
  const now = () => Date.now()
  const world = {
    instance: 'prod',
    startedAtMs: now(),
    now,
    signal: abort.signal,
    stop: () => abort.abort(),
    waitUntil,
  }
  const line = new LineCall(foreground, new Leases(), world)
  const vault = {
    open: async ({ ciphertext }: { ciphertext: string }) => (ciphertext === SEALED_FOR_EVER ? null : ciphertext),
  }
  const tools = { vault, allowPrivate: true, signal: abort.signal, now, fetch }
  const answer = async (): Promise<Response> => {
    if (kind === 'embeddings') {
      const body = { model: 'openai/text-embedding-3-small', input: 'a text', ...more }
      return answerEmbeddings(check(EmbedRequest, body), line, tools)
    }
    const request = check(ChatRequest, { ...REQUEST, ...(kind === 'stream' ? { stream: true } : {}), ...more })
    if (kind === 'chat') return answerChat(request, line, tools, 'chatcmpl-ours')
    return streamChat(request, line, tools, 'chatcmpl-ours', { requestId: 'req_1', now, waitUntil, abort })
  }
  const response = answer().catch((error: unknown) => {
    if (error instanceof Refused) return problem(error.fault, 'req_1', error.headers)
    throw error
  })
  waitUntil(response)
  return {
    response,
    leave: () => abort.abort(),
    settled: async () => {
      for (let seen = -1; seen < works.length; ) {
        seen = works.length
        await Promise.all(works)
      }
    },
  }
}

/** An answer's events as the client sees them: the data of each, comments left out. */
export const eventsIn = (text: string): string[] =>
  text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => block.slice('data: '.length))

export type Parts = Iterable<Uint8Array | string>

export type FakeStream = {
  fetch: Fetch
  /** Pieces that the network has taken from the provider. */
  pulled(): number
  /** Whether our side has ended the call. */
  aborted(): boolean
  /** What was sent. */
  requests: { url: string; body: Record<string, unknown>; headers: Headers }[]
}

type Ending = 'close' | 'break' | 'hang'

/** A provider that streams these pieces one by one as they are asked for, and then ends, breaks or says nothing more. */
export const streaming = (parts: Parts, ending: Ending = 'close', headers: Record<string, string> = {}): FakeStream => {
  const requests: FakeStream['requests'] = []
  let pulled = 0
  let aborted = false
  const fetch: Fetch = async (url, init) => {
    requests.push({ url, body: JSON.parse(await bodyText(init)), headers: new Headers(init.headers) })
    const iterator = parts[Symbol.iterator]()
    let stop: (error: unknown) => void = () => {}
    const stopped = new Promise<never>((_, reject) => {
      stop = reject
    })
    stopped.catch(() => {})
    init.signal?.addEventListener('abort', () => {
      aborted = true
      stop(new DOMException('aborted', 'AbortError'))
    })
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const { done, value } = iterator.next()
          if (!done) {
            pulled += 1
            controller.enqueue(typeof value === 'string' ? new TextEncoder().encode(value) : value)
          } else if (ending === 'close') controller.close()
          else if (ending === 'break') controller.error(new TypeError('terminated'))
          else await stopped
        },
        cancel() {
          aborted = true
          stop(new Error('cancelled'))
        },
      },
      { highWaterMark: 0 },
    )
    return new Response(body, { headers: { 'content-type': 'text/event-stream', ...headers } })
  }
  return { fetch, requests, pulled: () => pulled, aborted: () => aborted }
}

const bodyText = async (init: RequestInit): Promise<string> => new Response(init.body as BodyInit).text()

/** A provider that answers these in turn, and the last of them from then on. */
export const inTurn = (...fetches: Fetch[]): Fetch => {
  let at = 0
  return (url, init) => {
    const fetch = fetches[Math.min(at, fetches.length - 1)]
    at += 1
    if (!fetch) throw new Error('nobody answers')
    return fetch(url, init)
  }
}

export const answering =
  (status: number, body: unknown, headers: Record<string, string> = {}): Fetch =>
  async () =>
    new Response(typeof body === 'string' ? body : JSON.stringify(body), {
      status,
      headers: { 'content-type': 'application/json', ...headers },
    })

/** Never answers; ends when it is aborted. */
export const silent: Fetch = (_url, init) =>
  new Promise((_, reject) => {
    init.signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')))
  })

const HEAD = '"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763700000,"model":"gpt-5-mini-2025-08-07"'

export const chunk = (delta: object, finish: string | null = null): string =>
  `data: {${HEAD},"choices":[{"index":0,"delta":${JSON.stringify(delta)},"finish_reason":${JSON.stringify(finish)}}]}\n\n`
export const usageChunk = `data: {${HEAD},"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}\n\n`
export const DONE = 'data: [DONE]\n\n'

/** A recorded stream: its pieces are its chunks. */
export const RECORDED = [
  chunk({ role: 'assistant', content: '', refusal: null }),
  chunk({ content: 'Grüße ' }),
  chunk({ content: '🚢, 灯' }),
  chunk({ tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name: 'f', arguments: '' } }] }),
  chunk({ tool_calls: [{ index: 0, function: { arguments: '{"a":"ü"}' } }] }),
  chunk({}, 'tool_calls'),
  usageChunk,
  DONE,
]

export const COMPLETION = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1_763_700_000,
  model: 'gpt-5-mini-2025-08-07',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hi!', refusal: null }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 9, completion_tokens: 5, total_tokens: 14 },
}

export const ERROR = (code: string, message = 'The server had an error.') => ({ error: { code, type: code, message } })
