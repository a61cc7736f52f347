import { isReplaced } from '../base/calls/answer.ts'
import { play } from '../base/calls/stream.ts'
import { numberOf } from '../base/directives.ts'
import type { Directives } from './directives.ts'
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
  book(record, reply, 0)
  if (isReplaced(state, response, accepted, 'text/event-stream')) return
  response.writeHead(200, {
    'content-type': sse ? 'text/event-stream' : 'application/json; charset=UTF-8',
    'content-disposition': 'attachment',
    server: 'scaffolding on HTTPServer2',
  })
  const { frame, tail } = framing(directives, sse)
  let generated = 0
  await play(state, response, accepted, {
    events: directives.has('empty_stream') ? [] : eventsOf(model, accepted, reply),
    book({ tokens, tellsUsage }) {
      generated += tokens
      book(record, reply, generated)
      record.usageTold = tellsUsage
      record.events += 1
    },
    frame,
    error: () =>
      frame(JSON.stringify(errorBody(directedProblem(directives, numberOf(directives, 'error_event', 0, 500))))),
    tail,
  })
}

/** Events with the provider's line ends, or the elements of a list. */
function framing(directives: Directives, sse: boolean) {
  const newline = directives.has('lf') ? '\n' : '\r\n'
  const comment = directives.has('comments') ? `: keep-alive${newline}${newline}` : ''
  let first = true
  return {
    frame(data: string): string {
      const text = sse ? `${comment}data: ${data}${newline}${newline}` : `${first ? '[' : ',\r\n'}${data}`
      first = false
      return text
    },
    tail: () => (sse ? '' : first ? '[]' : ']'),
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
