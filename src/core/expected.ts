import { type ChatInput, outputLimitOf } from '../contract/chat.ts'
import type { ChatMessage } from '../contract/chat-message.ts'
import { type EmbedInput, inputsOf } from '../contract/embedding.ts'
import type { Expected } from '../contract/foreground-rpc.ts'
import { LIMITS } from '../limits.ts'
import { mostTokensOf } from './most-tokens.ts'
import { roughTokensOf } from './tokens.ts'

/** What a call is expected to use, before it is made: for its hold, and for limits in tokens. */

/** What every message and every answer costs beside its text, as OpenAI's cookbook counts them for its chat models. */
const TOKENS_PER_MESSAGE = 4
const TOKENS_PER_REPLY = 3
const TOKENS_PER_TOOL = 12

/** Of all models alike: tokens of the prompt. */
export const promptTokensOf = (input: ChatInput): number => countPrompt(input, AS_USUAL)

/**
 * The prompt at most, as far as that can be told of what was sent: `ofPicture` is what the model counts for a picture at
 * most. State that goes back to its provider counts too, and what providers add to a prompt with tools or a format.
 */
export const mostPromptTokensOf = (input: ChatInput, ofPicture: number): number => {
  let tokens = countPrompt(input, { text: mostTokensOf, picture: () => ofPicture })
  for (const message of input.messages) {
    // Other providers frame a message with more than OpenAI does.
    tokens += TOKENS_PER_MESSAGE
    if (message.name) tokens += mostTokensOf(message.name)
    if (message.role !== 'assistant') continue
    tokens += mostTokensOf(message.refusal ?? '') + stateTokens(message.extra_content)
    for (const call of message.tool_calls ?? []) tokens += TOKENS_PER_TOOL + stateTokens(call.extra_content)
  }
  const { tools, response_format: format } = input
  if (format?.type === 'json_schema') tokens += mostTokensOf(format.json_schema.description ?? '')
  const isPlain = tools === undefined && (format === undefined || format.type === 'text')
  return tokens + (isPlain ? 0 : LIMITS.hiddenPromptTokens)
}

const stateTokens = (state: unknown): number => (state ? mostTokensOf(JSON.stringify(state)) : 0)

type Counting = { text(text: string): number; picture(detail: 'auto' | 'low' | 'high' | undefined): number }

const AS_USUAL: Counting = {
  text: roughTokensOf,
  picture: (detail) => (detail === 'low' ? LIMITS.imageTokensLow : LIMITS.imageTokens),
}

const countPrompt = (input: ChatInput, counting: Counting): number => {
  let tokens = TOKENS_PER_REPLY
  for (const message of input.messages) tokens += TOKENS_PER_MESSAGE + messageTokens(message, counting)
  for (const { function: tool } of input.tools ?? []) {
    tokens += TOKENS_PER_TOOL + counting.text(tool.name) + counting.text(tool.description ?? '')
    if (tool.parameters) tokens += counting.text(JSON.stringify(tool.parameters))
  }
  const format = input.response_format
  if (format?.type === 'json_schema' && format.json_schema.schema)
    tokens += counting.text(JSON.stringify(format.json_schema.schema))
  return tokens
}

/** Of one model, whose own bound on an answer may be lower than what is usual. */
export const expectedOfChat = (input: ChatInput, promptTokens: number, maxOutputTokens: number | null): Expected => {
  const most = maxOutputTokens ?? Number.POSITIVE_INFINITY
  const perChoice = outputLimitOf(input) ?? Math.min(LIMITS.outputTokensExpected, most)
  return { inputTokens: promptTokens, outputTokens: perChoice * (input.n ?? 1) }
}

export const expectedOfEmbed = (asked: EmbedInput): Expected => ({
  inputTokens: countInputs(asked, roughTokensOf),
  outputTokens: 0,
})

/** At most; ids of tokens are as many as they are. */
export const mostEmbedTokensOf = (asked: EmbedInput): number => countInputs(asked, mostTokensOf)

const countInputs = ({ input }: EmbedInput, count: (text: string) => number): number => {
  if (typeof input === 'string') return count(input)
  let tokens = 0
  for (const item of input) {
    if (typeof item === 'number') tokens += 1
    else tokens += typeof item === 'string' ? count(item) : item.length
  }
  return tokens
}

/** Bytes that the embeddings of an input come to in a job, at most: four for each number, in base64. */
export const embedOutputBytes = ({ input }: EmbedInput, dimensions: number): number =>
  LIST_FRAME_BYTES + inputsOf(input).length * (4 * Math.ceil((dimensions * 4) / 3) + EMBEDDING_FRAME_BYTES)

/** `{"object":"embedding","index":2047,"embedding":""},` */
const EMBEDDING_FRAME_BYTES = 52
/** `{"object":"list","encoding_format":"base64","data":[],"model":""}` with the longest name. */
const LIST_FRAME_BYTES = 256

const messageTokens = (message: ChatMessage, counting: Counting): number => {
  let tokens = 0
  const { content } = message
  if (typeof content === 'string') tokens += counting.text(content)
  else {
    for (const part of content ?? []) {
      if (part.type === 'text') tokens += counting.text(part.text)
      else if (part.type === 'refusal') tokens += counting.text(part.refusal)
      else tokens += counting.picture(part.image_url.detail)
    }
  }
  if (message.role === 'assistant') {
    for (const call of message.tool_calls ?? [])
      tokens += counting.text(call.function.name) + counting.text(call.function.arguments)
  }
  return tokens
}
