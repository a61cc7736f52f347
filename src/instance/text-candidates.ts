import type { EmbedInput } from '../contract/embedding.ts'
import type { CallBound, ForegroundType } from '../contract/foreground-rpc.ts'
import type { PriceSnapshot } from '../contract/price.ts'
import { type ModelHold, modelHoldOf } from '../core/call-bound.ts'
import type { Candidate } from '../core/choice.ts'
import { embedOutputBytes } from '../core/expected.ts'
import { bounding, expecting, refusalOf, type TextAsked } from '../job/text-judge.ts'
import { LIMITS } from '../limits.ts'
import type { Refusal } from '../providers/dialect.ts'
import { findChatModel, findEmbedModel } from '../providers/text-registry.ts'
import { textCandidate } from './availability.ts'
import type { Books } from './books.ts'
import type { JobRow } from './job-rows.ts'
import { textPriceOf } from './pricing.ts'

/** Models of text: which of them accept a job's input, and what each is expected to use. */

export const isTextModel = (type: ForegroundType, name: string): boolean =>
  (type === 'text.generate@1' ? findChatModel(name) : findEmbedModel(name)) !== null

export type Skipped = { model: string; reason: string; param: string | null }

/** Those of the models that accept the input, as candidates with the prices at `startMs`, and why the others do not. */
export const textCandidatesFor = (
  books: Books,
  models: readonly string[],
  asked: TextAsked,
  now: number,
  startMs: number,
): {
  candidates: Candidate[]
  prices: Record<string, PriceSnapshot>
  holds: Record<string, ModelHold>
  tokens: Record<string, number>
  skipped: Skipped[]
} => {
  const candidates: Candidate[] = []
  const prices: Record<string, PriceSnapshot> = {}
  const holds: Record<string, ModelHold> = {}
  const tokens: Record<string, number> = {}
  const skipped: Skipped[] = []
  const expect = expecting(asked)
  const bound = bounding(asked)
  for (const model of models) {
    const refusal = refusalOfJob(asked, model)
    if (refusal) {
      skipped.push({ model, reason: refusal.message, param: `input.${refusal.param}` })
      continue
    }
    const expected = expect(model)
    const price = textPriceOf(books, model, expected, startMs)
    if (price) prices[model] = price
    const hold = price && holdOf(price, bound(model))
    if (hold) holds[model] = hold
    tokens[model] = expected.inputTokens + expected.outputTokens
    candidates.push(textCandidate(books, model, tokens[model], price?.estimated_micros ?? null, now))
  }
  return { candidates, prices, holds, tokens, skipped }
}

/** Null where nobody knows its price, or whoever asks tells of no bound. */
export const holdOf = (price: PriceSnapshot, bound: CallBound | undefined): ModelHold | null =>
  bound ? modelHoldOf(price, bound) : null

/**
 * Those of a job's models that could serve it still, by the prices that it was taken in with. What a call on the line asked
 * is not known here: the Worker saw to it that its models accept it.
 */
export const textCandidatesOf = (
  books: Books,
  row: Pick<JobRow, 'type' | 'input' | 'tokens'>,
  models: readonly string[],
  prices: Record<string, PriceSnapshot> = {},
  now: number,
): Candidate[] => {
  const input = JSON.parse(row.input) as TextAsked['input'] | null
  const asked = input === null ? null : ({ type: row.type, input } as TextAsked)
  return models.flatMap((model) =>
    asked && refusalOfJob(asked, model)
      ? []
      : [textCandidate(books, model, row.tokens, prices[model]?.estimated_micros ?? null, now)],
  )
}

const refusalOfJob = (asked: TextAsked, model: string): Refusal | null =>
  (asked.type === 'text.embed@1' ? tooLarge(asked.input, model) : null) ?? refusalOf(asked, model)

/** Refused before it is bought; where the length of its vectors is not known, the answer tells. */
const tooLarge = (input: EmbedInput, model: string): Refusal | null => {
  const card = findEmbedModel(model)?.card
  const dimensions = input.dimensions ?? card?.dimensions ?? null
  const bytes = dimensions === null ? 0 : embedOutputBytes(input, dimensions)
  if (!card || bytes <= LIMITS.jobOutputBytes) return null
  const message = `${card.model} would answer with ${bytes} bytes, and a job keeps ${LIMITS.jobOutputBytes}: several jobs keep more.`
  return { param: 'input', message }
}
