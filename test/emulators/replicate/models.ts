import { createHash } from 'node:crypto'

/** The models the emulator serves, with their input schemas as replicate.com shows them (2025 to 2026). */

export interface Model {
  /** `owner/name`. */
  id: string
  /** 64 hexadecimal digits. */
  version: string
  description: string
  /** One file, or a list of files. */
  output: 'file' | 'list'
  /** JSON Schema of `input`. */
  input: { type: 'object'; required: string[]; properties: Record<string, object>; additionalProperties: false }
  microsPerImage: number
}

const text = { type: 'string' }
const flag = { type: 'boolean' }
const uri = { type: 'string', format: 'uri' }
const seed = { type: 'integer' }
const whole = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum })
const choice = (values: string) => ({ type: 'string', enum: values.split(' ') })

const fluxOpen = {
  prompt: text,
  aspect_ratio: choice('1:1 16:9 21:9 3:2 2:3 4:5 5:4 3:4 4:3 9:16 9:21'),
  num_outputs: whole(1, 4),
  seed,
  output_format: choice('webp jpg png'),
  output_quality: whole(0, 100),
  disable_safety_checker: flag,
  go_fast: flag,
  megapixels: choice('1 0.25'),
}

const model = (id: string, microsPerImage: number, output: Model['output'], properties: Record<string, object>) => ({
  id,
  version: createHash('sha256').update(id).digest('hex'),
  description: `${id}, as the emulator has it`,
  output,
  input: { type: 'object' as const, required: ['prompt'], properties, additionalProperties: false as const },
  microsPerImage,
})

export const models: readonly Model[] = [
  model('black-forest-labs/flux-schnell', 3_000, 'list', { ...fluxOpen, num_inference_steps: whole(1, 4) }),
  model('black-forest-labs/flux-dev', 25_000, 'list', {
    ...fluxOpen,
    num_inference_steps: whole(1, 50),
    guidance: { type: 'number', minimum: 0, maximum: 10 },
    image: uri,
    prompt_strength: { type: 'number', minimum: 0, maximum: 1 },
  }),
  model('black-forest-labs/flux-1.1-pro', 40_000, 'file', {
    prompt: text,
    image_prompt: uri,
    aspect_ratio: choice('custom 1:1 16:9 3:2 2:3 4:5 5:4 9:16 3:4 4:3'),
    width: whole(256, 1440),
    height: whole(256, 1440),
    safety_tolerance: whole(1, 6),
    seed,
    prompt_upsampling: flag,
    output_format: choice('webp jpg png'),
    output_quality: whole(0, 100),
  }),
  model('black-forest-labs/flux-1.1-pro-ultra', 60_000, 'file', {
    prompt: text,
    image_prompt: uri,
    image_prompt_strength: { type: 'number', minimum: 0, maximum: 1 },
    aspect_ratio: choice('21:9 16:9 3:2 4:3 5:4 1:1 4:5 3:4 2:3 9:16 9:21'),
    safety_tolerance: whole(1, 6),
    seed,
    raw: flag,
    output_format: choice('jpg png'),
  }),
  model('ideogram-ai/ideogram-v3-turbo', 30_000, 'file', {
    prompt: text,
    aspect_ratio: choice('1:3 3:1 1:2 2:1 9:16 16:9 10:16 16:10 2:3 3:2 3:4 4:3 4:5 5:4 1:1'),
    resolution: { type: 'string', pattern: '^(None|\\d{3,4}x\\d{3,4})$' },
    magic_prompt_option: choice('Auto On Off'),
    image: uri,
    mask: uri,
    style_type: choice('None Auto General Realistic Design'),
    style_preset: text,
    style_reference_images: { type: 'array', items: uri },
    seed: { ...seed, maximum: 2_147_483_647 },
  }),
]

export const modelOf = (id: string): Model | undefined => models.find((known) => known.id === id)

/** By `owner/name`, `owner/name:version` or the version alone; `pinned` where a version was named. */
export function resolveVersion(named: string): { model: Model; pinned: boolean } | undefined {
  const [id = '', version] = named.split(':')
  const found = version === undefined ? (modelOf(id) ?? models.find((known) => known.version === id)) : modelOf(id)
  if (!found || (version !== undefined && found.version !== version)) return undefined
  return { model: found, pinned: version !== undefined || found.version === id }
}

export interface Size {
  width: number
  height: number
}

/** The pixels of a picture: what was asked for, or the ratio's at about a megapixel, in multiples of 32. */
export function sizeOf(input: Record<string, unknown>): Size {
  if (typeof input.width === 'number' && typeof input.height === 'number') {
    return { width: input.width, height: input.height }
  }
  const [width, height] = /^\d+x\d+$/.test(String(input.resolution))
    ? String(input.resolution).split('x').map(Number)
    : []
  if (width !== undefined && height !== undefined) return { width, height }
  const ratio = /^\d+:\d+$/.test(String(input.aspect_ratio)) ? String(input.aspect_ratio) : '1:1'
  const [across = 1, down = 1] = ratio.split(':').map(Number)
  const area = 1024 * 1024 * (input.megapixels === '0.25' ? 0.25 : 1)
  const side = (share: number) => Math.round(Math.sqrt(area * share) / 32) * 32
  return { width: side(across / down), height: side(down / across) }
}

/** `GET /models/{owner}/{name}`. */
export function modelBody({ id, version, description, output, input }: Model): Record<string, unknown> {
  const [owner, name] = id.split('/')
  const file = { type: 'string', format: 'uri' }
  return {
    url: `https://replicate.com/${id}`,
    owner,
    name,
    description,
    visibility: 'public',
    is_official: true,
    github_url: null,
    paper_url: null,
    license_url: null,
    run_count: 1,
    cover_image_url: null,
    default_example: null,
    latest_version: {
      id: version,
      created_at: '2025-01-29T00:00:00.000000Z',
      cog_version: '0.11.3',
      openapi_schema: {
        openapi: '3.0.2',
        components: { schemas: { Input: input, Output: output === 'file' ? file : { type: 'array', items: file } } },
      },
    },
  }
}
