import { type ChatInput, textOf } from '../contract/chat.ts'
import type { ChatMessage } from '../contract/chat-message.ts'

/** What an error of a chat must not repeat: the key, all that the conversation says, and for whom. Schemas may be named, to be mended. */
export const privateTextsOf = (input: ChatInput, secret: string): string[] => {
  const { messages, tools, prediction, user, safety_identifier } = input
  return [
    secret,
    user ?? '',
    safety_identifier ?? '',
    textOf(prediction?.content),
    ...messages.flatMap((message) => [textOf(message.content), ...saidBeside(message), ...picturesOf(message)]),
    ...(tools ?? []).map((tool) => tool.function.description ?? ''),
  ].filter((text) => text !== '')
}

const saidBeside = (message: ChatMessage): string[] =>
  message.role === 'assistant'
    ? [message.refusal ?? '', ...(message.tool_calls ?? []).map((call) => call.function.arguments)]
    : []

/** An error quotes the beginning of a picture, where it quotes any of it. */
const QUOTED_OF_PICTURE = 1_024

const picturesOf = ({ content }: ChatMessage): string[] =>
  typeof content === 'string'
    ? []
    : (content ?? []).flatMap((part) =>
        part.type === 'image_url' ? [part.image_url.url.slice(0, QUOTED_OF_PICTURE)] : [],
      )
