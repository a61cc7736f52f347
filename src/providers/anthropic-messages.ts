import { textOf } from '../contract/chat.ts'
import type {
  AssistantMessage,
  ChatMessage,
  ImagePart,
  SystemMessage,
  TextPart,
  ToolCall,
} from '../contract/chat-message.ts'
import { parseExact } from './answers.ts'
import { type Kept, keptBlocks } from './anthropic-thinking.ts'
import { type CallIds, createCallIds } from './call-ids.ts'
import type { ChatCard, Refusal } from './dialect.ts'
import { recordOf } from './openai-usage.ts'

/** A conversation to Anthropic's: the system's words apart, turns of user and assistant by turns, everything in blocks. */

export type Block = { type: string; cache_control?: { type: 'ephemeral' } } & Record<string, unknown>
export type Turn = { role: 'user' | 'assistant'; content: Block[] }

/** Places that the provider may be told to keep the prompt up to. */
const BREAKPOINTS_MAX = 4

export const refusesMessages = ({ model }: ChatCard, messages: readonly ChatMessage[]): Refusal | null => {
  for (const [at, message] of messages.entries()) {
    if (message.role !== 'assistant') continue
    const call = (message.tool_calls ?? []).findIndex((asked) => argumentsOf(asked) === null)
    if (call >= 0)
      return {
        param: `messages.${at}.tool_calls.${call}.function.arguments`,
        message: `${model} takes back arguments only as a JSON object.`,
      }
  }
  const last = messages.findLastIndex((message) => !isSystem(message) && !isEmpty(message))
  if (last < 0) return { param: 'messages', message: `${model} needs a message of the user with something in it.` }
  if (messages[last]?.role === 'assistant')
    return { param: `messages.${last}`, message: `${model} would go on with the assistant's last message.` }
  return null
}

/** All that a system or developer says comes first, wherever it stood; turns of one role that follow each other are one. */
export const conversationOf = (
  card: ChatCard,
  messages: readonly ChatMessage[],
  keptByOption: boolean,
): { system: Block[]; turns: Turn[] } => {
  const system: Block[] = []
  const turns: Turn[] = []
  const ids = createCallIds(inTheirLetters)
  for (const message of messages) {
    if (isSystem(message)) {
      system.push(...textBlocks(message.content))
      continue
    }
    const role = message.role === 'assistant' ? 'assistant' : 'user'
    const content = blocksOf(card, message, ids)
    if (content.length === 0) continue
    const last = turns.at(-1)
    if (last?.role !== role) turns.push({ role, content })
    else if (message.role === 'tool') last.content.splice(resultsIn(last), 0, ...content)
    else last.content.push(...content)
  }
  keepLastBreakpoints([...system, ...turns.flatMap(({ content }) => content)].flatMap(withResult), keptByOption)
  return { system, turns }
}

/** Results come first in a turn, whatever the user said before they were there. */
const resultsIn = ({ content }: Turn): number => content.filter(({ type }) => type === 'tool_result').length

/** In a loop of tools that began without a thought, such as another model's: the provider lets none begin in its middle. */
export const isLoopWithoutThought = (turns: readonly Turn[]): boolean => {
  const inLoop = turns.at(-1)?.content.some(({ type }) => type === 'tool_result') ?? false
  const [first] = turns.at(-2)?.content ?? []
  return inLoop && first?.type !== 'thinking' && first?.type !== 'redacted_thinking'
}

const isSystem = (message: ChatMessage): message is SystemMessage =>
  message.role === 'system' || message.role === 'developer'

/** The provider refuses blocks of text without a character that shows. */
const isBlank = (text: string): boolean => text.trim() === ''

const isEmpty = (message: ChatMessage): boolean => {
  const { role, content } = message
  if (role === 'tool' || !isBlank(textOf(content))) return false
  if (role === 'user') return typeof content === 'string' || content.every(({ type }) => type === 'text')
  return role !== 'assistant' || ((message.tool_calls?.length ?? 0) === 0 && isBlank(message.refusal ?? ''))
}

const blocksOf = (card: ChatCard, message: ChatMessage, ids: CallIds): Block[] => {
  switch (message.role) {
    case 'assistant':
      return assistantBlocks(card, message, ids)
    case 'tool': {
      const content = textBlocks(message.content)
      return [
        {
          type: 'tool_result',
          tool_use_id: ids.answered(message.tool_call_id),
          ...(content.length > 0 ? { content } : {}),
        },
      ]
    }
    default:
      return typeof message.content === 'string' ? textBlocks(message.content) : message.content.flatMap(partBlocks)
  }
}

const textBlocks = (content: string | TextPart[]): Block[] =>
  typeof content === 'string' ? textBlock(content) : content.flatMap(partBlocks)

const textBlock = (text: string): Block[] => (isBlank(text) ? [] : [{ type: 'text', text }])

const partBlocks = (part: TextPart | ImagePart | { type: 'refusal'; refusal: string }): Block[] => {
  if (part.type === 'refusal') return textBlock(part.refusal)
  const breakpoint = part.prompt_cache_breakpoint ? { cache_control: { type: 'ephemeral' as const } } : {}
  if (part.type === 'text') return textBlock(part.text).map((block) => ({ ...block, ...breakpoint }))
  return [{ type: 'image', source: sourceOf(part.image_url.url), ...breakpoint }]
}

const sourceOf = (url: string): object => {
  const [, mediaType] = /^data:([^;]+);base64,/i.exec(url.slice(0, 40)) ?? []
  return mediaType === undefined
    ? { type: 'url', url }
    : { type: 'base64', media_type: mediaType.toLowerCase(), data: url.slice(url.indexOf(',') + 1) }
}

/** In the order in which the provider gave them, where that is known and still fits what is said. */
const assistantBlocks = (card: ChatCard, message: AssistantMessage, ids: CallIds): Block[] => {
  ids.turn()
  const calls = (message.tool_calls ?? []).map(
    (call): Block => ({
      type: 'tool_use',
      id: ids.called(call.id),
      name: call.function.name,
      input: argumentsOf(call) ?? {},
    }),
  )
  const kept = keptBlocks(card, message)
  const inOrder = kept.length > 0 ? inPlace(kept, textOf(message.content), calls) : null
  if (inOrder) return inOrder
  const thoughts = kept.filter(({ type }) => type === 'thinking' || type === 'redacted_thinking')
  const said =
    typeof message.content === 'string' ? textBlock(message.content) : (message.content ?? []).flatMap(partBlocks)
  return [...thoughts, ...said, ...textBlock(message.refusal ?? ''), ...calls]
}

/** Null where the text or the calls are not those that these thoughts stood between. */
const inPlace = (kept: readonly Kept[], text: string, calls: readonly Block[]): Block[] | null => {
  const blocks: Block[] = []
  let read = 0
  let called = 0
  for (const block of kept) {
    if (block.type === 'text') {
      blocks.push(...textBlock(text.slice(read, read + block.characters)))
      read += block.characters
    } else if (block.type === 'tool_use') {
      const call = calls[called]
      if (!call) return null
      blocks.push(call)
      called += 1
    } else blocks.push({ ...block })
  }
  return read === text.length && called === calls.length ? blocks : null
}

/** A call's arguments as an object; none at all are an empty one. Null where they are anything else. */
const argumentsOf = ({ function: called }: ToolCall): Record<string, unknown> | null =>
  called.arguments.trim() === '' ? {} : recordOf(parseExact(called.arguments))

const inTheirLetters = (id: string): string => id.replace(/[^A-Za-z0-9_-]/g, '_')

/** The blocks of a tool's result stand inside it. */
const withResult = (block: Block): Block[] => (Array.isArray(block['content']) ? block['content'] : [block])

/** The newest count: where more stand, the earlier ones are of shorter prompts. */
const keepLastBreakpoints = (blocks: readonly Block[], keptByOption: boolean): void => {
  const marked = blocks.filter(({ cache_control }) => cache_control !== undefined)
  for (const block of marked.slice(0, Math.max(0, marked.length - BREAKPOINTS_MAX + (keptByOption ? 1 : 0))))
    delete block.cache_control
}
