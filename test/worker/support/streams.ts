import type { Event } from '../../../src/contract/event.ts'
import { fetchWorker, type SendOptions } from './client.ts'
import { eventually } from './clock.ts'

/** Subscribers, over both transports. Close what you open. */

export type Subscriber = {
  events: Event[]
  closed: { code: number; reason: string } | null
  /** Waits until that many events have come. */
  until(count: number): Promise<Event[]>
  untilClosed(): Promise<{ code: number; reason: string }>
  close(): Promise<void>
}

/** `texts` are messages that are no events; `lists` the lengths of those that are a list of events. */
export type Socket = Subscriber & { texts: string[]; lists: number[]; say(text: string): void }

export const openSocket = async (path: string, options: SendOptions): Promise<Socket> => {
  const response = await fetchWorker('GET', path, { ...options, headers: { upgrade: 'websocket', ...options.headers } })
  const socket = response.webSocket
  if (!socket) throw new Error(`no socket: ${response.status} ${await response.text()}`)
  const events: Event[] = []
  const texts: string[] = []
  const lists: number[] = []
  const opened: Socket = {
    events,
    texts,
    lists,
    closed: null,
    say: (text) => socket.send(text),
    ...waiting(events, () => opened.closed),
    close: async () => {
      if (opened.closed === null) socket.close(1000, 'done')
    },
  }
  const listed = (list: Event[]): Event[] => {
    lists.push(list.length)
    return list
  }
  socket.addEventListener('message', ({ data }) => {
    const text = String(data)
    if (text.startsWith('{')) events.push(JSON.parse(text) as Event)
    else if (text.startsWith('[')) events.push(...listed(JSON.parse(text) as Event[]))
    else texts.push(text)
  })
  socket.addEventListener('close', ({ code, reason }) => {
    opened.closed = { code, reason }
    if (socket.readyState === WebSocket.CLOSING) socket.close(code, reason)
  })
  socket.accept()
  return opened
}

export type Stream = Subscriber & { blocks: string[] }

/** Server-sent events. `blocks` are the raw texts, to see which of them bear an `id`. */
export const openStream = async (path: string, options: SendOptions): Promise<Stream> => {
  const response = await fetchWorker('GET', path, options)
  if (response.status !== 200 || !response.body)
    throw new Error(`no stream: ${response.status} ${await response.text()}`)
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  const events: Event[] = []
  const blocks: string[] = []
  const opened: Stream = {
    events,
    blocks,
    closed: null,
    ...waiting(events, () => opened.closed),
    close: () => reader.cancel().catch(() => undefined),
  }
  const read = async () => {
    let text = ''
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      text += step.value
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const block = text.slice(0, end)
        text = text.slice(end + 2)
        blocks.push(block)
        const data = /^data: (.*)$/m.exec(block)?.[1]
        if (data) events.push(JSON.parse(data) as Event)
      }
    }
  }
  read()
    .catch(() => undefined)
    .finally(() => {
      opened.closed = { code: 0, reason: 'ended' }
    })
  return opened
}

const waiting = (events: Event[], closed: () => Subscriber['closed']) => ({
  until: (count: number) =>
    eventually(`${count} events, have ${JSON.stringify(events)}`, () => events.length >= count && events),
  untilClosed: () => eventually('the end of the subscription', closed),
})

export const durable = (events: Event[]): Event[] => events.filter((event) => event.type !== 'job.progress')
