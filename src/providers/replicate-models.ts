import * as v from 'valibot'
import type { Json } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import { RESOLUTIONS_3 } from './ideogram-fields.ts'

/**
 * What each of Replicate's models takes: how the standard input is written for it, and its native input fields as
 * `provider_options.replicate` takes them, so that a misspelt one is refused and not silently ignored. Sources: the
 * models' input schemas on replicate.com, 2025 to 2026. Files are named by HTTPS URL, since a job's input is text.
 */

export type Fields = Record<string, Json>

type Quality = NonNullable<ImageInput['quality']>
type Format = NonNullable<ImageInput['format']>

export type ReplicateModel = {
  /** Native fields besides those that Switchyard sets. */
  fields: v.GenericSchema<unknown, Record<string, unknown>>
  ratios: readonly string[]
  /** The fields that ask for this size, or null where the model does not make it. Absent: it takes no size. */
  size?: (size: string) => Fields | null
  /** Most images of one prediction; more than one is asked for with `num_outputs`. */
  imagesMax: number
  formats: Partial<Record<Format, string>>
  /** Absent: the model has one quality. */
  quality?: Partial<Record<Quality, Fields>>
  /** As the model spells them; the standard input takes any case. Absent: it takes no style. */
  styles?: readonly string[]
}

/** Fields that Switchyard sets itself, and where to say it instead. */
export const OWNED_FIELDS: Record<string, string> = {
  prompt: 'use input.prompt',
  seed: 'use input.seed',
  num_outputs: 'use input.count',
  webhook: 'results are fetched by Switchyard',
  webhook_events_filter: 'results are fetched by Switchyard',
  version: 'the model is named in models',
}

/** The native fields that say what a standard field says; where one is given, the standard field is not looked at. */
export const SAME_MEANING = {
  shape: ['aspect_ratio', 'width', 'height', 'resolution'],
  quality: ['num_inference_steps'],
  format: ['output_format'],
  style: ['style_type', 'style_preset'],
}

const choice = (values: readonly string[]) => v.optional(v.picklist(values, `must be one of ${values.join(', ')}`))
const whole = (low: number, high: number) =>
  v.optional(v.pipe(v.number(), v.integer(), v.minValue(low), v.maxValue(high)))
const share = v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(1)))
const flag = v.optional(v.boolean())
const fileUrl = v.pipe(v.string(), v.maxLength(2_048), v.regex(/^https:\/\//, 'must be an https URL'))
const file = v.optional(fileUrl)

const FLUX_RATIOS = ['1:1', '16:9', '21:9', '3:2', '2:3', '4:5', '5:4', '3:4', '4:3', '9:16', '9:21']
const PRO_RATIOS = ['1:1', '16:9', '3:2', '2:3', '4:5', '5:4', '9:16', '3:4', '4:3']
const IDEOGRAM_RATIOS = [
  ...['1:1', '1:3', '3:1', '1:2', '2:1', '9:16', '16:9', '10:16', '16:10', '2:3', '3:2', '3:4', '4:3', '4:5', '5:4'],
]
const IDEOGRAM_STYLES = ['Auto', 'General', 'Realistic', 'Design']

const FLUX_FORMATS = { png: 'png', jpeg: 'jpg', webp: 'webp' }
const fluxFormat = choice(['webp', 'jpg', 'png'])
const fluxOpen = {
  aspect_ratio: choice(FLUX_RATIOS),
  megapixels: choice(['1', '0.25']),
  go_fast: flag,
  output_format: fluxFormat,
  output_quality: whole(0, 100),
  disable_safety_checker: flag,
}

/** `aspect_ratio: custom` with sides of 256 to 1440 pixels; the provider would round to multiples of 32. */
const customSize = (size: string): Fields | null => {
  const [width = 0, height = 0] = size.split('x').map(Number)
  const fits = [width, height].every((side) => side >= 256 && side <= 1_440 && side % 32 === 0)
  return fits ? { aspect_ratio: 'custom', width, height } : null
}

export const REPLICATE_MODELS: Record<string, ReplicateModel> = {
  'black-forest-labs/flux-schnell': {
    fields: v.strictObject({ ...fluxOpen, num_inference_steps: whole(1, 4) }),
    ratios: FLUX_RATIOS,
    imagesMax: 4,
    formats: FLUX_FORMATS,
    // Four steps, the default, are all that the model takes.
    quality: { draft: { num_inference_steps: 2 }, standard: { num_inference_steps: 4 } },
  },
  'black-forest-labs/flux-dev': {
    fields: v.strictObject({
      ...fluxOpen,
      num_inference_steps: whole(1, 50),
      guidance: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(10))),
      image: file,
      prompt_strength: share,
    }),
    ratios: FLUX_RATIOS,
    imagesMax: 4,
    formats: FLUX_FORMATS,
    // 28 is the default; the recommended range is 28 to 50.
    quality: {
      draft: { num_inference_steps: 14 },
      standard: { num_inference_steps: 28 },
      high: { num_inference_steps: 50 },
    },
  },
  'black-forest-labs/flux-1.1-pro': {
    fields: v.strictObject({
      aspect_ratio: choice(['custom', ...PRO_RATIOS]),
      width: whole(256, 1_440),
      height: whole(256, 1_440),
      image_prompt: file,
      safety_tolerance: whole(1, 6),
      prompt_upsampling: flag,
      output_format: fluxFormat,
      output_quality: whole(0, 100),
    }),
    ratios: PRO_RATIOS,
    size: customSize,
    imagesMax: 1,
    formats: FLUX_FORMATS,
  },
  'black-forest-labs/flux-1.1-pro-ultra': {
    fields: v.strictObject({
      aspect_ratio: choice(FLUX_RATIOS),
      image_prompt: file,
      image_prompt_strength: share,
      safety_tolerance: whole(1, 6),
      raw: flag,
      output_format: choice(['jpg', 'png']),
    }),
    ratios: FLUX_RATIOS,
    imagesMax: 1,
    formats: { png: 'png', jpeg: 'jpg' },
  },
  'ideogram-ai/ideogram-v3-turbo': {
    fields: v.strictObject({
      aspect_ratio: choice(IDEOGRAM_RATIOS),
      resolution: v.optional(v.picklist(['None', ...RESOLUTIONS_3], 'must be a listed resolution')),
      magic_prompt_option: choice(['Auto', 'On', 'Off']),
      style_type: choice(['None', ...IDEOGRAM_STYLES]),
      style_preset: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(64))),
      style_reference_images: v.optional(v.pipe(v.array(fileUrl), v.minLength(1), v.maxLength(10))),
      image: file,
      mask: file,
    }),
    ratios: IDEOGRAM_RATIOS,
    size: (size) => (RESOLUTIONS_3.includes(size) ? { resolution: size } : null),
    imagesMax: 1,
    formats: { png: 'png' },
    styles: IDEOGRAM_STYLES,
  },
}
