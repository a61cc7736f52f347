import * as v from 'valibot'
import type { ChatInput } from '../contract/chat.ts'
import { integer, strictObject } from '../contract/fields.ts'
import { mannersOf } from './anthropic-models.ts'
import type { ChatCard, Refusal } from './dialect.ts'

/** `provider_options.anthropic`: what the request has no field for and every price covers. */

export const VERSIONS = ['2023-06-01', '2026-10-21'] as const
export type Version = (typeof VERSIONS)[number]

const Options = strictObject({
  version: v.optional(v.picklist(VERSIONS, `must be ${VERSIONS.join(' or ')}`)),
  /** Keeps the prompt in the cache up to the last block that can be kept. */
  cache_control: v.optional(
    strictObject({
      type: v.literal('ephemeral', 'must be ephemeral'),
      ttl: v.optional(v.picklist(['5m', '1h'], 'must be 5m or 1h')),
    }),
  ),
  /** `type` follows from `reasoning_effort`. */
  thinking: v.optional(
    strictObject({
      display: v.optional(v.picklist(['summarized', 'omitted'], 'must be summarized or omitted')),
      budget_tokens: v.optional(integer(1_024, 128_000)),
    }),
  ),
  top_k: v.optional(integer(0, 500)),
})
export type AnthropicOptions = v.InferOutput<typeof Options>

/** As they were checked by `refusesOptions`; none where they are not to be read. */
export const optionsOf = (input: ChatInput): AnthropicOptions => {
  const given = input.provider_options?.['anthropic']
  if (given === undefined) return {}
  const read = v.safeParse(Options, given)
  return read.success ? read.output : {}
}

export const refusesOptions = (card: ChatCard, input: ChatInput): Refusal | null => {
  const given = input.provider_options?.['anthropic']
  if (given === undefined) return null
  const refuse = (field: string, message: string): Refusal => ({
    param: `provider_options.anthropic.${field}`,
    message,
  })
  const read = v.safeParse(Options, given)
  if (!read.success) {
    const [issue] = read.issues
    const path = v.getDotPath(issue) ?? ''
    return issue.expected === 'never'
      ? refuse(path, `${path} stands in the request itself or is not passed on.`)
      : refuse(path, issue.message)
  }
  const { top_k, thinking, version } = read.output
  if (top_k !== undefined && (!card.sampling || version === '2026-10-21'))
    return refuse('top_k', `top_k is of API version 2023-06-01, and not taken by ${card.model} under another.`)
  if (thinking?.budget_tokens !== undefined && mannersOf(card).thinks !== 'budget')
    return refuse('thinking.budget_tokens', `${card.model} thinks by reasoning_effort, without a budget.`)
  return null
}

/**
 * The newest version that carries what is asked: 2026-10-21 knows no `temperature`, `top_p` and `top_k`
 * (https://platform.claude.com/docs/en/api/versioning), so a model that still samples as told is asked under 2023-06-01
 * where one of them is given.
 */
export const versionOf = (card: ChatCard, input: ChatInput): Version => {
  const { version, top_k } = optionsOf(input)
  if (version !== undefined) return version
  const samples = input.temperature !== undefined || input.top_p !== undefined || top_k !== undefined
  return card.sampling && samples ? '2023-06-01' : '2026-10-21'
}
