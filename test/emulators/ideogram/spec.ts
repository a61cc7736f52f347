import { readFileSync } from 'node:fs'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

export interface Schema {
  $ref?: string
  type?: string | string[]
  format?: string
  items?: Schema
  properties?: Record<string, Schema>
  additionalProperties?: boolean
  enum?: unknown[]
  [keyword: string]: unknown
}

interface Spec {
  paths: Record<string, { post?: { requestBody?: { content: Record<string, { schema: Schema }> } } }>
  components: { schemas: Record<string, Schema> }
}

/** One way to ask for pictures: a path of the specification and what it takes. */
export interface Operation {
  api: 'v1' | 'v2'
  path: string
  model: string
  takesMultipart: boolean
  schema: Schema
  validate: ValidateFunction
}

/** Marks a string that stands for an uploaded file, so that text in a file field does not pass for one. */
export const fileMark = '\u0000file:'

const specs: Record<'v1' | 'v2', Spec> = { v1: loadSpec('ideogram-v1.json'), v2: loadSpec('ideogram-v2.json') }

/** Every generate operation by its path. */
export const operations: ReadonlyMap<string, Operation> = readOperations()

/** Follows a `$ref` to the schema it names. */
export function resolveSchema(api: 'v1' | 'v2', schema: Schema): Schema {
  if (schema.$ref === undefined) return schema
  const name = schema.$ref.split('/').at(-1) ?? ''
  const found = specs[api].components.schemas[name]
  if (!found) throw new Error(`The specification names no schema ${name}`)
  return found
}

function loadSpec(name: string): Spec {
  return JSON.parse(readFileSync(new URL(`../specs/${name}`, import.meta.url), 'utf8')) as Spec
}

function readOperations(): Map<string, Operation> {
  const found = new Map<string, Operation>()
  for (const api of ['v1', 'v2'] as const) {
    const ajv = new Ajv2020({ strict: false, allErrors: false, validateSchema: false })
    addFormats.default(ajv)
    ajv.addFormat('binary', { type: 'string', validate: (text: string) => text.startsWith(fileMark) })
    ajv.addSchema(specs[api] as object, api)
    for (const [path, item] of Object.entries(specs[api].paths)) {
      const content = item.post?.requestBody?.content
      const body = content?.['application/json']?.schema
      if (!content || !body) continue
      const schema = resolveSchema(api, body)
      found.set(path, {
        api,
        path,
        model: api === 'v1' ? 'ideogram-3' : (path.split('/').at(-1) ?? ''),
        takesMultipart: 'multipart/form-data' in content,
        schema,
        // The reference leaves unknown fields open; a client that sends one is wrong all the same.
        validate: ajv.compile({ $ref: `${api}${body.$ref ?? ''}`, unevaluatedProperties: false }),
      })
    }
  }
  return found
}
