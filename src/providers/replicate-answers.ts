import * as v from 'valibot'
import type { GeneratedImage } from './provider.ts'

/** Replicate's answers, read and never trusted. Unknown fields are let through: the provider may add some. */

const PredictionId = v.pipe(v.string(), v.regex(/^[\w.-]{1,200}$/))
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

/** The same object from create, get, list and webhook. */
export const Prediction = v.looseObject({
  id: PredictionId,
  status: v.picklist(['starting', 'processing', 'succeeded', 'failed', 'canceled', 'aborted']),
  model: v.nullish(v.string()),
  input: v.nullish(v.record(v.string(), v.unknown())),
  output: v.optional(v.unknown()),
  /** Text by the reference; other shapes have been seen. */
  error: v.optional(v.unknown()),
  data_removed: v.nullish(v.boolean()),
  webhook: v.nullish(v.string()),
})
export type Prediction = v.InferOutput<typeof Prediction>

export const PredictionPage = v.looseObject({ next: v.nullish(v.string()), results: v.array(Prediction) })

/** `title`, `detail`, `status`; a 429 also carries `retry_after` in seconds. */
export const Problem = v.looseObject({ detail: v.optional(v.string()), retry_after: v.optional(v.number()) })

/** What a prediction is known by between polls: small, and readable by other versions of this code. */
export const Checkpoint = v.object({
  prediction_id: PredictionId,
  seed: v.pipe(v.number(), v.safeInteger()),
  micros_per_image: v.nullable(Count),
  /** Answered polls so far: they set the pace. */
  polls: Count,
  /** Failed polls in a row. */
  poll_errors: Count,
})
export type Checkpoint = v.InferOutput<typeof Checkpoint>

const DATA_URI = /^data:image\/[\w.+-]+;base64,/

/**
 * The images of an output, which is one file or a list by model, or null where it is anything else. A file is an HTTPS
 * URL, or under `Prefer: wait` a data URI. One seed makes all images of a prediction.
 */
export const imagesOf = (output: unknown, seed: number): GeneratedImage[] | null => {
  const files: unknown[] = Array.isArray(output) ? output : [output]
  const images: GeneratedImage[] = []
  for (const file of files) {
    if (typeof file !== 'string') return null
    const data = DATA_URI.exec(file)?.[0]
    if (data === undefined && !/^https?:\/\//.test(file)) return null
    const source = data === undefined ? { url: file } : { base64: file.slice(data.length) }
    images.push({ safe: true, source, seed })
  }
  return images
}

/** The id where an answer was cut behind it, as one with pictures in data URIs may be: enough to go on polling. */
export const idAtHead = (body: string): string | null => {
  const id = /^\s*\{\s*"id"\s*:\s*"([^"]*)"/.exec(body)?.[1]
  return v.is(PredictionId, id) ? id : null
}
