import { type ChatInput, outputLimitOf } from '../contract/chat.ts'
import type { ChatMessage } from '../contract/chat-message.ts'
import { type EmbedInput, inputsOf } from '../contract/embedding.ts'
import type { Expected } from '../contract/foreground-rpc.ts'
import { LIMITS } from '../limits.ts'
import { roughTokensOf, tokensOf } from './tokens.ts'

/** What a call is expected to use, before it is made: for its hold, and for limits in tokens. */

/** What every message and every answer costs beside its text, as OpenAI's cookbook counts them for its chat models. */
const TOKENS_PER_MESSAGE = 4
const TOKENS_PER_REPLY = 3
const TOKENS_PER_TOOL = 12

/** Of all models alike: tokens of the prompt. */
export const promptTokensOf = (input: ChatInput): number => {
  let tokens = TOKENS_PER_REPLY
  for (const message of input.messages) tokens += TOKENS_PER_MESSAGE + messageTokens(message)
  for (const { function: tool } of input.tools ?? []) {
    tokens += TOKENS_PER_TOOL + roughTokensOf(tool.name) + roughTokensOf(tool.description ?? '')
    if (tool.parameters) tokens += roughTokensOf(JSON.stringify(tool.parameters))
  }
  const format = input.response_format
  if (format?.type === 'json_schema' && format.json_schema.schema)
    tokens += roughTokensOf(JSON.stringify(format.json_schema.schema))
  return tokens
}

/** Of one model, whose own bound on an answer may be lower than what is usual. */
export const expectedOfChat = (input: ChatInput, promptTokens: number, maxOutputTokens: number | null): Expected => {
  const most = maxOutputTokens ?? Number.POSITIVE_INFINITY
  const perChoice = outputLimitOf(input) ?? Math.min(LIMITS.outputTokensExpected, most)
  return { inputTokens: promptTokens, outputTokens: perChoice * (input.n ?? 1) }
}

export const expectedOfEmbed = ({ input }: EmbedInput): Expected => {
  if (typeof input === 'string') return { inputTokens: roughTokensOf(input), outputTokens: 0 }
  let tokens = 0
  for (const item of input) {
    if (typeof item === 'number') tokens += 1
    else tokens += typeof item === 'string' ? roughTokensOf(item) : item.length
  }
  return { inputTokens: tokens, outputTokens: 0 }
}

/** Bytes that the embeddings of an input come to in a job, at most: four for each number, in base64. */
export const embedOutputBytes = ({ input }: EmbedInput, dimensions: number): number =>
  LIST_FRAME_BYTES + inputsOf(input).length * (4 * Math.ceil((dimensions * 4) / 3) + EMBEDDING_FRAME_BYTES)

/** `{"object":"embedding","index":2047,"embedding":""},` */
const EMBEDDING_FRAME_BYTES = 52
/** `{"object":"list","encoding_format":"base64","data":[],"model":""}` with the longest name. */
const LIST_FRAME_BYTES = 256

const messageTokens = (message: ChatMessage): number => {
  let tokens = 0
  const { content } = message
  if (typeof content === 'string') tokens += roughTokensOf(content)
  else {
    for (const part of content ?? []) {
      if (part.type === 'text') tokens += roughTokensOf(part.text)
      else if (part.type === 'refusal') tokens += roughTokensOf(part.refusal)
      else tokens += part.image_url.detail === 'low' ? LIMITS.imageTokensLow : LIMITS.imageTokens
    }
  }
  if (message.role === 'assistant') {
    for (const call of message.tool_calls ?? [])
      tokens += tokensOf(call.function.name) + roughTokensOf(call.function.arguments)
  }
  return tokens
}
