import type {
  AssistantMessage,
  ChatMessage,
  ExtraContent,
  ImagePart,
  SystemMessage,
  TextPart,
  ToolCall,
  ToolMessage,
  UserMessage,
} from '../contract/chat-message.ts'
import { parseJson } from './answers.ts'
import type { Refusal } from './dialect.ts'
import { generationOf, STATE_OF } from './gemini-wire.ts'
import { recordOf } from './openai-usage.ts'

/** A conversation in OpenAI's form to Gemini's turns. One pass both judges and writes. */

type Part = Record<string, unknown>
type Content = { role: 'user' | 'model'; parts: Part[] }

/** `dropped` names what of the messages is not in it: `messages.name`. */
export type Conversation = { system: Part[]; contents: Content[]; dropped: string[] }

type Read<T> = { ok: true; value: T } | { ok: false; refusal: Refusal }
const refused = (param: string, message: string) => ({ ok: false as const, refusal: { param, message } })

/** Calls whose results are still to come, and the turn that those are put in, in the order of the calls. */
type Asked = { calls: readonly ToolCall[]; results: (Part | undefined)[]; turn: Content | null }

export const conversationOf = (model: string, messages: readonly ChatMessage[]): Read<Conversation> => {
  const system: Part[] = []
  const contents: Content[] = []
  const dropped = new Set<string>()
  let asked: Asked | null = null
  for (const [at, message] of messages.entries()) {
    if (message.role !== 'tool' && message.name) dropped.add('messages.name')
    let parts: Read<Part[]>
    switch (message.role) {
      case 'tool': {
        const refusal = asked ? answerCall(asked, message, at, contents) : unasked(at)
        if (refusal) return { ok: false, refusal }
        continue
      }
      case 'user':
        parts = userParts(message, at, dropped)
        asked = null
        break
      case 'assistant':
        parts = modelParts(model, message, at)
        asked = message.tool_calls?.length ? { calls: message.tool_calls, results: [], turn: null } : null
        break
      default:
        system.push(...textParts(message, dropped))
        continue
    }
    if (!parts.ok) return parts
    // The provider takes no turn without parts.
    if (parts.value.length === 0) continue
    const last = contents.at(-1)
    // A call has to come right behind a turn of the user, whatever the model said before it.
    if (message.role === 'assistant' && last?.role === 'model') last.parts.push(...parts.value)
    else contents.push({ role: message.role === 'user' ? 'user' : 'model', parts: parts.value })
  }
  if (contents.length === 0) return refused('messages', 'Gemini needs a message that is not the system’s, with text.')
  return { ok: true, value: { system, contents, dropped: [...dropped] } }
}

/** Empty texts are left out: the provider refuses them. */
const textParts = ({ content }: SystemMessage, dropped: Set<string>): Part[] => {
  const texts = typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content
  return texts.flatMap((part) => textPart(part, dropped))
}

const textPart = (part: TextPart, dropped: Set<string>): Part[] => {
  if (part.prompt_cache_breakpoint) dropped.add('messages.prompt_cache_breakpoint')
  return part.text === '' ? [] : [{ text: part.text }]
}

const userParts = ({ content }: UserMessage, at: number, dropped: Set<string>): Read<Part[]> => {
  const parts: Part[] = []
  const given = typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content
  for (const [place, part] of given.entries()) {
    if (part.type === 'text') {
      parts.push(...textPart(part, dropped))
      continue
    }
    if (part.prompt_cache_breakpoint) dropped.add('messages.prompt_cache_breakpoint')
    if ((part.image_url.detail ?? 'auto') !== 'auto') dropped.add('messages.image_url.detail')
    const image = imagePart(part)
    if (!image) return refused(`messages.${at}.content.${place}.image_url.url`, 'Gemini fetches by https alone.')
    parts.push(image)
  }
  return { ok: true, value: parts }
}

const MIME_TYPES: Record<string, string> = {
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
  gif: 'image/gif',
}

/** A picture goes along; an address is fetched by the provider, which is told the kind where the name tells it. */
const imagePart = ({ image_url: { url } }: ImagePart): Part | null => {
  if (url.startsWith('data:')) {
    const comma = url.indexOf(',')
    return { inlineData: { mimeType: url.slice('data:'.length, url.indexOf(';')), data: url.slice(comma + 1) } }
  }
  if (!/^https:/i.test(url)) return null
  const [, ending] = /^[^?#]*\.(\w+)(?:[?#]|$)/.exec(url) ?? []
  const mimeType = MIME_TYPES[ending?.toLowerCase() ?? '']
  return { fileData: { ...(mimeType ? { mimeType } : {}), fileUri: url } }
}

/**
 * What Google documents for a call that Gemini did not make itself, or whose signature is gone: newer models refuse a first
 * call without any (https://ai.google.dev/gemini-api/docs/thought-signatures).
 */
const NO_SIGNATURE = 'skip_thought_signature_validator'

const modelParts = (model: string, message: AssistantMessage, at: number): Read<Part[]> => {
  const { content, refusal, tool_calls: calls } = message
  const texts = typeof content === 'string' ? [content] : (content ?? []).map(wordsOf)
  const parts: Part[] = [...texts, refusal ?? ''].filter((text) => text !== '').map((text) => ({ text }))
  const signature = signatureIn(message.extra_content)
  if (signature)
    parts[Math.max(0, parts.length - 1)] = { ...(parts.at(-1) ?? { text: '' }), thoughtSignature: signature }
  const needsOne = generationOf(model) >= 3
  for (const [place, call] of (calls ?? []).entries()) {
    const args = argumentsOf(call.function.arguments)
    if (!args)
      return refused(`messages.${at}.tool_calls.${place}.function.arguments`, 'must be a JSON object for Gemini.')
    const thoughtSignature = signatureIn(call.extra_content) ?? (needsOne && place === 0 ? NO_SIGNATURE : null)
    parts.push({
      functionCall: { ...idOf(call.id), name: call.function.name, args },
      ...(thoughtSignature ? { thoughtSignature } : {}),
    })
  }
  return { ok: true, value: parts }
}

const wordsOf = (part: { type: 'text'; text: string } | { type: 'refusal'; refusal: string }): string =>
  part.type === 'text' ? part.text : part.refusal

const signatureIn = (extra: ExtraContent | null | undefined): string | null => {
  const signature = extra?.[STATE_OF]?.['thought_signature']
  return typeof signature === 'string' && /^[\w+/=-]+$/.test(signature) ? signature : null
}

const argumentsOf = (text: string): Record<string, unknown> | null => (text === '' ? {} : recordOf(parseJson(text)))

/** Older models give their calls no ids: those are made here, mean nothing to the provider and stay here. */
const MADE = 'gemini_'

export const callId = (answer: string, candidate: number, place: number): string =>
  // At most 40 characters, in the letters that every provider takes, should the talk go on with another.
  `${MADE}${answer.replace(/[^\w-]/g, '').slice(0, 24)}_${candidate}_${place}`

const idOf = (id: string): { id?: string } => (id.startsWith(MADE) ? {} : { id })

const unasked = (at: number): Refusal => ({
  param: `messages.${at}.tool_call_id`,
  message: 'answers no call of the message of the assistant before it.',
})

/** Puts a result into the turn of the results, where the order of the calls has it. */
const answerCall = (asked: Asked, message: ToolMessage, at: number, contents: Content[]): Refusal | null => {
  const { calls, results } = asked
  const place = calls.findIndex(({ id }, index) => id === message.tool_call_id && !results[index])
  const call = calls[place]
  if (!call) return unasked(at)
  const { name } = call.function
  results[place] = { functionResponse: { ...idOf(call.id), name, response: responseOf(message) } }
  if (!asked.turn) {
    asked.turn = { role: 'user', parts: [] }
    contents.push(asked.turn)
  }
  asked.turn.parts = results.filter((part) => part !== undefined)
  return null
}

/** The provider takes objects alone. What is none, or holds a number that would lose digits, goes as text. */
const responseOf = ({ content }: ToolMessage): Record<string, unknown> => {
  const text = typeof content === 'string' ? content : content.map((part) => part.text).join('')
  const object = /\d{16}/.test(text) ? null : recordOf(parseJson(text))
  return object ?? { output: text }
}
