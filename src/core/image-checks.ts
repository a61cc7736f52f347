import type { CheckResults, ImageInput, NamedChecks } from '../contract/image.ts'
import { LIMITS } from '../limits.ts'
import type { ImageHeader } from './image-header.ts'

/**
 * What a job wants to know of its pictures, and what a picture's header already answers. What follows a problem is in the
 * fault table: bytes that are bad are fetched again, a picture that is not what was asked for is a refusal of the provider's.
 */

export type ImageProblem = {
  code: 'artifact_failed' | 'provider_rejected' | 'content_rejected'
  /** Goes on from "Image 1 was not stored: ". */
  message: string
  param?: string
}

/** The checks by name, or null where none is wanted. */
export const wantedChecks = ({ checks }: ImageInput): NamedChecks | null => {
  if (checks === true) return { decode: true, not_blank: true, dimensions: true, format: true }
  if (!checks || !Object.values(checks).some(Boolean)) return null
  return checks
}

/** Pixels are only looked at for these two. */
export const wantsPixels = (checks: NamedChecks): boolean => checks.decode === true || checks.not_blank === true

/** Bounds that no picture of the asked size could keep, told before one is paid for. */
export const refusesChecks = (input: ImageInput): { param: string; message: string } | null => {
  const checks = wantedChecks(input)
  if (!checks || input.size === undefined) return null
  const [width = 0, height = 0] = sidesOf(input.size, 'x')
  if ((checks.min_width ?? 0) > width || (checks.min_height ?? 0) > height) {
    return { param: 'input.checks', message: 'asks for more pixels than input.size has' }
  }
  return null
}

export type Facts = ImageHeader & { bytes: number }

/** The first thing wrong with a picture as far as its header and length tell, or null. `provider` is who made it. */
export const problemOf = (
  checks: NamedChecks,
  input: ImageInput,
  provider: string,
  facts: Facts,
): ImageProblem | null => {
  if (checks.min_bytes !== undefined && facts.bytes < checks.min_bytes) {
    return {
      code: 'artifact_failed',
      message: `it has ${facts.bytes} bytes, and at least ${checks.min_bytes} are asked for`,
    }
  }
  if (checks.format && expectedType(input, provider) !== null && facts.contentType !== expectedType(input, provider)) {
    return rejected(`it is ${facts.contentType}, and ${expectedType(input, provider)} was asked for`, 'input.format')
  }
  const size = `it is ${facts.width}x${facts.height}`
  if (facts.width < (checks.min_width ?? 0)) {
    return rejected(`${size}, and a width of at least ${checks.min_width} is asked for`, 'input.checks.min_width')
  }
  if (facts.height < (checks.min_height ?? 0)) {
    return rejected(`${size}, and a height of at least ${checks.min_height} is asked for`, 'input.checks.min_height')
  }
  const shape = checks.dimensions ? expectedShape(input, provider) : null
  if (!shape || fits(shape, facts)) return null
  return rejected(`${size}, and ${shape.asked} was asked for`, `input.${shape.field}`)
}

const rejected = (message: string, param: string): ImageProblem => ({ code: 'provider_rejected', message, param })

/** What held. `seen` tells how far the pixels could be looked at. */
export const resultsOf = (
  checks: NamedChecks,
  input: ImageInput,
  provider: string,
  seen: 'pixels' | 'structure',
): CheckResults => ({
  ...(checks.decode ? { decode: seen === 'pixels' || null } : {}),
  ...(checks.not_blank ? { not_blank: seen === 'pixels' || null } : {}),
  ...(checks.dimensions ? { dimensions: expectedShape(input, provider) !== null || null } : {}),
  ...(checks.format ? { format: expectedType(input, provider) !== null || null } : {}),
  ...(checks.min_bytes === undefined ? {} : { min_bytes: true }),
  ...(checks.min_width === undefined ? {} : { min_width: true }),
  ...(checks.min_height === undefined ? {} : { min_height: true }),
})

/** Native fields that say another size or format than the standard ones, and win over them. */
const NATIVE_SHAPES = ['aspect_ratio', 'resolution', 'size', 'width', 'height', 'image']
const NATIVE_FORMATS = ['output_format', 'format']

const saysNatively = (input: ImageInput, provider: string, fields: readonly string[]): boolean => {
  const options = input.provider_options?.[provider] ?? {}
  return fields.some((field) => Object.hasOwn(options, field))
}

type Shape = { field: 'size' | 'aspect_ratio'; asked: string; across: number; down: number }

const expectedShape = (input: ImageInput, provider: string): Shape | null => {
  if (saysNatively(input, provider, NATIVE_SHAPES)) return null
  const { size, aspect_ratio: ratio } = input
  if (size !== undefined) return shapeOf('size', size, 'x')
  return ratio === undefined ? null : shapeOf('aspect_ratio', ratio, ':')
}

const shapeOf = (field: Shape['field'], asked: string, between: string): Shape => {
  const [across = 0, down = 0] = sidesOf(asked, between)
  return { field, asked, across, down }
}

const sidesOf = (text: string, between: string): number[] => text.split(between).map(Number)

const fits = ({ field, across, down }: Shape, { width, height }: Facts): boolean => {
  if (field === 'size') return width === across && height === down
  const off = (width * down) / (height * across)
  return Math.max(off, 1 / off) <= 1 + LIMITS.aspectRatioTolerance
}

const expectedType = (input: ImageInput, provider: string): Facts['contentType'] | null => {
  if (input.format === undefined || saysNatively(input, provider, NATIVE_FORMATS)) return null
  return `image/${input.format}`
}
