import * as v from 'valibot'
import type { ImageInput } from '../contract/image.ts'
import type { Call } from './provider.ts'
import { type Fields, OWNED_FIELDS, REPLICATE_MODELS, type ReplicateModel, SAME_MEANING } from './replicate-models.ts'

/** A job's input in the words of one of Replicate's models. One function both judges and writes. */

export type ReplicateRequest = {
  /** `owner/name`. */
  model: string
  /** The model's input, without a seed. */
  input: Fields
  images: number
  /** Seconds to hold the request until the result, or null to be answered at once. */
  wait: number | null
}

export type Refusal = { param: string; message: string }

const OPTIONS = 'input.provider_options.replicate'

/** As the API bounds `Prefer: wait=n`. */
const WaitSeconds = v.optional(
  v.pipe(
    v.number('must be a number of seconds'),
    v.integer('must be whole seconds'),
    v.minValue(1, 'must be at least 1'),
    v.maxValue(60, 'must be at most 60'),
  ),
)

/** Pure. `param` names the field at fault; a message never repeats what the user wrote. */
export const replicateRequest = (
  name: string,
  input: ImageInput,
): { ok: true; request: ReplicateRequest } | { ok: false; refusal: Refusal } => {
  const refused = (param: string, message: string) => ({ ok: false as const, refusal: { param, message } })
  const model = Object.hasOwn(REPLICATE_MODELS, name) ? REPLICATE_MODELS[name] : undefined
  if (!model) return refused('models', 'Replicate has no such model here.')
  const { wait: asked, ...fields } = input.provider_options?.replicate ?? {}
  const wait = v.safeParse(WaitSeconds, asked)
  if (!wait.success) return refused(`${OPTIONS}.wait`, `${wait.issues[0].message}.`)
  const owned = Object.keys(fields).find((field) => Object.hasOwn(OWNED_FIELDS, field))
  if (owned) return refused(`${OPTIONS}.${owned}`, `is set by Switchyard: ${OWNED_FIELDS[owned]}.`)
  const native = v.safeParse(model.fields, fields)
  if (!native.success) return nativeRefusal(native.issues[0])
  const conflict = conflictOf(fields)
  if (conflict) return refused(`${OPTIONS}.${conflict.field}`, conflict.message)
  const parts = standardParts(model, input, fields)
  const refusal = parts.find(isRefusal)
  if (refusal) return { ok: false, refusal }
  const written: Fields = Object.assign({ prompt: input.prompt }, ...parts, fields)
  return { ok: true, request: { model: name, input: written, images: input.count ?? 1, wait: wait.output ?? null } }
}

type Issue = { message: string; type: string; path?: readonly { key: unknown }[] | undefined }

const nativeRefusal = (issue: Issue): { ok: false; refusal: Refusal } => {
  const keys = (issue.path ?? []).map(({ key }) => String(key))
  const message = issue.type === 'strict_object' && keys.length > 0 ? 'is not a field of this model' : issue.message
  return { ok: false, refusal: { param: [OPTIONS, ...keys].join('.'), message: `${message}.` } }
}

/** What the fields' own descriptions say of each other. */
const conflictOf = (native: Fields): { field: string; message: string } | null => {
  const sides = ['width', 'height'].filter((side) => native[side] !== undefined)
  const custom = native.aspect_ratio === 'custom'
  if (custom && sides.length < 2) return { field: 'aspect_ratio', message: 'custom needs width and height.' }
  if (!custom && sides[0]) return { field: sides[0], message: 'needs aspect_ratio custom.' }
  if ((native.image === undefined) !== (native.mask === undefined) && native.mask !== undefined)
    return { field: 'mask', message: 'needs image.' }
  return null
}

const standardParts = (model: ReplicateModel, input: ImageInput, native: Fields): (Fields | Refusal)[] => {
  const given = (names: string[]): boolean => names.some((name) => native[name] !== undefined)
  const parts = [countOf(model, input.count)]
  if (!given(SAME_MEANING.shape)) parts.push(shapeOf(model, input))
  if (!given(SAME_MEANING.quality)) parts.push(qualityOf(model, input.quality))
  if (!given(SAME_MEANING.format)) parts.push(formatOf(model, input.format))
  if (!given(SAME_MEANING.style)) parts.push(styleOf(model, input.style))
  if (input.negative_prompt !== undefined)
    parts.push(refusal('input.negative_prompt', 'This model takes no negative prompt.'))
  return parts
}

const refusal = (param: string, message: string): Refusal => ({ param, message })
const isRefusal = (part: Fields | Refusal): part is Refusal => 'param' in part && 'message' in part

const countOf = ({ imagesMax }: ReplicateModel, count = 1): Fields | Refusal => {
  if (count > imagesMax)
    return refusal('input.count', `This model makes at most ${imagesMax} ${imagesMax === 1 ? 'image' : 'images'}.`)
  return imagesMax > 1 ? { num_outputs: count } : {}
}

const shapeOf = (model: ReplicateModel, { size, aspect_ratio: ratio }: ImageInput): Fields | Refusal => {
  if (size !== undefined) {
    if (!model.size) return refusal('input.size', 'This model takes an aspect ratio, not a size.')
    return model.size(size) ?? refusal('input.size', 'This model does not make images of that size.')
  }
  if (ratio === undefined) return {}
  return model.ratios.includes(ratio)
    ? { aspect_ratio: ratio }
    : refusal('input.aspect_ratio', 'This model does not make images of that shape.')
}

const qualityOf = (model: ReplicateModel, quality: ImageInput['quality']): Fields | Refusal => {
  if (quality === undefined) return {}
  return model.quality?.[quality] ?? refusal('input.quality', 'This model does not offer that quality.')
}

const formatOf = (model: ReplicateModel, format: ImageInput['format']): Fields | Refusal => {
  if (format === undefined) return {}
  const written = model.formats[format]
  if (written === undefined) return refusal('input.format', 'This model does not make images of that format.')
  // A model of one format has no field for it.
  return Object.keys(model.formats).length > 1 ? { output_format: written } : {}
}

const styleOf = (model: ReplicateModel, style: string | undefined): Fields | Refusal => {
  if (style === undefined) return {}
  if (!model.styles) return refusal('input.style', 'This model takes no style.')
  const known = model.styles.find((name) => name.toLowerCase() === style.toLowerCase())
  return known
    ? { style_type: known }
    : refusal('input.style', `must be one of ${model.styles.join(', ').toLowerCase()} with this model.`)
}

/**
 * The seed of a call: the user's own, or one made of the job and the attempt. All these models take a seed and the
 * provider's list of predictions shows it, so a made one is the mark by which a prediction whose answer was lost is
 * found again (see replicate-reconcile.ts). 31 bits: two attempts share one with a chance of one in two thousand million.
 */
export const seedOf = ({ job, attempt, input }: Call): number => input.seed ?? hash31(`${job}/${attempt}`)

/** FNV-1a over UTF-16 code units, mixed as murmur3 ends, since ids of one minute differ in few characters. */
const hash31 = (text: string): number => {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) & 0x7fffffff
}

/** The call's webhook with the job and attempt in its query: a hint for the receiver, and a mark where it is listed. */
export const webhookOf = ({ webhookUrl, job, attempt }: Call): string | null => {
  if (webhookUrl === undefined) return null
  const url = new URL(webhookUrl)
  url.searchParams.set('job', job)
  url.searchParams.set('attempt', String(attempt))
  return url.href
}

export const rootOf = (call: Call): string => call.baseUrl.replace(/\/+$/, '')

export const bearer = (call: Call): { authorization: string } => ({ authorization: `Bearer ${call.secret}` })
