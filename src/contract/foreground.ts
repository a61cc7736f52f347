import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { listOf, optional } from './chat-message.ts'
import { integer, Metadata, ModelName, Name, Usd } from './fields.ts'

/** What a request says to Switchyard itself where its answer is waited for on the line: chats and embeddings. */
export const FOREGROUND = {
  /** `provider/model`, or the model alone where only one provider has it. */
  model: v.pipe(
    v.string('must be text'),
    v.minLength(1, 'must not be empty'),
    v.maxLength(LIMITS.modelNameCharacters, `must be at most ${LIMITS.modelNameCharacters} characters`),
  ),
  /** Asked in this order after `model`, while nothing of an answer has been sent. */
  models: optional(listOf(ModelName, LIMITS.modelsPerJob)),
  prefer: optional(v.picklist(['cost', 'speed', 'quality'], 'must be cost, speed or quality')),
  fallback: optional(v.boolean('must be true or false')),
  project: optional(Name),
  max_cost_usd: optional(Usd),
  deadline_s: optional(integer(1, LIMITS.chatDeadlineMaxSeconds)),
  metadata: optional(Metadata),
}

type Present<T> = { [K in keyof T]: Exclude<T[K], null> }

/** Nulls at the top are left out, so that what reads a request meets a value or nothing. */
export const withoutNulls = <T extends object>(value: T): Present<T> => {
  const present = value as Record<string, unknown>
  for (const key in present) if (present[key] === null) delete present[key]
  return value as Present<T>
}
