import * as v from 'valibot'
import { type Event, endsJob } from '../contract/event.ts'
import { LIMITS } from '../limits.ts'
import { Audience, type EventFilter } from './audience.ts'
import type { EventStore } from './event-store.ts'
import { heardOn, isFull, STREAM_QUEUE, socketSubscriber, streamSubscriber } from './subscribers.ts'

/**
 * Subscribers and what they are sent. Each has a cursor, the number up to which it has seen the story. One that has
 * caught up is sent events as they are committed; one that has not reads them from the store, in bounded steps. So it
 * sees every durable event once and in order, however it joined.
 */
export type Subscription = {
  filter: EventFilter
  /** Whose right it is; null for the super admin. */
  keyId: string | null
  expiresAtMs: number | null
  cursor: number
  /** A message of its socket is a list of events. */
  bundled: boolean
}

export type Subscriber = Subscription & {
  live: boolean
  /** Many lines go out as one. */
  sendsPieces: boolean
  /** What it was sent last ended what it follows, unless a replay comes behind. */
  sawEnd?: boolean
  /** All that there is for it at the moment, at least one line. */
  send(lines: readonly Line[]): void
  end(code: number, reason: string): void
}

/** An event, and its text, which all who see it share. */
export type Line = { event: Event; text: string }

/** An event, and whose it is. */
type Published = { event: Event; project: string | null }

const Attachment = v.object({
  filter: v.object({ job: v.nullable(v.string()), project: v.nullable(v.string()) }),
  keyId: v.nullable(v.string()),
  expiresAtMs: v.nullable(v.number()),
  bundled: v.optional(v.boolean(), false),
})

const NORMAL = 1000
const POLICY = 1008
const TRY_LATER = 1013

export class Broadcast {
  readonly #state: DurableObjectState
  readonly #events: EventStore
  readonly #head: () => number
  readonly #sockets = new Map<WebSocket, Subscriber>()
  readonly #audience = new Audience<Subscriber>()
  /** What is committed and not yet told, for each who sees it. */
  #untold = new Map<Subscriber, Line[]>()
  /** Texts in there that are sent one by one. */
  #texts = 0
  #toldAtMs = Number.NEGATIVE_INFINITY
  /** How long after that nothing more is told. */
  #pauseMs: number = LIMITS.broadcastEveryMs
  /** Ends the pause. */
  #timer: ReturnType<typeof setTimeout> | null = null
  /** All is told as soon as it is on disk. */
  #isAboutToTell = false

  constructor(state: DurableObjectState, events: EventStore, head: () => number) {
    this.#state = state
    this.#events = events
    this.#head = head
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair('ping', 'pong'))
    // The actor hibernates only when it is idle, and then everybody had caught up.
    for (const socket of state.getWebSockets()) {
      const attached = v.safeParse(Attachment, socket.deserializeAttachment())
      if (!attached.success) continue
      const subscription = { ...attached.output, cursor: head() }
      this.#add(socketSubscriber(socket, subscription, true, heardOn(state, socket, true)), socket)
    }
  }

  get full(): boolean {
    return this.#audience.size >= LIMITS.subscribersPerInstance
  }

  /**
   * Accepts the upgrade. `ended` says that the job of the filter is over: nothing will follow its last event.
   *
   * A socket of the whole instance hibernates: it may stay for days. One of a single job does not, for it lives about as
   * long as the job, and the Instance ends it: workerd (1.20261102) leaves the connection of a hibernating socket open
   * after the closing handshake until the actor is evicted, and clients would wait for that.
   */
  openSocket(subscription: Subscription, ended: boolean): Response {
    const { 0: client, 1: server } = new WebSocketPair()
    const { filter, keyId, expiresAtMs, bundled } = subscription
    if (isOfAll(filter)) {
      this.#state.acceptWebSocket(server)
      server.serializeAttachment({ filter, keyId, expiresAtMs, bundled } satisfies v.InferInput<typeof Attachment>)
    } else this.#acceptAwake(server)
    const heard = heardOn(this.#state, server, isOfAll(filter))
    const subscriber = socketSubscriber(server, subscription, false, heard)
    this.#add(subscriber, server)
    this.#catchUp(subscriber, ended)
    return new Response(null, { status: 101, webSocket: client })
  }

  /** Server-sent events (WHATWG HTML, 9.2). The stream keeps the actor awake while it is open. */
  openStream(subscription: Subscription, ended: boolean): Response {
    let subscriber: Subscriber | undefined
    let keepAlive: ReturnType<typeof setInterval> | undefined
    const encoder = new TextEncoder()
    const source: UnderlyingSource<Uint8Array> = {
      start: (controller) => {
        subscriber = streamSubscriber(controller, encoder, subscription, () => clearInterval(keepAlive))
        keepAlive = setInterval(() => {
          if (!isFull(controller)) controller.enqueue(encoder.encode(': keep-alive\n\n'))
        }, LIMITS.sseKeepAliveMs)
        this.#add(subscriber)
        this.#catchUp(subscriber, ended)
      },
      cancel: () => {
        clearInterval(keepAlive)
        if (subscriber) this.#audience.delete(subscriber)
      },
    }
    return new Response(new ReadableStream(source, STREAM_QUEUE), {
      headers: {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      },
    })
  }

  /** In order, what is durable after its commit. */
  publish(events: Published[], now: number): void {
    if (this.#audience.size === 0 || events.length === 0) return
    for (const { event, project } of events) this.#keep(event, project)
    this.#tellSoon(now)
  }

  /** What is told but not kept: it bears the number of the last durable event and moves no cursor. */
  progress(job: { id: string; project: string | null; batch: string | null }, now: number, data: Event['data']): void {
    if (this.#audience.size === 0) return
    const { id, project, batch } = job
    const at = new Date(now).toISOString()
    const ofBatch = batch === null ? {} : { batch }
    const event: Event = { seq: this.#head(), type: 'job.progress', job: id, ...ofBatch, at, data }
    this.publish([{ event, project }], now)
  }

  /** Who has not caught up reads what is durable from the store. */
  #keep(event: Event, project: string | null): void {
    const hearing = this.#audience.of(event, project).filter(({ live }) => live)
    if (hearing.length === 0) return
    const line = lineOf(event)
    for (const subscriber of hearing) {
      subscriber.cursor = event.seq
      const lines = this.#untold.get(subscriber)
      if (lines) lines.push(line)
      else this.#untold.set(subscriber, [line])
      if (!subscriber.sendsPieces) this.#texts += 1
    }
  }

  /**
   * At once where nothing was told a moment ago; else with all that follows within that moment: what costs is the sending,
   * more than what is sent. So the more were told, the longer is the moment; but it ends where telling would hold the
   * thread for long.
   */
  #tellSoon(now: number): void {
    if (this.#isAboutToTell || this.#untold.size === 0) return
    const waitMs = this.#toldAtMs + this.#pauseMs - now
    if (waitMs <= 0 || this.#texts >= LIMITS.broadcastTexts) this.#tellOnceOnDisk()
    // A clock that was set back holds nobody up.
    else this.#timer ??= setTimeout(() => this.#tellOnceOnDisk(), Math.min(waitMs, this.#pauseMs))
  }

  /** What is sent while a commit is on its way waits for it, each text by itself, which costs. Behind it nothing waits. */
  #tellOnceOnDisk(): void {
    if (this.#isAboutToTell) return
    this.#isAboutToTell = true
    const tell = () => {
      this.#isAboutToTell = false
      this.#tell(Date.now())
    }
    // A disk that fails breaks the actor; here it only ends the wait.
    void this.#state.storage.sync().then(tell, tell)
  }

  #tell(now: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#toldAtMs = now
    const untold = this.#untold
    this.#untold = new Map()
    this.#texts = 0
    this.#closeExpired(now)
    for (const [subscriber, lines] of untold) if (this.#audience.has(subscriber)) this.#deliver(subscriber, lines)
    this.#pauseMs = pauseAfter(untold.size)
  }

  /** A revoked key sees nothing more. */
  closeKey(keyId: string): void {
    for (const subscriber of this.#audience)
      if (subscriber.keyId === keyId) this.#close(subscriber, POLICY, 'key revoked')
  }

  closeAll(reason: string): void {
    this.#tell(Date.now())
    for (const subscriber of this.#audience) this.#close(subscriber, POLICY, reason)
  }

  /** A socket that its client closed. */
  forget(socket: WebSocket): void {
    const subscriber = this.#sockets.get(socket)
    if (subscriber) this.#audience.delete(subscriber)
    this.#sockets.delete(socket)
  }

  #acceptAwake(socket: WebSocket): void {
    socket.accept()
    socket.addEventListener('message', ({ data }) => {
      if (data === 'ping') socket.send('pong')
    })
    socket.addEventListener('close', () => this.forget(socket))
    socket.addEventListener('error', () => this.forget(socket))
  }

  #add(subscriber: Subscriber, socket?: WebSocket): void {
    this.#audience.add(subscriber)
    if (socket) this.#sockets.set(socket, subscriber)
  }

  /** What it has not seen may have been trimmed, also while it reads. A job whose story is still whole has lost nothing. */
  #gapOf({ cursor, filter }: Subscriber): Event | null {
    const { first } = this.#events.bounds()
    if (cursor >= first - 1 || this.#events.isWhole(filter)) return null
    const data = { after: cursor, first }
    return { seq: first - 1, type: 'stream.gap', job: null, at: new Date().toISOString(), data }
  }

  #catchUp(subscriber: Subscriber, ended: boolean): void {
    if (!this.#audience.has(subscriber)) return
    const gap = this.#gapOf(subscriber)
    const { events, cursor } = this.#events.after(gap?.seq ?? subscriber.cursor, subscriber.filter, this.#head())
    const lines = [...(gap ? [gap] : []), ...events].map(lineOf)
    if (lines.length > 0 && !this.#deliver(subscriber, lines)) return
    subscriber.cursor = cursor
    if (cursor < this.#head()) {
      setTimeout(() => this.#catchUp(subscriber, ended), 0)
      return
    }
    subscriber.live = true
    if (subscriber.sawEnd ?? ended) this.#close(subscriber, NORMAL, endOf(subscriber.filter))
  }

  /** False where the subscription ended with one of these. */
  #deliver(subscriber: Subscriber, lines: readonly Line[]): boolean {
    const last = lines.findIndex(({ event }) => endsStory(subscriber, event))
    try {
      subscriber.send(last === -1 ? lines : lines.slice(0, last + 1))
    } catch {
      this.#close(subscriber, TRY_LATER, 'too slow')
      return false
    }
    if (last !== -1) {
      this.#close(subscriber, NORMAL, endOf(subscriber.filter))
      return false
    }
    const { event } = lines.at(-1) ?? {}
    if (subscriber.filter.job !== null && event && event.type !== 'stream.gap') subscriber.sawEnd = endsJob(event.type)
    return true
  }

  #closeExpired(now: number): void {
    for (const subscriber of this.#audience.expired(now)) this.#close(subscriber, POLICY, 'key expired')
  }

  #close(subscriber: Subscriber, code: number, reason: string): void {
    this.#audience.delete(subscriber)
    try {
      subscriber.end(code, reason)
    } catch {
      // It is gone already; the others are still to be told.
    }
  }
}

const lineOf = (event: Event): Line => ({ event, text: JSON.stringify(event) })

/** While it catches up with a job, a replay may stand behind a final event: the end of the story decides. */
const endsStory = ({ filter, live }: Subscriber, { type }: Event): boolean =>
  filter.job === null ? Boolean(filter.batch) && type === 'batch.completed' : live && endsJob(type)

/** In ms: whoever is told costs the thread that keeps the books a small part of what is added for it here. */
const pauseAfter = (told: number): number =>
  Math.min(LIMITS.broadcastPauseMaxMs, Math.max(LIMITS.broadcastEveryMs, told * LIMITS.broadcastPerSubscriberMs))

const isOfAll = (filter: EventFilter): boolean => filter.job === null && !filter.batch
const endOf = (filter: EventFilter): string => (filter.job === null ? 'batch ended' : 'job ended')
