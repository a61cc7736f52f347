import { readFileSync } from 'node:fs'
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

/** The reference as validators, by operation and part: requests with unknown fields refused, answers as they stand. */

type Node = { [keyword: string]: unknown }

const spec = openNulls(JSON.parse(readFileSync(new URL('../specs/openai.json', import.meta.url), 'utf8'))) as Node

const ajv = new Ajv2020({ strict: false, allErrors: false, validateSchema: false, logger: false })
addFormats.default(ajv)
ajv.addFormat('unixtime', true)
ajv.addSchema(spec, 'openai')

const compile = (name: string, closed: boolean): ValidateFunction =>
  ajv.compile({
    $ref: `openai#/components/schemas/${name}`,
    ...(closed ? { unevaluatedProperties: false } : {}),
  })

export const requests = {
  '/chat/completions': compile('CreateChatCompletionRequest', true),
  '/embeddings': compile('CreateEmbeddingRequest', true),
  '/images/generations': compile('CreateImageRequest', true),
} as const

export const answers = {
  chat: compile('CreateChatCompletionResponse', false),
  chunk: compile('CreateChatCompletionStreamResponse', false),
  embedding: compile('CreateEmbeddingResponse', false),
  image: compile('ImagesResponse', false),
  models: compile('ListModelsResponse', false),
  error: compile('ErrorResponse', false),
} as const

/** The first thing wrong, as the provider would name it. */
export function problemWith(
  validate: ValidateFunction,
  value: unknown,
): { message: string; param: string | null } | undefined {
  if (validate(value)) return undefined
  const [error] = (validate.errors ?? []) as [ErrorObject?]
  const path = (error?.instancePath ?? '').split('/').filter(Boolean)
  const unknown = error?.params['unevaluatedProperty'] ?? error?.params['additionalProperty']
  const param = [...path, ...(typeof unknown === 'string' ? [unknown] : [])].join('.')
  const message = unknown === undefined ? (error?.message ?? 'is invalid') : 'is not a known parameter'
  return { message: `Invalid '${param}': ${message}.`, param: param || null }
}

/** `nullable` is of an older dialect than the rest of the reference: what is nullable may also be null. */
function openNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(openNulls)
  if (typeof value !== 'object' || value === null) return value
  const { nullable, ...rest } = value as Node
  const opened = Object.fromEntries(Object.entries(rest).map(([key, inner]) => [key, openNulls(inner)]))
  return nullable === true ? { anyOf: [opened, { type: 'null' }] } : opened
}
