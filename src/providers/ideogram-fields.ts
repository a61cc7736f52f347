import * as v from 'valibot'

/**
 * The native fields of Ideogram's generate operations, as `provider_options.ideogram` takes them, so that a misspelt
 * one is refused and not silently ignored. Sources: API v2 reference of 2026-10-07, v1 OpenAPI file of 2026-04.
 * Enumerated values may be written in either case: v2 wants them small, v1 in capitals. File fields are left out, since
 * a job's input is text; assets that Ideogram already holds can be named.
 */

export const IDEOGRAM_MODELS = ['ideogram-3', 'ideogram-4', 'ideogram-4-5', 'auto'] as const
export type IdeogramModel = (typeof IDEOGRAM_MODELS)[number]
/** What a request is written in: a v2 model, or the one model that v1 is kept for. */
export type Dialect = IdeogramModel | 'v1'

/** Fields that Switchyard sets itself, and where to say it instead. */
export const OWNED_FIELDS: Record<string, string> = {
  prompt: 'use input.prompt',
  num_images: 'use input.count',
  async: 'use mode: "async" or "sync"',
  webhook_url: 'results are polled for',
}

const words = (text: string): string[] => text.trim().split(/\s+/)

export const RESOLUTIONS_3 = words(`
  512x1536 576x1408 576x1472 576x1536 640x1344 640x1408 640x1472 640x1536 704x1152 704x1216 704x1280 704x1344
  704x1408 704x1472 736x1312 768x1088 768x1216 768x1280 768x1344 800x1280 832x960 832x1024 832x1088 832x1152
  832x1216 832x1248 864x1152 896x960 896x1024 896x1088 896x1120 896x1152 960x832 960x896 960x1024 960x1088
  1024x832 1024x896 1024x960 1024x1024 1088x768 1088x832 1088x896 1088x960 1120x896 1152x704 1152x832 1152x864
  1152x896 1216x704 1216x768 1216x832 1248x832 1280x704 1280x768 1280x800 1312x736 1344x640 1344x704 1344x768
  1408x576 1408x640 1408x704 1472x576 1472x640 1472x704 1536x512 1536x576 1536x640
`)

export const RESOLUTIONS_4 = words(`
  2048x2048 1440x2880 2880x1440 1664x2496 2496x1664 1792x2240 2240x1792 1440x2560 2560x1440 1600x2560 2560x1600
  1728x2304 2304x1728 1296x3168 3168x1296 1152x2944 2944x1152 1248x3328 3328x1248 1280x3072 3072x1280 1024x3072
  3072x1024 1024x1024 896x1120 1120x896 864x1152 1152x864 832x1248 1248x832 800x1280 1280x800 720x1280 1280x720
  720x1440 1440x720 512x1536 1536x512
`)

/** 4.5 without source images takes the sizes of 4.0 but the two of 512 pixels (read in a client of a reseller). */
export const SIZES_4_5 = RESOLUTIONS_4.filter((size) => !size.split('x').includes('512'))

export const ASPECT_RATIOS_3 = words('1x3 3x1 1x2 2x1 9x16 16x9 10x16 16x10 2x3 3x2 3x4 4x3 4x5 5x4 1x1')
export const STYLE_TYPES_3 = words('auto general realistic design custom fiction stylized')

const STYLE_PRESETS_3 = words(`
  80s_illustration 90s_nostalgia abstract_organic analog_nostalgia art_brut art_deco art_poster aura avant_garde
  bauhaus blueprint blurry_motion bright_art c4d_cartoon childrens_book collage coloring_book_i coloring_book_ii
  cubism dark_aura doodle double_exposure dramatic_cinema editorial emotional_minimal ethereal_party expired_film
  flat_art flat_vector forest_reverie geo_minimalist glass_prism golden_hour graffiti_i graffiti_ii halftone_print
  high_contrast hippie_era iconic japandi_fusion jazzy long_exposure magazine_editorial minimal_illustration
  mixed_media monochrome nightlife oil_painting old_cartoons paint_gesture pop_art retro_etching riviera_pop
  spotlight_80s stylized_red surreal_collage travel_poster vintage_geo vintage_poster watercolor weird
  woodblock_print
`)

/** One of these, in either case; kept small. */
const choice = (values: readonly string[]) => {
  const shown =
    values.length <= 16 ? values.join(', ') : `${values.slice(0, 4).join(', ')}, … (${values.length} values)`
  return v.optional(v.pipe(v.string(), v.toLowerCase(), v.picklist(values, `must be one of ${shown}`)))
}
const short = v.pipe(v.string(), v.minLength(1), v.maxLength(256))
const seed = v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2_147_483_647)))
const flag = v.optional(v.nullable(v.boolean()))
const magicPrompt = choice(['auto', 'on', 'off'])

const Asset = v.strictObject({
  asset_type: v.optional(v.picklist(['ASSET', 'CANVAS_ASSET', 'LAYERED_ASSET', 'RESPONSE', 'UPLOAD'])),
  asset_id: v.optional(short),
  collection_id: v.optional(short),
})
const assets = v.optional(v.pipe(v.array(Asset), v.minLength(1), v.maxLength(10)))

const PALETTES = words('EMBER FRESH JUNGLE MAGIC MELON MOSAIC PASTEL ULTRAMARINE')
const colorPalette = v.optional(
  v.union(
    [
      v.strictObject({ name: v.pipe(v.string(), v.toUpperCase(), v.picklist(PALETTES)) }),
      v.strictObject({
        members: v.pipe(
          v.array(
            v.strictObject({
              color_hex: v.pipe(v.string(), v.regex(/^#(?:[0-9a-fA-F]{3}){1,2}$/)),
              color_weight: v.optional(v.pipe(v.number(), v.minValue(0.05), v.maxValue(1))),
            }),
          ),
          v.minLength(1),
          v.maxLength(8),
        ),
      }),
    ],
    'must be { name } of a preset or { members: [{ color_hex, color_weight }] }',
  ),
)
const styleCodes = v.optional(v.array(v.pipe(v.string(), v.regex(/^[0-9a-fA-F]{8}$/, 'must be 8 hexadecimal digits'))))

const common = { seed, private: flag, target_collection_id: v.optional(short) }
const rendered = { ...common, enable_copyright_detection: flag, magic_prompt: magicPrompt }

const style3 = {
  negative_prompt: v.optional(v.string()),
  resolution: choice(RESOLUTIONS_3),
  color_palette: colorPalette,
  style_type: choice(STYLE_TYPES_3),
  style_preset: choice(STYLE_PRESETS_3),
  style_codes: styleCodes,
}

export const NATIVE_FIELDS = {
  'ideogram-3': v.strictObject({
    ...rendered,
    ...style3,
    rendering_speed: choice(['turbo', 'default', 'quality']),
    aspect_ratio: choice(['auto', ...ASPECT_RATIOS_3]),
    style_reference_asset_identifiers: assets,
    style_reference_collection_id: v.optional(short),
    style_reference_collection_version_id: v.optional(short),
  }),
  'ideogram-4': v.strictObject({
    ...rendered,
    rendering_speed: choice(['turbo', 'default', 'quality']),
    resolution: choice(RESOLUTIONS_4),
  }),
  'ideogram-4-5': v.strictObject({
    ...rendered,
    quality: choice(['very_low', 'low', 'medium', 'high']),
    size: v.optional(v.nullable(v.pipe(v.string(), v.toLowerCase()))),
    image_asset_identifiers: assets,
  }),
  // Only what both the reference and its machine-readable copy list.
  auto: v.strictObject({ ...common, aspect_ratio: choice(['auto', ...ASPECT_RATIOS_3]) }),
  v1: v.strictObject({
    seed,
    magic_prompt: magicPrompt,
    ...style3,
    rendering_speed: choice(['flash', 'turbo', 'balanced', 'default', 'quality']),
    aspect_ratio: choice(ASPECT_RATIOS_3),
    custom_model_uri: v.optional(v.pipe(v.string(), v.regex(/^model\/[^/]+\/version\/[^/]+$/))),
  }),
}

/** The fields that v1 writes in capitals. */
export const CAPITALS_IN_V1 = ['magic_prompt', 'rendering_speed', 'style_type', 'style_preset']
