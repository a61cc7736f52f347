import type { ChatInput } from '../contract/chat.ts'
import type { EmbedInput } from '../contract/embedding.ts'
import type { CallBound, Expected } from '../contract/foreground-rpc.ts'
import { expectedOfChat, expectedOfEmbed, mostPromptTokensOf, promptTokensOf } from '../core/expected.ts'
import type { Refusal } from '../providers/dialect.ts'
import { findChatModel, findEmbedModel } from '../providers/text-registry.ts'
import { boundOfChat, boundOfEmbed } from './call-bounds.ts'

/** Which models of text accept an input, and what each is expected to use. */

export type TextAsked = { type: 'text.generate@1'; input: ChatInput } | { type: 'text.embed@1'; input: EmbedInput }

export const refusalOf = (asked: TextAsked, model: string): Refusal | null => {
  if (asked.type === 'text.generate@1') {
    const found = findChatModel(model)
    return found?.provider.chat ? found.provider.chat.refuses(found.card, asked.input) : NO_MODEL
  }
  const found = findEmbedModel(model)
  return found?.provider.embed ? found.provider.embed.refuses(found.card, asked.input) : NO_MODEL
}

/** Only where a later version has dropped a model that jobs still name. */
const NO_MODEL: Refusal = { param: 'models', message: 'There is no such model any more.' }

/** Of a model that accepts the input. The prompt is counted once, whatever the number of models. */
export const expecting = (asked: TextAsked): ((model: string) => Expected) => {
  if (asked.type === 'text.embed@1') {
    const expected = expectedOfEmbed(asked.input)
    return () => expected
  }
  const { input } = asked
  const promptTokens = promptTokensOf(input)
  return (model) => expectedOfChat(input, promptTokens, findChatModel(model)?.card.maxOutputTokens ?? null)
}

/** What it can come to at most, for its hold. A job's answer comes in one piece. The prompt is walked once for all models that count pictures alike. */
export const bounding = (asked: TextAsked, stream = false): ((model: string) => CallBound | undefined) => {
  if (asked.type === 'text.embed@1') {
    const bound = boundOfEmbed(asked.input)
    return () => bound
  }
  const { input } = asked
  const counted = new Map<number, number>()
  const promptTokens = (ofPicture: number): number => {
    const tokens = counted.get(ofPicture) ?? mostPromptTokensOf(input, ofPicture)
    counted.set(ofPicture, tokens)
    return tokens
  }
  return (model) => {
    const found = findChatModel(model)
    return found ? boundOfChat(found.provider, found.card, input, { stream, promptTokens }) : undefined
  }
}
