import type { ChatInput } from '../contract/chat.ts'
import type { Tool } from '../contract/chat-message.ts'
import { mannersOf } from './anthropic-models.ts'
import type { ChatCard, Refusal } from './dialect.ts'
import { recordOf } from './openai-usage.ts'

/** Tools, the choice of one, and answers in JSON, which are a tool too where there is no schema to keep to. */

type Schema = Record<string, unknown>

export const refusesTools = (card: ChatCard, input: ChatInput): Refusal | null => {
  const { tools = [], tool_choice: choice, response_format: format } = input
  if (tools.length > 0 && !card.tools) return { param: 'tools', message: `${card.model} calls no tools.` }
  const odd = tools.findIndex(({ function: { parameters } }) => (parameters?.['type'] ?? 'object') !== 'object')
  if (odd >= 0)
    return { param: `tools.${odd}.function.parameters.type`, message: `${card.model} takes parameters in an object.` }
  const isForced = choice === 'required' || typeof choice === 'object'
  if (isForced && tools.length > 0 && !mannersOf(card).forcesTools)
    return { param: 'tool_choice', message: `${card.model} cannot be made to call a tool.` }
  const needs = format?.type === 'json_schema' && format.json_schema.schema ? card.jsonSchema : card.jsonObject
  if (format && format.type !== 'text' && !needs)
    return {
      param: 'response_format',
      message: `${card.model} keeps to a JSON Schema alone: json_schema with a schema.`,
    }
  return null
}

/**
 * The tool whose arguments are the answer: for JSON without a schema, which structured outputs do not know. None where
 * another tool has to be called anyway.
 */
export const jsonToolOf = ({ response_format: format, tools = [], tool_choice: choice }: ChatInput): string | null => {
  if (!format || format.type === 'text' || schemaOf(format)) return null
  if (tools.length > 0 && (choice === 'required' || typeof choice === 'object')) return null
  let name = 'json_answer'
  while (tools.some(({ function: known }) => known.name === name)) name += '_'
  return name
}

const schemaOf = (format: ChatInput['response_format']): Schema | null =>
  format?.type === 'json_schema' ? (format.json_schema.schema ?? null) : null

/** `output_config.format`. Objects that say nothing of further fields are closed, as structured outputs need them. */
export const formatOf = ({ response_format: format }: ChatInput): object | null => {
  const schema = schemaOf(format)
  if (format?.type !== 'json_schema' || !schema) return null
  const { description } = format.json_schema
  const told = description && schema['description'] === undefined ? { description } : {}
  return { type: 'json_schema', schema: { ...told, ...closed(schema) } }
}

export type ToolFields = { tools?: object[]; tool_choice?: object }

/** `forced` says that the model has to call one. */
export const toolFields = (input: ChatInput): { fields: ToolFields; forced: boolean } => {
  const { tools = [], parallel_tool_calls: parallel } = input
  const json = jsonToolOf(input)
  if (tools.length === 0 && json === null) return { fields: {}, forced: false }
  const all = tools.map(toolOf)
  if (json !== null)
    all.push({
      name: json,
      description: input.response_format?.type === 'json_schema' ? describe(input.response_format.json_schema) : ANSWER,
      input_schema: { type: 'object' },
    })
  const choice = choiceOf(input, json)
  const type = choice?.type ?? 'auto'
  // Several answers in JSON at once would be none.
  const isAlone = parallel === false || (json !== null && type === 'tool')
  const single = isAlone && type !== 'none' ? { disable_parallel_tool_use: true } : {}
  return {
    fields: {
      tools: all,
      ...(choice || parallel === false ? { tool_choice: { ...(choice ?? { type }), ...single } } : {}),
    },
    forced: type === 'any' || type === 'tool',
  }
}

const ANSWER = 'Gives the answer, as a JSON object.'
const describe = ({ description }: { description?: string | undefined }): string => description || ANSWER

const choiceOf = (
  { tools = [], tool_choice: choice }: ChatInput,
  json: string | null,
): { type: string; name?: string } | null => {
  if (json !== null) return tools.length > 0 && choice !== 'none' ? { type: 'any' } : { type: 'tool', name: json }
  if (typeof choice === 'object' && choice !== null) return { type: 'tool', name: choice.function.name }
  if (choice === 'required') return { type: 'any' }
  return choice === undefined || choice === null ? null : { type: choice }
}

const toolOf = ({ function: { name, description, parameters, strict } }: Tool): Record<string, unknown> => ({
  name,
  ...(description ? { description } : {}),
  input_schema: { type: 'object', ...(strict === true ? closed(parameters ?? {}) : parameters) },
  ...(strict === true ? { strict: true } : {}),
})

/** What holds schemas, by name or in a list or alone. */
const NAMED = ['properties', '$defs', 'definitions']
const LISTED = ['anyOf', 'oneOf', 'prefixItems']
/** Beside these a closed object would shut out what they bring. */
const COMBINED = ['allOf', 'anyOf', 'oneOf', '$ref']

/** A narrower schema: what keeps to it keeps to the one that was given. */
const closed = (schema: Schema): Schema => {
  const result: Schema = { ...schema }
  for (const key of NAMED) {
    const held = recordOf(schema[key])
    if (held) result[key] = Object.fromEntries(Object.entries(held).map(([name, inner]) => [name, closedValue(inner)]))
  }
  for (const key of LISTED) if (Array.isArray(schema[key])) result[key] = schema[key].map(closedValue)
  if (schema['items'] !== undefined) result['items'] = closedValue(schema['items'])
  const isObject = schema['type'] === 'object' || schema['properties'] !== undefined
  const isAlone = COMBINED.every((key) => schema[key] === undefined)
  if (isObject && isAlone && schema['additionalProperties'] === undefined) result['additionalProperties'] = false
  return result
}

const closedValue = (value: unknown): unknown => {
  const schema = recordOf(value)
  return schema ? closed(schema) : value
}
