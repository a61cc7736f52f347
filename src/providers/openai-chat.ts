import type { Flavor } from './chat-flavor.ts'
import type { ChatDialect } from './dialect.ts'
import { decodeChat } from './openai-answer.ts'
import { openAiRate } from './openai-rate.ts'
import { encodeChat, refusesChat } from './openai-request.ts'
import { openChatStream } from './openai-stream.ts'

/** OpenAI's `POST /chat/completions` (https://platform.openai.com/docs/api-reference/chat), as one server speaks it. */
export const chatDialect = (flavor: Flavor): ChatDialect => ({
  refuses: (card, input) => refusesChat(flavor, card, input),
  encode: (call) => encodeChat(flavor, call),
  decode: (call, answer) => decodeChat(flavor, call, answer),
  openStream: (call) => openChatStream(flavor, call),
  rate: openAiRate,
})

/** Nothing to let in where there is no secret, as at a server of one's own. */
export const bearerOf = (secret: string): Record<string, string> =>
  secret === '' ? {} : { authorization: `Bearer ${secret}` }
