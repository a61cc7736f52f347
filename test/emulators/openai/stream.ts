import { isReplaced } from '../base/calls/answer.ts'
import { dressed, play, sseHeaders } from '../base/calls/stream.ts'
import { callOf, logprobOf, tierOf } from './chat.ts'
import type { Directives } from './directives.ts'
import type { Accepted } from './intake.ts'
import { errorBody, problem } from './problems.ts'
import { book, type ChatBody, type Reply, usageOf } from './reply.ts'
import type { Server } from './settings.ts'
import type { Exchange, State } from './state.ts'
import { piecesOf, tokensOf } from './tokens.ts'

/** One event of a stream: its JSON, and what has been generated with it. */
interface Event {
  data: string
  tokens: number
  kind: 'text' | 'usage' | 'done'
}

/** `stream: true`: chunks as server-sent events, with every way of going wrong that the directives know. */
export async function streamChat(
  state: State,
  exchange: Exchange,
  body: ChatBody,
  accepted: Accepted,
  reply: Reply,
): Promise<void> {
  const { response } = exchange
  const { directives, record } = accepted
  const { server } = state.settings
  book(record, reply, reply.reasoning)
  if (isReplaced(state, response, accepted, 'text/event-stream')) return
  response.writeHead(200, { ...sseHeaders, ...accepted.headers })
  let generated = reply.reasoning
  await play(state, response, accepted, {
    events: directives.has('empty_stream') ? [done] : eventsOf(server, body, accepted, reply),
    book(event) {
      generated += event.tokens
      book(record, reply, Math.min(generated, reply.completionTokens))
      if (event.kind === 'usage') record.usageTold = true
      record.chunks += event.kind === 'text' ? 1 : 0
    },
    frame: (data) => dressed(directives, `data: ${data}\n\n`),
    error: () => dressed(directives, errorEvent(server, directives)),
  })
}

const done: Event = { data: '[DONE]', tokens: 0, kind: 'done' }

function errorEvent(server: Server, directives: Directives): string {
  const code = directives.get('error_event')?.[0] || 'server_error'
  const body = JSON.stringify(errorBody(server, { ...problem(500, code, 'The server had an error.'), type: code }))
  // Some have sent it as a field of its own.
  return server === 'llama.cpp' ? `error: ${body}\n\n` : `data: ${body}\n\n`
}

function* eventsOf(server: Server, body: ChatBody, accepted: Accepted, reply: Reply): Generator<Event> {
  const { directives } = accepted
  const usageWanted = body.stream_options?.include_usage === true && !directives.has('no_usage')
  const chunk = chunkWriter(server, body, accepted)
  const choices = Array.from({ length: body.n ?? 1 }, (_, index) => index)
  for (const index of choices) {
    if (server !== 'ollama') yield text(chunk(index, { role: 'assistant', content: '', refusal: null }, null), 0)
    yield* deltasOf(server, body, reply, (delta, logprobs) => chunk(index, delta, null, logprobs))
    const last = { index, delta: {}, finish: reply.finish }
    // llama.cpp and Workers AI tell the usage with the last chunk instead of behind it.
    const joined = (server === 'llama.cpp' || server === 'workers-ai') && usageWanted && index === choices.length - 1
    const data = chunk(last.index, last.delta, last.finish, undefined, joined ? usageOf(reply) : undefined)
    yield { data, tokens: 0, kind: joined ? 'usage' : 'text' }
  }
  if (usageWanted && server !== 'llama.cpp' && server !== 'workers-ai')
    yield { data: chunk(null, {}, null, undefined, usageOf(reply)), tokens: 0, kind: 'usage' }
  if (!directives.has('no_done')) yield done
}

const text = (data: string, tokens: number): Event => ({ data, tokens, kind: 'text' })

function* deltasOf(
  server: Server,
  body: ChatBody,
  reply: Reply,
  chunk: (delta: unknown, logprobs?: unknown) => string,
): Generator<Event> {
  if (server === 'vllm' && reply.reasoning > 0) yield text(chunk({ reasoning_content: 'Let me think.' }), 0)
  for (const piece of reply.pieces) {
    const role = server === 'ollama' ? { role: 'assistant' } : {}
    const delta = reply.refusal ? { ...role, refusal: piece } : { ...role, content: piece }
    yield text(chunk(delta, body.logprobs ? { content: [logprobOf(piece)], refusal: null } : undefined), 1)
  }
  for (const [index, call] of reply.calls.entries()) {
    const tokens = tokensOf(call.name + call.args)
    if (server === 'ollama') {
      yield text(chunk({ role: 'assistant', content: '', tool_calls: [{ index, ...callOf(call) }] }), tokens)
      continue
    }
    const head = { index, ...callOf({ ...call, args: '' }) }
    yield text(chunk({ tool_calls: [head] }), tokens)
    for (const piece of piecesOf(call.args)) {
      yield text(chunk({ tool_calls: [{ index, function: { arguments: piece } }] }), 0)
    }
  }
}

/** Text of a chunk. What does not change is written once: benchmarks send hundreds of thousands. */
function chunkWriter(server: Server, body: ChatBody, { id, createdAt, directives }: Accepted) {
  const head = JSON.stringify({
    ...(server === 'workers-ai' ? {} : { id }),
    object: 'chat.completion.chunk',
    created: createdAt,
    model: body.model,
    ...(server === 'openai' ? { service_tier: tierOf(body), system_fingerprint: 'fp_emulated' } : {}),
    ...(server === 'ollama' ? { system_fingerprint: 'fp_ollama' } : {}),
  }).slice(0, -1)
  const asksUsage = body.stream_options?.include_usage === true && !directives.has('no_usage')
  const nullUsage = asksUsage && server === 'openai' ? ',"usage":null' : ''
  const obfuscates = server === 'openai' && body.stream_options?.include_obfuscation !== false
  return (index: number | null, delta: unknown, finish: string | null, logprobs?: unknown, usage?: unknown): string => {
    const choices = index === null ? [] : [{ index, delta, logprobs: logprobs ?? null, finish_reason: finish }]
    const tail = usage === undefined ? nullUsage : `,"usage":${JSON.stringify(usage)}`
    const padding = obfuscates && index !== null ? ',"obfuscation":"aB3dE5"' : ''
    return `${head},"choices":${JSON.stringify(choices)}${tail}${padding}}`
  }
}
