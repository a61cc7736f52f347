import type { ChatInput } from '../../../src/contract/chat.ts'
import type { CompletionChunk } from '../../../src/contract/completion.ts'
import type { EmbedInput } from '../../../src/contract/embedding.ts'
import type {
  ChatCall,
  ChatCompleted,
  ChatPiece,
  EmbedCall,
  EmbedCompleted,
  StreamDecoder,
  StreamEnd,
  TextProvider,
} from '../../../src/providers/dialect.ts'
import type { Failed } from '../../../src/providers/provider.ts'
import { createSseReader } from '../../../src/providers/sse.ts'

/** A dialect at work, as the gateway will have it: the one place of these tests that sends anything. */

export const NOW_MS = Date.parse('2026-11-21T12:00:00Z')

export const inputOf = (content: string, more: Partial<ChatInput> = {}): ChatInput => ({
  messages: [{ role: 'user', content }],
  ...more,
})

export type At = { baseUrl: string; secret?: string; model: string }

export const chatCall = (provider: TextProvider, at: At, input: ChatInput, stream = false): ChatCall => ({
  card: cardOf(provider, at.model),
  input,
  stream,
  baseUrl: at.baseUrl,
  secret: at.secret ?? 'sk-test',
  id: 'chatcmpl-ours',
  nowMs: NOW_MS,
})

const cardOf = ({ chatModels, unlisted }: TextProvider, model: string) => {
  const card = chatModels.find((known) => known.model === model) ?? unlisted?.chat(model)
  if (!card) throw new Error(`no such model ${model}`)
  return card
}

const send = async (encoded: { url: string; headers: Record<string, string>; body: unknown }) => {
  const response = await fetch(encoded.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...encoded.headers },
    body: JSON.stringify(encoded.body),
  })
  return response
}

export const complete = async (
  provider: TextProvider,
  at: At,
  input: ChatInput,
): Promise<{ outcome: ChatCompleted | Failed; dropped: string[] }> => {
  const call = chatCall(provider, at, input)
  const encoded = chatOf(provider).encode(call)
  const response = await send(encoded)
  const body = await response.text()
  const outcome = chatOf(provider).decode(call, {
    kind: 'answered',
    status: response.status,
    headers: response.headers,
    body,
  })
  return { outcome, dropped: encoded.dropped }
}

export type Streamed = { pieces: ChatPiece[]; chunks: CompletionChunk[]; text: string; end: StreamEnd; status: number }

export const stream = async (provider: TextProvider, at: At, input: ChatInput): Promise<Streamed> => {
  const call = chatCall(provider, at, input, true)
  const response = await send(chatOf(provider).encode(call))
  const bytes: Uint8Array[] = []
  try {
    for await (const part of response.body ?? []) bytes.push(part)
  } catch {
    // Broken off: what has come is read.
  }
  return { ...read(chatOf(provider).openStream(call), bytes), status: response.status }
}

/** These bytes, in these pieces, through a decoder. */
export const read = (decoder: StreamDecoder, parts: Iterable<Uint8Array>): Omit<Streamed, 'status'> => {
  const reader = createSseReader()
  const pieces: ChatPiece[] = []
  const push = (events: ReturnType<typeof reader.read>) => {
    for (const event of events) pieces.push(...decoder.push(event))
  }
  for (const part of parts) push(reader.read(part))
  push(reader.end())
  const chunks = pieces.map(({ json }) => JSON.parse(json) as CompletionChunk)
  return { pieces, chunks, text: pieces.map((piece) => piece.text).join(''), end: decoder.finish() }
}

export const embed = async (
  provider: TextProvider,
  at: At,
  input: EmbedInput,
): Promise<{ outcome: EmbedCompleted | Failed; dropped: string[]; body: Record<string, unknown> }> => {
  const { embed: dialect, embedModels, unlisted } = provider
  const card = embedModels.find((known) => known.model === at.model) ?? unlisted?.embed(at.model)
  if (!dialect || !card) throw new Error(`no such model ${at.model}`)
  const call: EmbedCall = { card, input, baseUrl: at.baseUrl, secret: at.secret ?? 'sk-test', nowMs: NOW_MS }
  const encoded = dialect.encode(call)
  const response = await send(encoded)
  const answer = {
    kind: 'answered' as const,
    status: response.status,
    headers: response.headers,
    body: await response.text(),
  }
  return { outcome: dialect.decode(call, answer), dropped: encoded.dropped, body: encoded.body }
}

export const chatOf = (provider: TextProvider) => {
  if (!provider.chat) throw new Error(`${provider.id} has no chat`)
  return provider.chat
}
