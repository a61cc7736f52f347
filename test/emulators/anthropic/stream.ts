import { isReplaced } from '../base/calls/answer.ts'
import { dressed, play, sseHeaders } from '../base/calls/stream.ts'
import { tokensOf } from '../openai/tokens.ts'
import type { MessageBody } from './body.ts'
import type { Accepted } from './intake.ts'
import { messageOf, stopDetails } from './messages.ts'
import { errorBody, problem } from './problems.ts'
import { book, type Reply, type ReplyBlock, usageOf } from './reply.ts'
import type { Exchange, State } from './state.ts'

/** One event of a stream, and the tokens that have been generated with it. */
interface Event {
  name: string
  data: string
  tokens: number
}

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
  book(record, reply, 1)
  if (isReplaced(state, response, accepted, 'text/event-stream')) return
  response.writeHead(200, { ...sseHeaders, ...accepted.headers })
  const frame = (name: string, data: string) => dressed(directives, `event: ${name}\ndata: ${data}\n\n`)
  let generated = 0
  await play(state, response, accepted, {
    events: eventsOf(exchange, body, accepted, reply),
    book({ name, tokens }) {
      const isLast = name === 'message_delta'
      generated = isLast ? reply.tokens.output : generated + tokens
      book(record, reply, Math.max(1, Math.min(generated, reply.tokens.output)))
      record.events += 1
      if (isLast) record.usageTold = !directives.has('no_usage')
    },
    frame: (data, { name }) => frame(name, data),
    error: () => {
      const type = directives.get('error_event')?.[0] || 'overloaded_error'
      return frame('error', JSON.stringify(errorBody({ ...problem(529), type }, requestId)))
    },
  })
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
