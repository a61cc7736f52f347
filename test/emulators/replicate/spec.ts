import { readFileSync } from 'node:fs'
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { models } from './models.ts'

/** The bodies that the copied specification and the models' own input schemas allow. */

export interface InvalidField {
  type: string
  field: string
  description: string
}

const spec = JSON.parse(readFileSync(new URL('../specs/replicate.json', import.meta.url), 'utf8')) as object
const ajv = new Ajv2020({ strict: false, allErrors: true, validateSchema: false })
addFormats.default(ajv)
ajv.addSchema(spec, 'replicate')

const compileRequest = (name: string): ValidateFunction =>
  ajv.compile({ $ref: `replicate#/components/schemas/${name}` })

const requests = {
  model: compileRequest('schemas_prediction_request'),
  version: compileRequest('schemas_version_prediction_request'),
}
const inputs = new Map(models.map((model) => [model.id, ajv.compile(model.input)]))

/** What is wrong with the body of a create, in the provider's form; empty where nothing is. */
export function problemsWithRequest(kind: 'model' | 'version', body: unknown): InvalidField[] {
  return requests[kind](body) ? [] : (requests[kind].errors ?? []).map((error) => fieldOf(error, ''))
}

/** What is wrong with the input of a model. The wire lets unknown fields pass; a client that sends one is wrong. */
export function problemsWithInput(model: string, input: unknown): InvalidField[] {
  const validate = inputs.get(model)
  if (!validate) throw new Error(`No input schema for ${model}`)
  return validate(input) ? [] : (validate.errors ?? []).map((error) => fieldOf(error, 'input'))
}

function fieldOf({ instancePath, keyword, params, message }: ErrorObject, root: string): InvalidField {
  const named: unknown = params.missingProperty ?? params.additionalProperty
  const path = [root, ...instancePath.split('/').slice(1), ...(typeof named === 'string' ? [named] : [])]
  const field = path.filter(Boolean).join('.')
  if (keyword === 'required') return { type: 'required', field, description: `${named} is required` }
  return { type: keyword, field, description: message ?? 'is invalid' }
}
