import * as v from 'valibot'
import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import {
  ASPECT_RATIOS_3,
  CAPITALS_IN_V1,
  type Dialect,
  IDEOGRAM_MODELS,
  type IdeogramModel,
  NATIVE_FIELDS,
  OWNED_FIELDS,
  RESOLUTIONS_3,
  RESOLUTIONS_4,
  SIZES_4_5,
  STYLE_TYPES_3,
} from './ideogram-fields.ts'

/** A job's input in Ideogram's words. One function both judges and writes, so that the two cannot disagree. */

export type IdeogramRequest = {
  model: IdeogramModel
  api: 'v1' | 'v2'
  async: boolean
  path: string
  /** Without `async`, which a price quote does not take. */
  body: Record<string, Json>
  images: number
}

export type Refusal = { param: string; message: string }
type Fields = Record<string, Json>

const OPTIONS = 'input.provider_options.ideogram'

const Controls = v.object({
  mode: v.optional(v.picklist(['async', 'sync'], 'must be async or sync')),
  api: v.optional(v.picklist(['v1', 'v2'], 'must be v1 or v2')),
})

/** Pure. `param` names the field at fault; a message never repeats what the user wrote. */
export const ideogramRequest = (
  name: string,
  input: ImageInput,
): { ok: true; request: IdeogramRequest } | { ok: false; refusal: Refusal } => {
  const refused = (param: string, message: string) => ({ ok: false as const, refusal: { param, message } })
  const model = IDEOGRAM_MODELS.find((known) => known === name)
  if (!model) return refused('models', 'Ideogram has no such model here.')
  const { mode: _mode, api: _api, ...fields } = input.provider_options?.ideogram ?? {}
  const controls = v.safeParse(Controls, input.provider_options?.ideogram ?? {})
  if (!controls.success) return issueOf(controls.issues[0])
  const { mode, api = 'v2' } = controls.output
  if (api === 'v1' && model !== 'ideogram-3') return refused(`${OPTIONS}.api`, 'v1 is kept for ideogram-3 only.')
  if (api === 'v1' && mode === 'async') return refused(`${OPTIONS}.mode`, 'v1 answers synchronously only.')
  const owned = Object.keys(fields).find((field) => Object.hasOwn(OWNED_FIELDS, field))
  if (owned) return refused(`${OPTIONS}.${owned}`, `is set by Switchyard: ${OWNED_FIELDS[owned]}.`)
  const dialect: Dialect = api === 'v1' ? 'v1' : model
  const native = v.safeParse(NATIVE_FIELDS[dialect], fields)
  if (!native.success) return issueOf(native.issues[0])
  const conflict = conflictOf(dialect, native.output)
  if (conflict) return refused(`${OPTIONS}.${conflict.field}`, conflict.message)
  const mapped = mapStandard(dialect, input, native.output)
  if (!mapped.ok) return mapped
  const images = input.count ?? 1
  const body: Fields = { prompt: input.prompt, num_images: images, ...mapped.fields, ...defined(native.output) }
  const path = api === 'v1' ? '/v1/ideogram-v3/generate' : `/v2/image/generate/${model}`
  const written = api === 'v1' ? inCapitals(body) : body
  return { ok: true, request: { model, api, async: api === 'v2' && mode !== 'sync', path, body: written, images } }
}

type Issue = { message: string; type: string; path?: readonly { key: unknown }[] | undefined }

const issueOf = (issue: Issue): { ok: false; refusal: Refusal } => {
  const keys = (issue.path ?? []).map((item) => (typeof item.key === 'number' ? item.key : String(item.key)))
  const unknown = issue.type === 'strict_object' && keys.length > 0
  const message = unknown ? 'is not a field of this model.' : `${issue.message}.`
  return { ok: false, refusal: { param: [OPTIONS, ...keys].join('.'), message } }
}

/** Fields that the provider's reference says exclude each other, and the sizes that depend on other fields. */
const conflictOf = (dialect: Dialect, native: object): { field: string; message: string } | null => {
  const has = (field: string): boolean => field in native && native[field as keyof typeof native] !== undefined
  if (has('aspect_ratio') && has('resolution')) return { field: 'resolution', message: 'excludes aspect_ratio.' }
  const references = has('style_reference_asset_identifiers') || has('style_codes')
  if (dialect === 'ideogram-3' && has('style_preset') && references) {
    return { field: 'style_preset', message: 'excludes style codes and references.' }
  }
  if (dialect === 'v1' && has('style_codes') && has('style_type')) {
    return { field: 'style_codes', message: 'excludes style_type.' }
  }
  return dialect === 'ideogram-4-5' ? conflictOf45(native as Native45) : null
}

type Native45 = v.InferOutput<(typeof NATIVE_FIELDS)['ideogram-4-5']>

/** 4.5 frees its sizes, and its cheapest quality, only where there are source images. */
const conflictOf45 = (native: Native45): { field: string; message: string } | null => {
  const sources = native.image_asset_identifiers !== undefined
  if (native.quality === 'very_low' && !sources) return { field: 'quality', message: 'very_low needs source images.' }
  const size = native.size ?? 'auto'
  if (size === 'auto') return null
  if (size === 'source') return sources ? null : { field: 'size', message: 'source needs source images.' }
  if (!sources) return SIZES_4_5.includes(size) ? null : { field: 'size', message: 'is not one of the listed sizes.' }
  const [width = 0, height = 0] = /^\d{3,4}x\d{3,4}$/.test(size) ? size.split('x').map(Number) : []
  const fits = width % 32 === 0 && height % 32 === 0 && Math.min(width, height) >= 256 && width * height <= 2048 * 2048
  if (fits && Math.max(width / height, height / width) <= 6) return null
  return { field: 'size', message: 'must be auto, source or WIDTHxHEIGHT in multiples of 32, up to 2048x2048 pixels.' }
}

type Mapped = { ok: true; fields: Fields } | { ok: false; refusal: Refusal }

/** Native fields that say what a standard field says; where one is given, the standard field is not looked at. */
const SAME_MEANING = {
  shape: ['aspect_ratio', 'resolution', 'size'],
  quality: ['rendering_speed', 'quality'],
  style: ['style_type', 'style_preset', 'style_codes'],
  negative: ['negative_prompt'],
}

const mapStandard = (dialect: Dialect, input: ImageInput, native: object): Mapped => {
  const given = (fields: string[]): boolean => fields.some((field) => field in native)
  const parts: (Fields | Refusal)[] = [input.seed === undefined ? {} : { seed: input.seed }]
  if (!given(SAME_MEANING.shape)) parts.push(shapeOf(dialect, input))
  if (!given(SAME_MEANING.quality)) parts.push(qualityOf(dialect, input.quality))
  if (!given(SAME_MEANING.style)) parts.push(styleOf(dialect, input.style))
  if (!given(SAME_MEANING.negative)) parts.push(negativeOf(dialect, input.negative_prompt))
  if (input.format !== undefined && input.format !== 'png') {
    parts.push(refusal('input.format', 'Ideogram makes PNG only.'))
  }
  const refused = parts.find(isRefusal)
  return refused ? { ok: false, refusal: refused } : { ok: true, fields: Object.assign({}, ...parts) }
}

const refusal = (param: string, message: string): Refusal => ({ param, message })
const isRefusal = (part: Fields | Refusal): part is Refusal => 'param' in part && 'message' in part

const isStyle3 = (dialect: Dialect): boolean => dialect === 'ideogram-3' || dialect === 'v1'

const shapeOf = (dialect: Dialect, { size, aspect_ratio: ratio }: ImageInput): Fields | Refusal => {
  if (size !== undefined) {
    if (dialect === 'auto') return refusal('input.size', 'This model takes an aspect ratio, not a size.')
    const field = dialect === 'ideogram-4-5' ? 'size' : 'resolution'
    return sizesOf(dialect).includes(size)
      ? { [field]: size }
      : refusal('input.size', 'This model does not make images of that size.')
  }
  if (ratio === undefined) return {}
  if (isStyle3(dialect) || dialect === 'auto') {
    const written = ratio.replace(':', 'x')
    if (ASPECT_RATIOS_3.includes(written)) return { aspect_ratio: written }
  } else {
    const preset = smallestOf(sizesOf(dialect), ratio)
    if (preset) return { [dialect === 'ideogram-4-5' ? 'size' : 'resolution']: preset }
  }
  return refusal('input.aspect_ratio', 'This model does not make images of that shape.')
}

const sizesOf = (dialect: Dialect): string[] => {
  if (dialect === 'ideogram-4') return RESOLUTIONS_4
  return dialect === 'ideogram-4-5' ? SIZES_4_5 : RESOLUTIONS_3
}

/** The smallest listed size of exactly this shape: about one megapixel, the size the listed price is for. */
const smallestOf = (sizes: string[], ratio: string): string | undefined => {
  const [across = 1, down = 1] = ratio.split(':').map(Number)
  const sides = (size: string): number[] => size.split('x').map(Number)
  const area = (size: string): number => sides(size).reduce((product, side) => product * side, 1)
  return sizes
    .filter((size) => (sides(size)[0] ?? 0) * down === (sides(size)[1] ?? 0) * across)
    .sort((one, other) => area(one) - area(other))[0]
}

const SPEEDS = { draft: 'turbo', standard: 'default', high: 'quality' }
const QUALITIES = { draft: 'low', standard: 'medium', high: 'high' }

const qualityOf = (dialect: Dialect, quality: ImageInput['quality']): Fields | Refusal => {
  if (quality === undefined) return {}
  if (dialect === 'auto') return refusal('input.quality', 'This model chooses its quality itself.')
  return dialect === 'ideogram-4-5' ? { quality: QUALITIES[quality] } : { rendering_speed: SPEEDS[quality] }
}

const styleOf = (dialect: Dialect, style: string | undefined): Fields | Refusal => {
  if (style === undefined) return {}
  if (!isStyle3(dialect)) return refusal('input.style', 'This model takes no style.')
  const written = style.toLowerCase()
  return STYLE_TYPES_3.includes(written)
    ? { style_type: written }
    : refusal('input.style', `must be one of ${STYLE_TYPES_3.join(', ')} with this model.`)
}

const negativeOf = (dialect: Dialect, text: string | undefined): Fields | Refusal => {
  if (text === undefined) return {}
  return isStyle3(dialect)
    ? { negative_prompt: text }
    : refusal('input.negative_prompt', 'This model takes no negative prompt.')
}

const defined = (fields: object): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

const inCapitals = (body: Fields): Fields =>
  Object.fromEntries(
    Object.entries(body).map(([field, value]) => [
      field,
      typeof value === 'string' && CAPITALS_IN_V1.includes(field) ? value.toUpperCase() : value,
    ]),
  )
