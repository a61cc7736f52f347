import type { ServerResponse } from 'node:http'
import { type Given, numberOf } from '../directives.ts'
import type { Answering } from './answer.ts'
import { dayMs, type Serving } from './intake.ts'

/** An answer as a stream, with every way of going wrong that the directives know. */

type StreamDirective = 'slow' | 'stall_stream' | 'error_event' | 'malformed' | OutDirective
type OutDirective = 'cut' | 'split'

/** What one provider's stream of an answer is made of. */
export interface Script<Event extends { data: string }> {
  events: Iterable<Event>
  /** Books what has been generated with an event that is about to be sent. */
  book(event: Event): void
  /** The bytes of an event, whose data may be spoilt. */
  frame(data: string, event: Event): string
  /** The bytes of the error that `error_event` asks for. */
  error(): string
  /** What stands behind the last event. */
  tail?(): string
}

/** Streams the answer to a call whose headers have been written. */
export async function play<Event extends { data: string }>(
  state: Serving,
  response: ServerResponse,
  { directives, record }: Answering<StreamDirective>,
  script: Script<Event>,
): Promise<void> {
  const settle = (ending: 'answered' | 'cut') => state.ledger.settle(record, state.now(), ending)
  const out = createOut(response, directives)
  const delayMs = numberOf(directives, 'slow', 0, state.settings.chunkDelayMs)
  const stallAt = directives.has('stall_stream') ? numberOf(directives, 'stall_stream', 0, 1) : -1
  const errorAt = directives.has('error_event') ? numberOf(directives, 'error_event', 1, 2) : -1
  const spoilAt = directives.has('malformed') ? numberOf(directives, 'malformed', 0, 2) : -1
  let sent = 0
  // So that a stall before the first event is one after the headers.
  if (stallAt === 0) response.flushHeaders()
  for (const event of script.events) {
    if (sent === stallAt) await state.wait(numberOf(directives, 'stall_stream', 1, dayMs))
    if (sent === errorAt) {
      out.write(script.error())
      break
    }
    if (sent > 0) await state.wait(delayMs)
    if (response.destroyed) return
    script.book(event)
    const data = sent === spoilAt ? event.data.slice(0, -5) : event.data
    if (!out.write(script.frame(data, event))) await out.drained()
    if (out.isCut()) return settle('cut')
    sent += 1
  }
  if (script.tail) out.write(script.tail())
  response.end(() => settle('answered'))
}

/** Writes as the directives say: in pieces of some bytes, up to some byte. */
function createOut(response: ServerResponse, directives: Given<OutDirective>) {
  const cutAt = directives.has('cut') ? numberOf(directives, 'cut', 0, 100) : Number.POSITIVE_INFINITY
  const step = numberOf(directives, 'split', 0, 0)
  let written = 0
  let open = true
  return {
    write(text: string): boolean {
      if (!open) return true
      const bytes = Buffer.from(text)
      const kept = bytes.subarray(0, Math.max(0, cutAt - written))
      written += kept.length
      open = kept.length === bytes.length
      let flowing = true
      const size = step > 0 ? step : kept.length
      for (let at = 0; at < kept.length; at += size) flowing = response.write(kept.subarray(at, at + size))
      // What was written goes out before the connection breaks.
      if (!open) setImmediate(() => response.destroy())
      return flowing
    },
    isCut: () => !open,
    drained: () =>
      new Promise<void>((resolve) => {
        if (!response.writableNeedDrain) return resolve()
        const done = () => {
          response.off('drain', done)
          response.off('close', done)
          resolve()
        }
        response.on('drain', done)
        response.on('close', done)
      }),
  }
}

export const sseHeaders = { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' }

/** Events as most providers write them, with comments between them or other line ends where directives ask for those. */
export function dressed(directives: Given<'comments' | 'crlf'>, text: string): string {
  const shown = directives.has('comments') ? `: keep-alive\n\n${text}` : text
  return directives.has('crlf') ? shown.replace(/\n/g, '\r\n') : shown
}
