import type { ServerResponse } from 'node:http'
import { type Directives, numberOf } from './directives.ts'
import type { Accepted } from './intake.ts'
import { directedProblem, errorBody } from './problems.ts'
import { book, type Reply, usageOf } from './reply.ts'
import type { Exchange, State } from './state.ts'

/** One event of a stream: its JSON, and what has been generated with it. */
interface Event {
  data: string
  tokens: number
  tellsUsage: boolean
}

/** `streamGenerateContent`, as events or as a list, with every way of going wrong that the directives know. */
export async function streamAnswer(
  state: State,
  { response, model, sse }: Exchange,
  accepted: Accepted,
  reply: Reply,
): Promise<void> {
  const { directives, record } = accepted
  const settle = (ending: 'answered' | 'cut') => state.ledger.settle(record, state.now(), ending)
  book(record, reply, 0)
  if (directives.has('cut_after')) {
    settle('cut')
    response.destroy()
    return
  }
  response.writeHead(200, {
    'content-type': sse ? 'text/event-stream' : 'application/json; charset=UTF-8',
    'content-disposition': 'attachment',
    server: 'scaffolding on HTTPServer2',
  })
  // So that a stall before the first event is one after the headers.
  response.flushHeaders()
  const out = createOut(response, directives, sse)
  const delayMs = numberOf(directives, 'slow', 0, state.settings.chunkDelayMs)
  const stallAt = directives.has('stall_stream') ? numberOf(directives, 'stall_stream', 0, 1) : -1
  const errorAt = directives.has('error_event') ? numberOf(directives, 'error_event', 1, 2) : -1
  const spoilAt = directives.has('malformed') ? numberOf(directives, 'malformed', 0, 2) : -1
  let sent = 0
  let generated = 0
  for (const event of directives.has('empty_stream') ? [] : eventsOf(model, accepted, reply)) {
    if (sent === stallAt) await state.wait(numberOf(directives, 'stall_stream', 1, 24 * 60 * 60 * 1000))
    if (sent === errorAt) {
      out.write(JSON.stringify(errorBody(directedProblem(directives, numberOf(directives, 'error_event', 0, 500)))))
      break
    }
    if (sent > 0) await state.wait(delayMs)
    if (response.destroyed) return
    generated += event.tokens
    book(record, reply, generated)
    record.usageTold = event.tellsUsage
    record.events += 1
    if (!out.write(sent === spoilAt ? event.data.slice(0, -5) : event.data)) await out.drained()
    if (out.isCut()) return settle('cut')
    sent += 1
  }
  out.end()
  response.end(() => settle('answered'))
}

/** Writes as the directives say: in pieces of some bytes, up to some byte, with other line ends. */
function createOut(response: ServerResponse, directives: Directives, sse: boolean) {
  const cutAt = directives.has('cut') ? numberOf(directives, 'cut', 0, 100) : Number.POSITIVE_INFINITY
  const step = numberOf(directives, 'split', 0, 0)
  const newline = directives.has('lf') ? '\n' : '\r\n'
  let written = 0
  let open = true
  let first = true
  const put = (text: string): boolean => {
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
  }
  return {
    write(data: string): boolean {
      const comment = directives.has('comments') ? `: keep-alive${newline}${newline}` : ''
      const text = sse ? `${comment}data: ${data}${newline}${newline}` : `${first ? '[' : ',\r\n'}${data}`
      first = false
      return put(text)
    },
    end: () => {
      if (!sse) put(first ? '[]' : ']')
    },
    isCut: () => !open,
    drained: () =>
      new Promise<void>((resolve) => {
        if (!response.writableNeedDrain) return resolve()
        response.once('drain', resolve)
        response.once('close', resolve)
      }),
  }
}

function* eventsOf(model: string, { id, directives }: Accepted, reply: Reply): Generator<Event> {
  let generated = 0
  const event = (fields: object, tokens: number, isLast = false): Event => {
    generated += tokens
    const usageMetadata = usageOf(reply, generated)
    const told = reply.tellsUsage ? { usageMetadata } : {}
    return {
      data: JSON.stringify({ ...fields, ...told, modelVersion: model, responseId: id }),
      tokens,
      tellsUsage: reply.tellsUsage && isLast,
    }
  }
  if (reply.block !== null) return yield event({ promptFeedback: { blockReason: reply.block } }, 0, true)
  if (reply.noCandidates) return yield event({}, 0, true)
  const indexes = Array.from({ length: reply.candidates }, (_, index) => index)
  const isWhole = reply.finish === 'STOP' || reply.finish === 'MAX_TOKENS'
  // A filter strikes in the midst of it.
  const parts = isWhole ? reply.parts : reply.parts.slice(0, 2)
  for (const { part, tokens } of parts)
    for (const index of indexes)
      yield event({ candidates: [{ content: { parts: [part], role: 'model' }, index }] }, tokens)
  if (directives.has('no_finish')) return
  for (const index of indexes) {
    const content = isWhole ? { content: { parts: [{ text: '' }], role: 'model' } } : {}
    const end = { ...content, finishReason: reply.finish, index }
    yield event({ candidates: [end] }, 0, index === reply.candidates - 1)
  }
}
