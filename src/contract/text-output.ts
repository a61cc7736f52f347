import * as v from 'valibot'
import { Completion } from './completion.ts'

/** What jobs of text come to. What they used and cost stands in the job, as with every other. */

/** `text.generate@1`: OpenAI's completion. */
export const ChatOutput = v.omit(Completion, ['usage'])
export type ChatOutput = v.InferOutput<typeof ChatOutput>

/** `text.embed@1`: one embedding per input, in their order. `model` is what the provider calls it. */
export const EmbedOutput = v.object({
  object: v.literal('list'),
  /** Of each embedding: little-endian float32, exact and a third of the size that numbers have. */
  encoding_format: v.literal('base64'),
  data: v.array(v.object({ object: v.literal('embedding'), index: v.number(), embedding: v.string() })),
  model: v.string(),
})
export type EmbedOutput = v.InferOutput<typeof EmbedOutput>
