import { LIMITS } from '../limits.ts'
import type { Line, Subscriber, Subscription } from './broadcast.ts'

/**
 * One who is sent events, over either transport. `send` throws where too much is on its way to a reader that does not
 * keep up; it is then dropped, and can resume where it was.
 */

/** Since when, or how often, a client was heard: any value that changes when it is heard again. */
export type Heard = () => number | null

/**
 * The platform does not tell how much a socket has still to send: workerd (1.20261102) has no `bufferedAmount`
 * (https://github.com/cloudflare/workerd/issues/988). What can be counted is what was sent since the client was last heard,
 * and a client that is stalled or gone is not heard. So one that says nothing is sent a bounded amount and closed; one
 * that sends a `ping` now and then goes on for ever.
 */
export const socketSubscriber = (
  socket: Pick<WebSocket, 'send' | 'close'>,
  subscription: Subscription,
  live: boolean,
  heard: Heard,
): Subscriber => {
  let unheardBytes = 0
  let lastHeard = heard()
  const sendText = (text: string) => {
    unheardBytes += atMostBytes(text)
    if (unheardBytes > LIMITS.socketUnheardBytes) {
      const now = heard()
      if (now === lastHeard) throw new Error('the client was not heard for too long')
      lastHeard = now
      unheardBytes = atMostBytes(text)
    }
    socket.send(text)
  }
  return {
    ...subscription,
    live,
    sendsPieces: subscription.bundled,
    send: (lines) => {
      if (subscription.bundled) for (const piece of piecesOf(lines)) sendText(listOf(piece))
      else for (const { text } of lines) sendText(text)
    },
    end: (code, reason) => socket.close(code, reason),
  }
}

/** What may be sent in one piece. */
const piecesOf = (lines: readonly Line[]): Line[][] => {
  const pieces: Line[][] = []
  let left = 0
  for (const line of lines) {
    if (left <= 0) {
      pieces.push([])
      left = LIMITS.pieceCharacters
    }
    pieces.at(-1)?.push(line)
    left -= line.text.length
  }
  return pieces
}

const listOf = (lines: readonly Line[]): string => `[${lines.map(({ text }) => text).join(',')}]`

/** A hibernating socket is heard by the platform, which answers its `ping`; one that is kept awake is listened to. */
export const heardOn = (state: DurableObjectState, socket: WebSocket, hibernates: boolean): Heard => {
  if (hibernates) return () => state.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? null
  let times = 0
  socket.addEventListener('message', () => {
    times += 1
  })
  return () => times
}

/** Of a stream the backlog is known, where its queue counts bytes. */
export const STREAM_QUEUE: QueuingStrategy<Uint8Array> = {
  highWaterMark: LIMITS.streamBacklogBytes,
  size: (chunk) => chunk?.byteLength ?? 0,
}

export const streamSubscriber = (
  controller: Pick<ReadableStreamDefaultController<Uint8Array>, 'desiredSize' | 'enqueue' | 'close'>,
  encoder: TextEncoder,
  subscription: Subscription,
  stop: () => void,
): Subscriber => ({
  ...subscription,
  live: false,
  sendsPieces: true,
  send: (lines) => {
    for (const piece of piecesOf(lines)) {
      if (isFull(controller)) throw new Error('the reader is too slow')
      controller.enqueue(encoder.encode(piece.map(streamText).join('')))
    }
  },
  end: () => {
    stop()
    controller.close()
  },
})

const streamText = ({ event, text }: Line): string => {
  const id = event.type === 'job.progress' ? '' : `id: ${event.seq}\n`
  return `${id}event: ${event.type}\ndata: ${text}\n\n`
}

/** Nothing more fits before the reader has taken some. */
export const isFull = ({ desiredSize }: Pick<ReadableStreamDefaultController<Uint8Array>, 'desiredSize'>): boolean =>
  (desiredSize ?? 0) <= 0

/** Exact for ASCII, which events nearly always are; else the most that UTF-8 can need. */
const atMostBytes = (text: string): number => (IS_ASCII.test(text) ? text.length : 3 * text.length)
const IS_ASCII = /^\p{ASCII}*$/u
