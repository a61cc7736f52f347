import { callsOf } from '../base/calls/directives.ts'
import { numberOf } from '../base/directives.ts'
import type { Directives } from './directives.ts'
import type { CallRecord } from './ledger.ts'
import { conforming, type JsonSchema } from './schema-value.ts'
import type { OpenAiSettings } from './settings.ts'
import { loremPieces, piecesOf, tokensOf } from './tokens.ts'

/** What the model says: decided before it is sent, so that a whole answer and a stream of it are the same. */

export interface ChatBody {
  model: string
  messages: { role: string; content?: unknown; tool_calls?: unknown; tool_call_id?: string }[]
  tools?: { function: { name: string; parameters?: JsonSchema } }[]
  tool_choice?: string | { function: { name: string } }
  response_format?: { type: string; json_schema?: { schema?: JsonSchema } }
  n?: number
  stream?: boolean
  stream_options?: { include_usage?: boolean; include_obfuscation?: boolean } | null
  max_tokens?: number | null
  max_completion_tokens?: number | null
  temperature?: number | null
  top_p?: number | null
  logprobs?: boolean | null
  reasoning_effort?: string | null
  service_tier?: string | null
  parallel_tool_calls?: boolean
}

export interface Call {
  id: string
  name: string
  args: string
}

export interface Reply {
  /** Of each choice. */
  pieces: string[]
  refusal: boolean
  calls: Call[]
  finish: 'stop' | 'length' | 'tool_calls' | 'content_filter'
  promptTokens: number
  completionTokens: number
  cached: number
  written: number
  reasoning: number
}

/** All text of a conversation, in which directives may stand. */
export const promptOf = (body: ChatBody): string => body.messages.map(({ content }) => textOf(content)).join('\n')

/** The words of the last message alone: a conversation keeps its older directives, and only the newest count. */
export const lastTextOf = (body: ChatBody): string => textOf(body.messages.at(-1)?.content)

const textOf = (content: unknown): string =>
  typeof content === 'string'
    ? content
    : Array.isArray(content)
      ? content.map((part: { text?: string }) => part.text ?? '').join('')
      : ''

const imagesIn = (body: ChatBody): number =>
  body.messages.reduce(
    (sum, { content }) =>
      sum +
      (Array.isArray(content) ? content.filter((part: { type?: string }) => part.type === 'image_url').length : 0),
    0,
  )

/** Tokens of an image at the provider's low detail. */
const imageTokens = 85

export const promptTokensOf = (body: ChatBody, text: string): number =>
  tokensOf(text) + 4 * body.messages.length + imageTokens * imagesIn(body) + tokensOf(JSON.stringify(body.tools ?? ''))

export function replyTo(body: ChatBody, directives: Directives, text: string, settings: OpenAiSettings): Reply {
  const calls = callsFor(body, directives)
  const said = calls.length > 0 ? [] : piecesFor(body, directives, settings)
  const limit = body.max_completion_tokens ?? body.max_tokens ?? Number.POSITIVE_INFINITY
  const reasoning = Math.min(numberOf(directives, 'reasoning', 0, 0), limit)
  const pieces = said.slice(0, Math.max(0, limit - reasoning))
  const [asked] = directives.get('finish') ?? []
  const cut = pieces.length < said.length ? 'length' : calls.length > 0 ? 'tool_calls' : 'stop'
  const promptTokens = promptTokensOf(body, text)
  const each = calls.length > 0 ? calls.reduce((sum, { name, args }) => sum + tokensOf(name + args), 0) : pieces.length
  return {
    pieces,
    refusal: directives.has('refuse'),
    calls,
    finish: (asked as Reply['finish'] | undefined) ?? cut,
    promptTokens,
    completionTokens: each * (body.n ?? 1) + reasoning,
    cached: Math.min(numberOf(directives, 'cached', 0, 0), promptTokens),
    written: Math.min(numberOf(directives, 'written', 0, 0), promptTokens),
    reasoning,
  }
}

function piecesFor(body: ChatBody, directives: Directives, settings: OpenAiSettings): string[] {
  if (directives.has('refuse')) return piecesOf("I'm sorry, I can't help with that.")
  const say = directives.get('say')?.[0]
  if (say !== undefined) return piecesOf(say)
  const format = body.response_format
  if (format?.type === 'json_schema') return piecesOf(JSON.stringify(conforming(format.json_schema?.schema ?? {})))
  if (format?.type === 'json_object') return piecesOf('{"ok":true}')
  const last = body.messages.at(-1)
  if (last?.role === 'tool') return piecesOf(`The tool says: ${textOf(last.content)}`)
  return loremPieces(numberOf(directives, 'chunks', 0, settings.chunks))
}

function callsFor(body: ChatBody, directives: Directives): Call[] {
  const tools = body.tools ?? []
  if (tools.length === 0 || body.tool_choice === 'none') return []
  const forced = typeof body.tool_choice === 'object' ? body.tool_choice.function.name : undefined
  const wanted = forced === undefined ? callsOf(directives) : [{ name: forced, args: undefined }]
  const first = tools[0]?.function.name ?? ''
  const asked = wanted.length === 0 && body.tool_choice === 'required' ? [{ name: first, args: undefined }] : wanted
  const kept = body.parallel_tool_calls === false ? asked.slice(0, 1) : asked
  return kept.map(({ name, args }, at) => {
    const schema = tools.find((tool) => tool.function.name === name)?.function.parameters ?? {}
    return { id: `call_${at}_${name}`, name, args: args ?? JSON.stringify(conforming(schema)) }
  })
}

/** Books what has been generated, of which the whole is `reply`. */
export function book(record: CallRecord, reply: Reply, generated: number): void {
  record.tokens = {
    prompt: reply.promptTokens,
    cached: reply.cached,
    written: reply.written,
    completion: generated,
    reasoning: Math.min(reply.reasoning, generated),
  }
}

export function usageOf(reply: Reply): unknown {
  return {
    prompt_tokens: reply.promptTokens,
    completion_tokens: reply.completionTokens,
    total_tokens: reply.promptTokens + reply.completionTokens,
    prompt_tokens_details: { cached_tokens: reply.cached, audio_tokens: 0, cache_write_tokens: reply.written },
    completion_tokens_details: {
      reasoning_tokens: reply.reasoning,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  }
}
