import type { ChatInput, ReasoningEffort } from '../contract/chat.ts'
import type { Completion, FinishReason } from '../contract/completion.ts'
import type { EmbedInput } from '../contract/embedding.ts'
import type { RateHints } from '../contract/rpc.ts'
import type { Usage } from '../contract/usage.ts'
import type { Answered } from './answers.ts'
import type { CountsBy, Failed } from './provider.ts'

/**
 * What a provider of text is to Switchyard: a map from the one vocabulary (OpenAI's, see contract/) to a wire and back,
 * errors included. A dialect sends nothing, waits for nothing, knows no clock and keeps no state between calls: it writes
 * requests and reads what came back, so that the same code serves a stream on the line, a job and a test. It throws only
 * on a bug: whatever a provider sends is a value.
 *
 * The way of a call: `refuses` may end it before anything is sent; `encode` writes the request; an answer that is not a
 * stream (every status but 2xx, and 2xx where no stream was asked for or none came) goes to `decode`; a stream goes event by
 * event through the decoder of `openStream`.
 *
 * What a model cannot do falls in two kinds. A field that decides what is asked or in which form it is answered (`n`,
 * `tools`, `response_format`, `logprobs`, images, …) makes the model refuse the request. A field that only leans on how
 * (`temperature`, `seed`, `service_tier`, `user`, …) is left out and named in `dropped`, which the client is told.
 */
export type ChatDialect = {
  /** The field (such as `messages.0.content.1`) and reason for which this model cannot serve the input, or null. */
  refuses(card: ChatCard, input: ChatInput): Refusal | null
  /** Asks for usage, in a stream too, whatever the client wants of it. */
  encode(call: ChatCall): Encoded
  /** A whole answer, of any status. `answer.cut` says that the body is not whole. */
  decode(call: ChatCall, answer: Answered): ChatCompleted | Failed
  openStream(call: ChatCall): StreamDecoder
  /** What the headers of any answer say about limits. */
  rate(headers: Headers, nowMs: number): RateHints
}

/** One call. The secret is in clear only here, in memory. */
export type ChatCall = {
  card: ChatCard
  input: ChatInput
  stream: boolean
  /** The client's `stream_options.include_obfuscation`; the provider's default where it said nothing. */
  includeObfuscation?: boolean | undefined
  /** Without a slash at its end. */
  baseUrl: string
  secret: string
  /** `chatcmpl-…`: the id of an answer whose provider gives none. */
  id: string
  nowMs: number
}

export type Refusal = { param: string; message: string }

/** A POST of JSON. `dropped` names the fields of the input that are not in it: `['seed', 'user']`. */
export type Encoded = {
  url: string
  headers: Record<string, string>
  body: Record<string, unknown>
  dropped: string[]
}

/** A whole answer. A model that declined (`refusal`, `content_filter`) has answered, and is paid for. */
export type ChatCompleted = {
  kind: 'completed'
  /** As the client gets it, but for `usage`, which the caller adds with its price. */
  completion: Omit<Completion, 'usage'>
  /** Null where the provider said nothing of it: the caller estimates. */
  usage: Usage | null
  /** The tier that served it, where that sets the price: `flex`, `priority`. */
  serviceTier: string | null
  providerRequestId: string | null
}

export type SseEvent = { event?: string | undefined; data: string }

/**
 * Reads one stream. `push` gives what is to be sent on for one event, usually one piece, and never throws. Once `ended`, by
 * the terminator or by a failure, nothing more need be pushed. `finish` tells how it went and may be called at any time: a
 * stream that is over without its terminator has failed, whether the provider broke off or we left.
 */
export type StreamDecoder = {
  push(event: SseEvent): ChatPiece[]
  readonly ended: boolean
  finish(): StreamEnd
}

/**
 * A chunk on its way to the client: the JSON text of a `CompletionChunk` without usage, ready for `data: `. `text` is what
 * the model generated in it (content, refusal, thoughts, names and arguments of tools), for an estimate where usage never
 * comes. A piece without text that ends nothing says only that the model has begun: it may be held back, so that another
 * model can still be asked.
 */
export type ChatPiece = { json: string; text: string; finish: FinishReason | null }

export type StreamEnd = {
  /** Null where the stream came to its end. */
  fault: Failed | null
  /** As far as the provider has told, also of a stream that failed. */
  usage: Usage | null
  /**
   * Where `usage` is null: the prompt's tokens, if the provider told them as it began. `outputTokens` is none in it, since
   * what was generated is for the caller to count.
   */
  promptUsage?: Usage | null
  /** Of the first choice. */
  finish: FinishReason | null
  serviceTier: string | null
  /** The provider's id of the answer, and its own name of the model. */
  id: string | null
  model: string | null
}

/** What one model of text takes. */
export type ChatCard = {
  /** Without the provider: `gpt-5-mini`. */
  model: string
  /** Tokens of prompt and answer together, and of the answer alone; null where no source says. */
  contextTokens: number | null
  maxOutputTokens: number | null
  images: boolean
  tools: boolean
  jsonObject: boolean
  jsonSchema: boolean
  /** The efforts it knows; empty for a model that does not reason. */
  reasoning: readonly ReasoningEffort[]
  /** `temperature`, `top_p`, penalties. */
  sampling: boolean
  logprobs: boolean
  /** Of a picture in the prompt at most, where that is more than the others count (`LIMITS.imageTokensMost`). */
  imageTokens?: number
  /** Other fields of the input that it does not take, where its provider does. */
  without?: readonly (keyof ChatInput)[]
  /** 1 (draft) to 5 (best): our own ranking, for `prefer: quality`. */
  qualityRank: number
  /** What a short answer usually takes, in milliseconds: our own estimate. */
  typicalMs: number
}

export type EmbedDialect = {
  refuses(card: EmbedCard, input: EmbedInput): Refusal | null
  encode(call: EmbedCall): Encoded
  decode(call: EmbedCall, answer: Answered): EmbedCompleted | Failed
  rate(headers: Headers, nowMs: number): RateHints
}

export type EmbedCall = {
  card: EmbedCard
  input: EmbedInput
  baseUrl: string
  secret: string
  nowMs: number
}

/** One vector per input, in the order of the inputs, in float32 whatever the wire had. */
export type EmbedCompleted = {
  kind: 'completed'
  vectors: Float32Array[]
  /** As the provider calls it. */
  model: string
  usage: Usage | null
  providerRequestId: string | null
}

export type EmbedCard = {
  model: string
  /** Tokens of one input; null where no source says. */
  contextTokens: number | null
  /** Length of its vectors; null where no source says. */
  dimensions: number | null
  /** Whether it makes shorter vectors when asked. */
  shortens: boolean
  /** Whether inputs may be token ids. */
  takesTokens: boolean
  inputsMax: number
  qualityRank: number
  typicalMs: number
}

/** A provider of text, as the registry lists it. */
export type TextProvider = {
  id: string
  /** Shown to people. */
  title: string
  defaultBaseUrl: string
  defaultLimits: { concurrency: number; requestsPerMinute?: number; requestsPerDay?: number; tokensPerMinute?: number }
  countsBy: CountsBy
  /** Whether a call without a secret makes sense, as for a server of one's own. */
  needsSecret: boolean
  chat: ChatDialect | null
  embed: EmbedDialect | null
  chatModels: readonly ChatCard[]
  /** Tokens that it is asked for at most where the request sets no limit and the answer does not stream. */
  wholeAnswerTokens?: number
  embedModels: readonly EmbedCard[]
  /** What is assumed of a model that stands in no list; null where such a model does not exist. */
  unlisted: { chat(model: string): ChatCard; embed(model: string): EmbedCard } | null
}
