import { tokensOf } from '../openai/tokens.ts'
import type { MessageBody } from './body.ts'
import { numberOf } from './directives.ts'
import type { Accepted } from './intake.ts'
import { messageOf, stopDetails } from './messages.ts'
import { createOut } from './out.ts'
import { errorBody, problem } from './problems.ts'
import { book, type Reply, type ReplyBlock, usageOf } from './reply.ts'
import type { Exchange, State } from './state.ts'

/** One event of a stream, and the tokens that have been generated with it. */
interface Event {
  name: string
  data: string
  tokens: number
}

const dayMs = 24 * 60 * 60 * 1000

/** `stream: true`: named events, with every way of going wrong that the directives know. */
export async function streamMessage(
  state: State,
  exchange: Exchange,
  body: MessageBody,
  accepted: Accepted,
  reply: Reply,
): Promise<void> {
  const { response, requestId } = exchange
  const { directives, record } = accepted
  const settle = (ending: 'answered' | 'cut') => state.ledger.settle(record, state.now(), ending)
  book(record, reply, 1)
  if (directives.has('cut_after')) {
    settle('cut')
    response.destroy()
    return
  }
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    ...accepted.headers,
  })
  const out = createOut(response, directives)
  const delayMs = numberOf(directives, 'slow', 0, state.settings.chunkDelayMs)
  const stallAt = directives.has('stall_stream') ? numberOf(directives, 'stall_stream', 0, 1) : -1
  const errorAt = directives.has('error_event') ? numberOf(directives, 'error_event', 1, 2) : -1
  const spoilAt = directives.has('malformed') ? numberOf(directives, 'malformed', 0, 2) : -1
  let sent = 0
  let generated = 0
  for (const { name, data, tokens } of eventsOf(exchange, body, accepted, reply)) {
    if (sent === stallAt) await state.wait(numberOf(directives, 'stall_stream', 1, dayMs))
    if (sent === errorAt) {
      const type = directives.get('error_event')?.[0] || 'overloaded_error'
      const told = errorBody({ ...problem(529), type }, requestId)
      out.write(`event: error\ndata: ${JSON.stringify(told)}\n\n`)
      break
    }
    if (sent > 0) await state.wait(delayMs)
    if (response.destroyed) return
    generated += tokens
    book(record, reply, Math.max(1, Math.min(generated, reply.tokens.output)))
    record.events += 1
    if (name === 'message_delta') {
      book(record, reply, reply.tokens.output)
      record.usageTold = !directives.has('no_usage')
    }
    if (!out.write(`event: ${name}\ndata: ${sent === spoilAt ? data.slice(0, -5) : data}\n\n`)) await out.drained()
    if (out.isCut()) return settle('cut')
    sent += 1
  }
  response.end(() => settle('answered'))
}

function* eventsOf(exchange: Exchange, body: MessageBody, accepted: Accepted, reply: Reply): Generator<Event> {
  const { directives } = accepted
  const { version } = exchange
  const told = !directives.has('no_usage')
  if (directives.has('empty_stream')) return yield event('message_stop', {})
  const usage = told ? { usage: usageOf(reply, body, version, 1) } : {}
  yield event('message_start', { message: { ...messageOf(version, body, accepted), ...usage } })
  for (const [index, block] of reply.blocks.entries()) {
    yield event('content_block_start', { index, content_block: opening(block) })
    if (index === 0) yield event('ping', {})
    if (directives.has('strangers')) yield event('content_block_aside', { index, aside: 'of a later day' })
    yield* deltasOf(index, block)
    yield event('content_block_stop', { index })
  }
  yield event('message_delta', {
    delta: { stop_reason: reply.stopReason, stop_sequence: reply.stopSequence, stop_details: stopDetails(reply) },
    ...(told ? { usage: lastUsage(usageOf(reply, body, version) as Record<string, unknown>) } : {}),
  })
  if (!directives.has('no_stop')) yield event('message_stop', {})
}

const event = (name: string, fields: object, tokens = 0): Event => ({
  name,
  data: JSON.stringify({ type: name, ...fields }),
  tokens,
})

/** The last event has the counts alone, without where and how they were served. */
const lastUsage = ({ cache_creation, service_tier, inference_geo, speed, ...counts }: Record<string, unknown>) => counts

const opening = (block: ReplyBlock): unknown => {
  switch (block.type) {
    case 'text':
      return { type: 'text', text: '', citations: null }
    case 'thinking':
      return { type: 'thinking', thinking: '', signature: '' }
    case 'tool_use':
      return { type: 'tool_use', id: block.id, name: block.name, input: {}, caller: { type: 'direct' } }
    default:
      return block
  }
}

function* deltasOf(index: number, block: ReplyBlock): Generator<Event> {
  const delta = (fields: object, tokens: number) => event('content_block_delta', { index, delta: fields }, tokens)
  switch (block.type) {
    case 'text':
      for (const text of block.pieces) yield delta({ type: 'text_delta', text }, 1)
      return
    case 'thinking':
      for (const thinking of block.pieces) yield delta({ type: 'thinking_delta', thinking }, 1)
      return yield delta({ type: 'signature_delta', signature: block.signature }, 0)
    case 'tool_use':
      // The first piece is empty, as the provider's is.
      yield delta({ type: 'input_json_delta', partial_json: '' }, tokensOf(block.name))
      for (const partial_json of block.pieces) yield delta({ type: 'input_json_delta', partial_json }, 1)
      return
    default:
  }
}
