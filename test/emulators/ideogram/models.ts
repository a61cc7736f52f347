import type { GenerateInput } from './requests.ts'
import type { Operation } from './spec.ts'
import { operations } from './spec.ts'

export interface Size {
  width: number
  height: number
}

export interface Price {
  billingIdentifier: string
  /** What the generation is charged with: USD millionths for all its images. */
  chargedUsdMicros: number
  quotedUsdMicros: number
  /** Set when the quote is an estimate. */
  upperBoundUsdMicros: number | null
}

// The sizes of 3.0 by aspect ratio at about one megapixel. Other models get the same shape.
const ratioSizes: Record<string, string> = {
  '1x4': '512x2048',
  '1x3': '512x1536',
  '1x2': '704x1408',
  '9x16': '736x1312',
  '10x16': '800x1280',
  '2x3': '832x1248',
  '3x4': '864x1152',
  '4x5': '896x1120',
  '1x1': '1024x1024',
  '5x4': '1120x896',
  '4x3': '1152x864',
  '3x2': '1248x832',
  '16x10': '1280x800',
  '16x9': '1312x736',
  '2x1': '1408x704',
  '3x1': '1536x512',
  '4x1': '2048x512',
}

// USD millionths for one image. Quotes of 2026-10-10 where the provider gave one.
const speedPrices: Record<string, Record<string, number>> = {
  'ideogram-4': { turbo: 30_000, default: 60_000, quality: 100_000 },
  // FLASH and BALANCED belong to v1; their prices are not published, so they follow the nearest neighbour.
  'ideogram-3': { flash: 30_000, turbo: 30_000, balanced: 60_000, default: 60_000, quality: 90_000 },
  'ideogram-3-character': { flash: 100_000, turbo: 100_000, balanced: 150_000, default: 150_000, quality: 200_000 },
}
// Only high and medium have a known price; the lower two are set here so that every quality has its own.
const qualityPrices: Record<string, number> = { very_low: 20_000, low: 30_000, medium: 60_000, high: 100_000 }
const flatPrices: Record<string, number> = {
  'ideogram-4-transparent': 60_000,
  'ideogram-3-transparent': 70_000,
  'ideogram-2': 80_000,
  'ideogram-2a': 40_000,
}
const autoUpperBound = 30_000

/** What the quote says and what a generation with this seed is charged. Only `auto` may differ between the two. */
export function priceOf(operation: Operation, { fields }: GenerateInput, seed: number): Price {
  const images = numImages(fields)
  const billingIdentifier = `${operation.model.replace(/^ideogram-/, 'ideogram_v').replaceAll('-', '_')}_generation`
  if (operation.model === 'auto') {
    const charged = [20_000, 25_000, autoUpperBound][seed % 3] ?? autoUpperBound
    return {
      billingIdentifier,
      chargedUsdMicros: charged * images,
      quotedUsdMicros: 25_000 * images,
      upperBoundUsdMicros: autoUpperBound * images,
    }
  }
  const total = perImage(operation.model, fields) * images
  return { billingIdentifier, chargedUsdMicros: total, quotedUsdMicros: total, upperBoundUsdMicros: null }
}

export function numImages(fields: Record<string, unknown>): number {
  return typeof fields.num_images === 'number' ? fields.num_images : 1
}

/** The pixels that the request's size, resolution or aspect ratio asks for. */
export function sizeOf({ fields, files }: GenerateInput): Size {
  const explicit = fields.resolution ?? fields.size
  if (explicit === 'source') return pngSize(files.get('images')?.[0]?.bytes) ?? parseSize('1024x1024')
  if (typeof explicit === 'string' && explicit !== 'auto') return parseSize(explicit)
  const ratio = ratioSizes[String(fields.aspect_ratio ?? '1x1')] ?? '1024x1024'
  const { width, height } = parseSize(ratio)
  const factor = Number(/\d/.exec(String(fields.upscale_factor ?? fields.output_resolution ?? '1'))?.[0] ?? 1)
  return { width: width * factor, height: height * factor }
}

/** Whether 4.5 takes this size without source images. Its preset list is not published; the one of 4.0 stands in. */
export function isPresetSize(size: string): boolean {
  const resolution = operations.get('/v2/image/generate/ideogram-4')?.schema.properties?.resolution
  return resolution?.enum?.includes(size) ?? false
}

function perImage(model: string, fields: Record<string, unknown>): number {
  if (model === 'ideogram-4-5') {
    const hasSources = fields.images !== undefined || fields.image_asset_identifiers !== undefined
    return qualityPrices[String(fields.quality ?? (hasSources ? 'medium' : 'high'))] ?? 100_000
  }
  const table = fields.character_reference_images === undefined ? model : 'ideogram-3-character'
  const speed = String(fields.rendering_speed ?? 'default').toLowerCase()
  const price = speedPrices[table]?.[speed] ?? flatPrices[model]
  if (price === undefined) throw new Error(`No price for ${model} at ${speed}`)
  return price
}

function parseSize(text: string): Size {
  const [width = 1024, height = 1024] = text.split('x').map(Number)
  return { width, height }
}

function pngSize(bytes: Buffer | undefined): Size | undefined {
  if (!bytes || bytes.length < 24 || bytes[0] !== 0x89) return undefined
  const size = { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) }
  return size.width * size.height <= 2048 * 2048 && size.width > 0 && size.height > 0 ? size : undefined
}
