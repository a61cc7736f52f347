import { readFileSync } from 'node:fs'
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

/** The reference as validators. It knows every field there is: a name that it does not know is refused, at any depth. */

type Node = { [keyword: string]: unknown }

const spec = close(JSON.parse(readFileSync(new URL('../specs/gemini.json', import.meta.url), 'utf8'))) as Node

const ajv = new Ajv2020({ strict: false, allErrors: false, validateSchema: false, logger: false })
addFormats.default(ajv)
// Proto's JSON takes both alphabets, with padding or without.
ajv.addFormat('byte', /^[\w+/-]*={0,2}$/)
ajv.addFormat('google-datetime', true)
ajv.addSchema(spec, 'gemini')

const compile = (name: string): ValidateFunction => ajv.compile({ $ref: `gemini#/components/schemas/${name}` })

export const requests = {
  generateContent: compile('GenerateContentRequest'),
  streamGenerateContent: compile('GenerateContentRequest'),
  embedContent: compile('EmbedContentRequest'),
  batchEmbedContents: compile('BatchEmbedContentsRequest'),
  countTokens: compile('CountTokensRequest'),
} as const

export const answers = {
  generate: compile('GenerateContentResponse'),
  embed: compile('EmbedContentResponse'),
  batchEmbed: compile('BatchEmbedContentsResponse'),
  countTokens: compile('CountTokensResponse'),
  models: compile('ListModelsResponse'),
} as const

/** The first thing wrong, as the provider would name it. */
export function problemWith(validate: ValidateFunction, value: unknown): string | undefined {
  if (validate(value)) return undefined
  const [error] = (validate.errors ?? []) as [ErrorObject?]
  const path = (error?.instancePath ?? '')
    .slice(1)
    .replace(/\/(\d+)/g, '[$1]')
    .replaceAll('/', '.')
  const unknown = error?.params['additionalProperty']
  return unknown === undefined
    ? `Invalid value at '${path}': ${error?.message}.`
    : `Invalid JSON payload received. Unknown name "${unknown}" at '${path}': Cannot find field.`
}

/** An object with listed properties has no others. */
function close(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(close)
  if (typeof value !== 'object' || value === null) return value
  const closed = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, close(inner)])) as Node
  return closed['type'] === 'object' && closed['properties'] && !('additionalProperties' in closed)
    ? { ...closed, additionalProperties: false }
    : closed
}
