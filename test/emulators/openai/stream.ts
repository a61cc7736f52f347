import type { ServerResponse } from 'node:http'
import { callOf, logprobOf, tierOf } from './chat.ts'
import { type Directives, numberOf } from './directives.ts'
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
  const settle = (ending: 'answered' | 'cut') => state.ledger.settle(record, state.now(), ending)
  book(record, reply, reply.reasoning)
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
  let generated = reply.reasoning
  for (const event of directives.has('empty_stream')
    ? [done]
    : eventsOf(state.settings.server, body, accepted, reply)) {
    if (sent === stallAt) await state.wait(numberOf(directives, 'stall_stream', 1, 24 * 60 * 60 * 1000))
    if (sent === errorAt) {
      out.write(errorEvent(state.settings.server, directives))
      break
    }
    if (sent > 0) await state.wait(delayMs)
    if (response.destroyed) return
    generated += event.tokens
    book(record, reply, Math.min(generated, reply.completionTokens))
    if (event.kind === 'usage') record.usageTold = true
    record.chunks += event.kind === 'text' ? 1 : 0
    const text = sent === spoilAt ? `data: ${event.data.slice(0, -5)}\n\n` : `data: ${event.data}\n\n`
    if (!out.write(text)) await out.drained()
    if (out.isCut()) return settle('cut')
    sent += 1
  }
  response.end(() => settle('answered'))
}

const done: Event = { data: '[DONE]', tokens: 0, kind: 'done' }

/** Writes as the directives say: in pieces of some bytes, up to some byte, with other line ends. */
function createOut(response: ServerResponse, directives: Directives) {
  const cutAt = directives.has('cut') ? numberOf(directives, 'cut', 0, 100) : Number.POSITIVE_INFINITY
  const step = numberOf(directives, 'split', 0, 0)
  let written = 0
  let open = true
  return {
    write(text: string): boolean {
      if (!open) return true
      let shown = directives.has('comments') ? `: keep-alive\n\n${text}` : text
      if (directives.has('crlf')) shown = shown.replace(/\n/g, '\r\n')
      const bytes = Buffer.from(shown)
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
        response.once('drain', resolve)
        response.once('close', resolve)
      }),
  }
}

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
