import { dayMs } from '../base/calls/intake.ts'
import { numberOf } from '../base/directives.ts'
import { sendJson } from '../base/wire.ts'
import { vectorOf } from './embeddings.ts'
import { type Accepted, accept } from './intake.ts'
import { book, type ChatBody, lastTextOf, promptOf, promptTokensOf, type Reply, replyTo } from './reply.ts'
import type { Exchange, State } from './state.ts'
import { tokensOf } from './tokens.ts'
import { endAnswer } from './wire.ts'

/** Ollama's own API: lines of JSON instead of events, and no list of choices. */

export interface NativeBody {
  model: string
  messages?: { role: string; content: string; images?: string[]; tool_calls?: unknown; thinking?: string }[]
  tools?: ChatBody['tools']
  /** Streams unless told otherwise. */
  stream?: boolean
  format?: 'json' | Record<string, unknown>
  options?: { num_predict?: number }
  input?: string | string[]
}

/** `POST /api/chat`. */
export async function nativeChat(state: State, exchange: Exchange, native: NativeBody): Promise<void> {
  const body = asChat(native)
  const stream = native.stream !== false
  const accepted = await accept(state, exchange, {
    kind: 'chat',
    model: body.model,
    stream,
    text: lastTextOf(body),
    tokens: promptTokensOf(body, promptOf(body)),
  })
  if (!accepted) return
  const reply = replyTo(body, accepted.directives, promptOf(body), state.settings)
  if (stream) return streamLines(state, exchange, body.model, accepted, reply)
  book(accepted.record, reply, reply.completionTokens)
  accepted.record.usageTold = true
  const content = reply.calls.length > 0 ? '' : reply.pieces.join('')
  const whole = { ...head(body.model, accepted), message: messageOf(content, reply.calls), ...ending(reply) }
  await endAnswer(state, exchange, accepted, JSON.stringify(whole))
}

/** The same chat in the words that replies are made from. */
const asChat = ({ model, messages = [], tools, format, options }: NativeBody): ChatBody => ({
  model,
  messages: messages.map(({ images = [], content, ...message }) => ({
    ...message,
    content: [{ type: 'text', text: content }, ...images.map(() => ({ type: 'image_url' }))],
  })),
  ...(tools ? { tools } : {}),
  ...(format === 'json' ? { response_format: { type: 'json_object' } } : {}),
  ...(typeof format === 'object' ? { response_format: { type: 'json_schema', json_schema: { schema: format } } } : {}),
  ...(options?.num_predict ? { max_tokens: options.num_predict } : {}),
})

const head = (model: string, { createdAt }: Accepted) => ({
  model,
  created_at: new Date(createdAt * 1_000).toISOString(),
})

const messageOf = (content: string, calls: Reply['calls'] = []) => ({
  role: 'assistant',
  content,
  ...(calls.length > 0
    ? { tool_calls: calls.map(({ name, args }) => ({ function: { name, arguments: JSON.parse(args) } })) }
    : {}),
})

/** Durations in nanoseconds. */
const ending = (reply: Reply) => ({
  done: true,
  done_reason: reply.finish === 'length' ? 'length' : 'stop',
  total_duration: 3_000_000,
  load_duration: 1_000_000,
  prompt_eval_count: reply.promptTokens,
  prompt_eval_duration: 1_000_000,
  eval_count: reply.completionTokens,
  eval_duration: 1_000_000,
})

async function streamLines(
  state: State,
  { response }: Exchange,
  model: string,
  accepted: Accepted,
  reply: Reply,
): Promise<void> {
  const { directives, record } = accepted
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  const write = (fields: object) => response.write(`${JSON.stringify({ ...head(model, accepted), ...fields })}\n`)
  const stallAt = directives.has('stall_stream') ? numberOf(directives, 'stall_stream', 0, 1) : -1
  const errorAt = directives.has('error_event') ? numberOf(directives, 'error_event', 1, 2) : -1
  const parts = reply.calls.length > 0 ? [messageOf('', reply.calls)] : reply.pieces.map((piece) => messageOf(piece))
  book(record, reply, 0)
  for (const [at, message] of parts.entries()) {
    if (at === stallAt) await state.wait(numberOf(directives, 'stall_stream', 1, dayMs))
    if (at === errorAt) {
      response.end(`${JSON.stringify({ error: 'the model runner has stopped' })}\n`)
      return state.ledger.settle(record, state.now(), 'cut')
    }
    if (response.destroyed) return
    write({ message, done: false })
    record.chunks += 1
    book(record, reply, reply.calls.length > 0 ? reply.completionTokens : at + 1)
  }
  record.usageTold = true
  write({ message: messageOf(''), ...ending(reply) })
  response.end(() => state.ledger.settle(record, state.now(), 'answered'))
}

/** `POST /api/embed`. */
export async function nativeEmbed(state: State, exchange: Exchange, { model, input = [] }: NativeBody): Promise<void> {
  const inputs = typeof input === 'string' ? [input] : input
  const tokens = inputs.reduce((sum, text) => sum + tokensOf(text), 0)
  const call = { kind: 'embedding' as const, model, stream: false, text: inputs.join('\n'), tokens }
  const accepted = await accept(state, exchange, call)
  if (!accepted) return
  accepted.record.tokens.prompt = tokens
  accepted.record.usageTold = true
  const embeddings = inputs.map((text) => [...vectorOf(text, 384)])
  await endAnswer(state, exchange, accepted, JSON.stringify({ model, embeddings, prompt_eval_count: tokens }))
}

/** `GET /api/tags`. */
export async function nativeTags({ response }: Exchange): Promise<void> {
  const models = [{ name: 'llama3.2:latest', model: 'llama3.2:latest', modified_at: '2026-01-01T00:00:00Z', size: 1 }]
  await sendJson(response, 200, { models })
}
