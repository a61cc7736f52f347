import { isJsonObject, parseJson } from '../base/wire.ts'
import { isPresetSize } from './models.ts'
import { fileMark, type Operation, resolveSchema, type Schema } from './spec.ts'

export type Fields = Record<string, unknown>

export interface UploadedFile {
  bytes: Buffer
  type: string
}

export interface GenerateInput {
  fields: Fields
  /** Files by field name, in the order they were sent. */
  files: Map<string, UploadedFile[]>
}

type Parsed = { ok: true; input: GenerateInput } | { ok: false; problem: string }

export const maxBodyBytes = 60_000_000
const maxPromptCharacters = 10_000
const megabyte = 1_000_000

/** Reads a JSON or multipart body and checks it against the operation's schema and the rules that stand in prose. */
export async function parseGenerate(operation: Operation, contentType: string, body: Buffer): Promise<Parsed> {
  const media = contentType.split(';')[0]?.trim().toLowerCase()
  let parsed: Parsed
  if (media === 'application/json') parsed = readJson(body)
  else if (media !== 'multipart/form-data') parsed = failed(`Content type ${media || 'none'} is not supported.`)
  else if (!operation.takesMultipart) parsed = failed(`${operation.model} takes application/json only.`)
  else parsed = await parseMultipart(operation, contentType, body)
  if (!parsed.ok) return parsed
  const { fields } = parsed.input
  if (!operation.validate(fields)) {
    const first = operation.validate.errors?.[0]
    const extra = first?.params?.unevaluatedProperty ?? first?.params?.allowedValues
    return failed(`${first?.instancePath || 'body'} ${first?.message ?? 'is invalid'}${extra ? ` (${extra})` : ''}`)
  }
  const broken = rules.map((rule) => rule(parsed.input, operation)).find((problem) => problem !== undefined)
  return broken === undefined ? parsed : failed(broken)
}

function failed(problem: string): Parsed {
  return { ok: false, problem }
}

function readJson(body: Buffer): Parsed {
  const fields = parseJson(body)
  if (fields === undefined) return failed('Body is not JSON.')
  return isJsonObject(fields) ? { ok: true, input: { fields, files: new Map() } } : failed('Body must be an object.')
}

/** Scalars are text parts, arrays repeat a part, objects are JSON parts, files carry a filename. */
async function parseMultipart(operation: Operation, contentType: string, body: Buffer): Promise<Parsed> {
  let form: FormData
  try {
    form = await new Response(new Uint8Array(body), { headers: { 'content-type': contentType } }).formData()
  } catch {
    return failed('Body is not multipart/form-data.')
  }
  const input: GenerateInput = { fields: {}, files: new Map() }
  for (const name of new Set(form.keys())) {
    const property = operation.schema.properties?.[name]
    const schema = property && resolveSchema(operation.api, property)
    const isArray = schema?.type === 'array'
    const parts = form.getAll(name)
    if (parts.length > 1 && !isArray) return failed(`${name} is given more than once.`)
    const one = isArray ? resolveSchema(operation.api, schema.items ?? {}) : schema
    const values = await Promise.all(parts.map((part) => readPart(part, one ?? {}, name, input)))
    input.fields[name] = isArray ? values : values[0]
  }
  return { ok: true, input }
}

async function readPart(
  part: FormDataEntryValue,
  schema: Schema,
  name: string,
  input: GenerateInput,
): Promise<unknown> {
  if (typeof part === 'string') return readText(part, schema)
  if (schema.format !== 'binary') return part.type === 'application/json' ? readText(await part.text(), schema) : null
  const kept = input.files.get(name) ?? []
  kept.push({ bytes: Buffer.from(await part.arrayBuffer()), type: part.type })
  input.files.set(name, kept)
  return `${fileMark}${part.name}`
}

/** Text that does not read as its type stays text, for the schema to refuse. */
function readText(text: string, schema: Schema): unknown {
  const types = [schema.type].flat()
  if (types.includes('integer') || types.includes('number')) return text.trim() === '' ? text : Number(text)
  if (types.includes('boolean')) return text === 'true' ? true : text === 'false' ? false : text
  if (!types.includes('object') && schema.oneOf === undefined) return text
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

type Rule = (input: GenerateInput, operation: Operation) => string | undefined

const rules: readonly Rule[] = [
  // Documented for 4.5 only; here it bounds what the emulator keeps.
  ({ fields }) => {
    const length = String(fields.prompt).trim().length
    if (length === 0) return 'prompt is empty'
    return length > maxPromptCharacters ? `prompt is longer than ${maxPromptCharacters} characters` : undefined
  },
  exclude('aspect_ratio', ['resolution']),
  (input, operation) => {
    const references = ['style_codes', 'style_reference_images', 'style_reference_asset_identifiers']
    if (operation.api === 'v2') return exclude('style_preset', references)(input, operation)
    return exclude('style_codes', ['style_reference_images', 'style_type'])(input, operation)
  },
  ({ files }) => {
    for (const file of [...files.values()].flat()) {
      if (!isImage(file.bytes)) return 'images must be JPEG, PNG or WEBP'
      if (file.bytes.length > 25 * megabyte) return 'an image is larger than 25 MB'
    }
    return undefined
  },
  ({ files }, operation) => {
    if (operation.api !== 'v1') return undefined
    for (const name of ['style_reference_images', 'character_reference_images']) {
      const total = (files.get(name) ?? []).reduce((sum, file) => sum + file.bytes.length, 0)
      if (total > 10 * megabyte) return `${name} are larger than 10 MB together`
    }
    const characters = files.get('character_reference_images')?.length ?? 0
    const masks = files.get('character_reference_images_mask')?.length
    if (characters > 1) return 'only one character reference image is supported'
    return masks === undefined || masks === characters ? undefined : 'each character reference needs one mask'
  },
  checkSize,
]

function exclude(name: string, others: string[]): Rule {
  return ({ fields }) => {
    const other = others.find((candidate) => fields[candidate] !== undefined)
    return fields[name] !== undefined && other ? `${name} cannot be used with ${other}` : undefined
  }
}

function checkSize({ fields }: GenerateInput, operation: Operation): string | undefined {
  if (operation.model !== 'ideogram-4-5') return undefined
  const hasSources = fields.images !== undefined || fields.image_asset_identifiers !== undefined
  if (fields.mask !== undefined && !hasSources) return 'mask needs source images'
  if (fields.quality === 'very_low' && !hasSources) return 'quality very_low needs source images'
  const size = fields.size
  if (typeof size !== 'string' || size === 'auto') return undefined
  if (size === 'source') return hasSources ? undefined : 'size source needs source images'
  const sides = /^(\d{1,5})x(\d{1,5})$/.exec(size)?.slice(1).map(Number)
  const [width, height] = sides ?? []
  if (width === undefined || height === undefined) return 'size must be auto, source or WIDTHxHEIGHT'
  if (!hasSources) return isPresetSize(size) ? undefined : `size ${size} is not one of the presets`
  if (width % 32 !== 0 || height % 32 !== 0) return 'the sides of size must be multiples of 32'
  if (width < 256 || height < 256) return 'the sides of size must be at least 256'
  if (width * height > 2048 * 2048) return 'size has more pixels than 2048x2048'
  return Math.max(width / height, height / width) > 6 ? 'size is longer than 6:1' : undefined
}

function isImage(bytes: Buffer): boolean {
  const start = bytes.toString('latin1', 0, 12)
  return start.startsWith('\u0089PNG\r\n') || start.startsWith('\u00ff\u00d8\u00ff') || /^RIFF....WEBP/s.test(start)
}
