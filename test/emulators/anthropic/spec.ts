import { readFileSync } from 'node:fs'
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'

/**
 * The reference as validators, by version. The file is of 2023-06-01 and some months old; what was added since, and what
 * 2026-10-21 does otherwise, is as the official client's types and its changelog have it (1.11.0 of November 2026).
 */

export const versions = ['2023-06-01', '2026-10-21'] as const
export type Version = (typeof versions)[number]

type Node = { [keyword: string]: unknown }
type Schemas = Record<string, { properties?: Record<string, Node>; required?: string[] } & Node>

const nullable = (schema: Node): Node => ({ anyOf: [schema, { type: 'null' }] })
const object = (properties: Record<string, Node>, required: string[] = []): Node => ({
  type: 'object',
  additionalProperties: false,
  properties,
  required,
})

const specOf = (version: Version): Node => {
  const spec = JSON.parse(String(readFileSync(new URL('../specs/anthropic.json', import.meta.url)))) as {
    components: { schemas: Schemas }
  }
  const { schemas } = spec.components
  const propertiesOf = (name: string): Record<string, Node> => schemas[name]?.properties ?? {}
  for (const name of ['CreateMessageParams', 'CountMessageTokensParams']) {
    const fields = propertiesOf(name)
    fields['speed'] = nullable({ enum: ['standard', 'fast'] })
    fields['diagnostics'] = nullable({ type: 'object' })
    if (version === '2026-10-21') for (const gone of ['temperature', 'top_p', 'top_k']) delete fields[gone]
  }
  const thinking = schemas['ThinkingConfigParam'] as { oneOf: Node[] }
  thinking.oneOf.push(object({ type: { const: 'between_tools' } }, ['type']))
  const stopReason = schemas['StopReason'] as { enum: string[] }
  stopReason.enum.push('model_context_window_exceeded')
  propertiesOf('RefusalStopDetails')['category'] = nullable({
    enum: ['cyber', 'bio', 'frontier_llm', 'reasoning_extraction', 'general_harms'],
  })
  Object.assign(propertiesOf('Usage'), {
    output_tokens_details: nullable(object({ thinking_tokens: { type: 'integer', minimum: 0 } }, ['thinking_tokens'])),
    speed: nullable({ enum: ['standard', 'fast'] }),
  })
  const error = schemas['ErrorResponse']?.properties?.['error'] as { oneOf: Node[] }
  for (const type of ['conflict_error', 'request_too_large'])
    error.oneOf.push({
      type: 'object',
      properties: { type: { const: type }, message: { type: 'string' } },
      required: ['type', 'message'],
    })
  return spec
}

const compiled = (version: Version) => {
  const ajv = new Ajv2020({
    strict: false,
    allErrors: false,
    validateSchema: false,
    logger: false,
    validateFormats: false,
  })
  ajv.addSchema(specOf(version), 'anthropic')
  const compile = (name: string): ValidateFunction => ajv.compile({ $ref: `anthropic#/components/schemas/${name}` })
  return {
    messages: compile('CreateMessageParams'),
    countTokens: compile('CountMessageTokensParams'),
    message: compile('Message'),
    counted: compile('CountMessageTokensResponse'),
    models: compile('ListResponse_ModelInfo_'),
    error: compile('ErrorResponse'),
  }
}

export const reference: Record<Version, ReturnType<typeof compiled>> = {
  '2023-06-01': compiled('2023-06-01'),
  '2026-10-21': compiled('2026-10-21'),
}

/** The first thing wrong, as the provider words it: `messages.0.role: Extra inputs are not permitted`. */
export function problemWith(validate: ValidateFunction, value: unknown): string | undefined {
  if (validate(value)) return undefined
  const [error] = (validate.errors ?? []) as [ErrorObject?]
  const path = (error?.instancePath ?? '').split('/').filter(Boolean)
  const unknown = error?.params['additionalProperty'] ?? error?.params['unevaluatedProperty']
  const missing = error?.params['missingProperty']
  if (typeof unknown === 'string') return `${[...path, unknown].join('.')}: Extra inputs are not permitted`
  if (typeof missing === 'string') return `${[...path, missing].join('.')}: Field required`
  return `${path.join('.') || 'body'}: Input ${error?.message ?? 'is invalid'}`
}
