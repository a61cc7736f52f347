import type { ChatInput, ChatRequest } from '../contract/chat.ts'
import { errorBody, type Fault, fault } from '../contract/fault.ts'
import { type CallTools, type ChatOptions, startChat } from '../job/text-call.ts'
import type { ChatStream, ChatStreamEnd } from '../job/text-stream.ts'
import { LIMITS } from '../limits.ts'
import type { ChatPiece } from '../providers/dialect.ts'
import type { Failed } from '../providers/provider.ts'
import { planChat } from './candidates.ts'
import { estimatedUsage, inputOf, usageBody } from './chat.ts'
import { type Ending, endingOf, faultFrom, type LineCall } from './line-call.ts'
import { Refused } from './refused.ts'

/** `POST {base}/chat/completions` with `stream: true`: the chunks go from provider to client and nowhere else. */

export type StreamWorld = {
  requestId: string
  now(): number
  waitUntil(work: Promise<unknown>): void
  /** Ends the provider's call: the client has left. */
  abort: AbortController
}

/**
 * Answers once the model has begun to, so that until then the status can still say that it failed. Where that takes longer
 * than proxies are patient, it answers before, and what happens then is told inside the stream.
 */
export const streamChat = async (
  request: ChatRequest,
  line: LineCall,
  tools: CallTools,
  id: string,
  world: StreamWorld,
): Promise<Response> => {
  const call = new StreamedChat(request, line, tools, id, world)
  await line.open(call.plan)
  const begun = call.begin()
  // Told in the stream, or to nobody where the client has left.
  begun.catch(() => {})
  world.waitUntil(call.over)
  const early = await firstOf(begun)
  const headers: Record<string, string> = {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    // Read by nginx and its like: a proxy that collects a stream destroys it.
    'x-accel-buffering': 'no',
    ...(early ? {} : call.headers()),
  }
  return new Response(call.body(begun), { headers })
}

/** True where it is not settled within the time between two keep-alives. Rejects as it does. */
const firstOf = async (begun: Promise<void>): Promise<boolean> => {
  let timer: ReturnType<typeof setTimeout> | null = null
  const quiet = new Promise<true>((resolve) => {
    timer = setTimeout(() => resolve(true), LIMITS.sseKeepAliveMs)
  })
  try {
    return (await Promise.race([begun, quiet])) === true
  } finally {
    if (timer !== null) clearTimeout(timer)
  }
}

const KEEP_ALIVE = ': keep-alive\n\n'
const DONE = 'data: [DONE]\n\n'

class StreamedChat {
  readonly plan: ReturnType<typeof planChat>
  /** Settled when all is over: the last byte given, the call closed, the connection let go. */
  readonly over: Promise<void>
  readonly #input: ChatInput
  readonly #options: ChatOptions
  readonly #wantsUsage: boolean
  readonly #line: LineCall
  readonly #tools: CallTools
  readonly #world: StreamWorld
  #stream: ChatStream | null = null
  #firstTextMs = 0
  #finished = false
  #left = false
  /** Ended while its reader paused: told with the next read. */
  #cut = false
  #end: () => void = () => {}

  constructor(request: ChatRequest, line: LineCall, tools: CallTools, id: string, world: StreamWorld) {
    this.#input = inputOf(request)
    this.#options = { id, includeObfuscation: request.stream_options?.include_obfuscation ?? undefined }
    this.#wantsUsage = request.stream_options?.include_usage === true
    this.#line = line
    this.#tools = tools
    this.#world = world
    this.plan = planChat(request, this.#input)
    this.over = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  /** Until a model has begun to answer. Throws `Refused` where none does. */
  async begin(): Promise<void> {
    try {
      let { opening } = this.#line
      for (;;) {
        const started = await startChat(opening, this.#input, this.#options, this.#tools)
        if (started.kind === 'ended') {
          const outcome = started.outcome as Failed
          opening = await this.#line.again(endingOf({ ...started, outcome }))
          continue
        }
        const failed = await started.begin()
        if (failed === null) {
          this.#stream = started
          this.#firstTextMs = this.#world.now() - started.startedAtMs
          // It left in the moment in which the model began: nobody else would end it.
          if (this.#left) this.#leave()
          return
        }
        void started.close()
        opening = await this.#line.again({ ...this.#endingOf(started, started.end(), false), fault: failed })
      }
    } catch (error) {
      this.#finished = true
      if (!(error instanceof Refused)) this.#line.fail()
      this.#end()
      throw error
    }
  }

  headers(): Record<string, string> {
    return this.#line.headers(this.#firstTextMs, this.#stream?.dropped ?? [])
  }

  /** Given as it is asked for: a client that reads slowly slows the provider, and nothing gathers here. */
  body(begun: Promise<void>): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder()
    const encode = (text: string) => encoder.encode(text)
    /** Since when somebody waits and has heard nothing, a comment neither. */
    let quietSinceMs: number | null = null
    let timer: ReturnType<typeof setTimeout> | null = null
    // One timer for the whole stream, which rings when whoever waits now will have waited long.
    const watch = (controller: ReadableStreamDefaultController<Uint8Array>, afterMs: number): void => {
      timer = setTimeout(() => {
        const { signal } = this.#world.abort
        // Whoever stopped reading is not there to hear of the end.
        if (signal.aborted && quietSinceMs === null) this.#stopUnread()
        if (this.#cut) return
        const now = this.#world.now()
        // A clock that was set back holds no comment up.
        const quietMs = quietSinceMs === null ? 0 : Math.max(0, now - quietSinceMs)
        if (quietMs < LIMITS.sseKeepAliveMs) return watch(controller, LIMITS.sseKeepAliveMs - quietMs)
        controller.enqueue(encode(KEEP_ALIVE))
        quietSinceMs = now
        watch(controller, LIMITS.sseKeepAliveMs)
      }, afterMs)
    }
    return new ReadableStream(
      {
        start: (controller) => watch(controller, LIMITS.sseKeepAliveMs),
        pull: async (controller) => {
          quietSinceMs = this.#world.now()
          const text = await this.#take(begun)
          quietSinceMs = null
          if (this.#left) return
          if (text !== '') controller.enqueue(encode(text))
          if (!this.#finished) return
          if (timer !== null) clearTimeout(timer)
          controller.close()
        },
        cancel: () => {
          if (timer !== null) clearTimeout(timer)
          this.#leave()
        },
      },
      { highWaterMark: 0 },
    )
  }

  /** What is to be sent next; with the last of it the call is closed. */
  async #take(begun: Promise<void>): Promise<string> {
    try {
      await begun
      const stream = this.#stream
      if (!stream) return ''
      if (this.#cut) return this.#errorEvent(faultFrom(LEFT))
      const pieces = await stream.next()
      if (this.#finished) return ''
      const text = pieces === null ? '' : eventsOf(pieces)
      return pieces === null || stream.isOver ? text + this.#finish(stream) : text
    } catch (error) {
      this.#finished = true
      if (error instanceof Refused) return this.#errorEvent(error.fault)
      this.#line.fail()
      this.#end()
      return this.#errorEvent(fault('internal', 'Something went wrong on our side.'))
    }
  }

  /** The end of the stream, as the client is told. */
  #finish(stream: ChatStream): string {
    const end = stream.end()
    const ending = this.#endingOf(stream, end, true)
    const micros = ending.usage && this.#line.cost(ending.usage, ending)
    this.#settle(stream, ending)
    if (end.fault) return this.#errorEvent(faultFrom(end.fault))
    if (!this.#wantsUsage || !ending.usage) return DONE
    const chunk = {
      id: end.id ?? this.#options.id,
      object: 'chat.completion.chunk',
      created: Math.floor(this.#world.now() / 1000),
      model: end.model ?? '',
      choices: [],
      usage: usageBody(ending.usage, micros),
    }
    return `data: ${JSON.stringify(chunk)}\n\n${DONE}`
  }

  /** The client has left. What was generated until now is paid for. */
  #leave(): void {
    this.#left = true
    const stream = this.#finished ? null : this.#stream
    if (stream) {
      const end = stream.end()
      this.#settle(stream, this.#endingOf(stream, end.fault ? { ...end, fault: LEFT } : end, true))
    }
    this.#world.abort.abort()
  }

  /** Ended from outside, by the Instance or the runtime, while nobody asked for more. */
  #stopUnread(): void {
    if (this.#finished || !this.#stream) return
    this.#cut = true
    this.#settle(this.#stream, this.#endingOf(this.#stream, { ...this.#stream.end(), fault: LEFT }, true))
  }

  #settle(stream: ChatStream, ending: Ending): void {
    if (this.#finished) return
    this.#finished = true
    this.#line.settle(ending)
    void stream.close().finally(this.#end)
  }

  #endingOf(stream: ChatStream, end: ChatStreamEnd, delivered: boolean): Ending {
    const { fault: failed, usage, promptUsage, text, serviceTier, providerMs } = end
    // A model that was not heard has used what its provider says, which may be nothing.
    const estimate = delivered || text !== '' || failed?.code === 'canceled'
    return {
      fault: failed,
      usage: usage ?? (estimate ? estimatedUsage(this.#input, text, promptUsage) : null),
      delivered,
      cached: stream.cached,
      serviceTier,
      providerRequestId: stream.providerRequestId ?? end.id,
      providerMs,
      rate: stream.rate,
    }
  }

  #errorEvent(problem: Fault): string {
    return `data: ${JSON.stringify(errorBody(problem, this.#world.requestId))}\n\n`
  }
}

const LEFT: Failed = { kind: 'fault', code: 'canceled', message: 'The client left before the answer was whole.' }

const eventsOf = (pieces: readonly ChatPiece[]): string => {
  let text = ''
  for (const { json } of pieces) text += `data: ${json}\n\n`
  return text
}
