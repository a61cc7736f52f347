import { type JsonSchema, toJsonSchema } from '@valibot/to-json-schema'
import * as v from 'valibot'
import { FAULT_CODES } from '../contract/fault.ts'
import type { Route } from './context.ts'
import { VERSION } from './version.ts'

/** The contract as OpenAPI 3.1, made from the schemas that check the requests. */

const ErrorBody = v.object({
  error: v.object({
    type: v.string(),
    code: v.picklist(FAULT_CODES),
    message: v.string(),
    param: v.nullable(v.string()),
    source: v.picklist(['switchyard', 'provider']),
    request_id: v.string(),
    details: v.optional(v.record(v.string(), v.nullable(v.union([v.string(), v.number(), v.boolean()])))),
  }),
})

type Operation = Record<string, unknown>

export const openApi = (routes: readonly Route[]): Record<string, unknown> => {
  const paths: Record<string, Record<string, Operation>> = {}
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)\+?/g, '{$1}')
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Switchyard',
      version: VERSION,
      description:
        'AI jobs as actors: exact limits, durable jobs, events without gaps. Money is in US dollars, time in RFC 3339 UTC.',
    },
    security: [{ key: [] }],
    paths,
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key `sy_…`, or the ROOT_KEY.' } },
      responses: {
        Error: {
          description: 'Every error has this shape.',
          content: { 'application/json': { schema: schemaOf(ErrorBody, 'output') } },
        },
      },
    },
  }
}

const operationOf = (route: Route): Operation => ({
  operationId: operationId(route),
  summary: route.summary,
  ...(route.access === 'open' ? { security: [] } : {}),
  parameters: [...pathParameters(route), ...queryParameters(route)],
  ...(route.body
    ? { requestBody: { required: true, content: { 'application/json': { schema: schemaOf(route.body, 'input') } } } }
    : {}),
  responses: {
    ...Object.fromEntries(Object.entries(route.answers).map(([status, answer]) => [status, answerOf(answer)])),
    default: { $ref: '#/components/responses/Error' },
  },
})

const operationId = (route: Route): string =>
  [route.method.toLowerCase(), ...route.path.split('/').filter((part) => part && part !== 'v1')]
    .map((part) => part.replace(/^:(\w+)\+?/, 'by_$1').replace(/[^a-z_]/g, '_'))
    .join('_')

const pathParameters = (route: Route): Operation[] =>
  [...route.path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))

const queryParameters = (route: Route): Operation[] =>
  Object.entries(route.query ?? {}).map(([name, schema]) => ({
    name,
    in: 'query',
    required: false,
    schema: schemaOf(schema, 'input'),
  }))

const answerOf = (answer: Route['answers'][number]): Operation => {
  if (answer === null || answer === undefined) return { description: 'Done.' }
  if (answer === 'image')
    return { description: 'The bytes.', content: { 'image/*': { schema: { type: 'string', format: 'binary' } } } }
  if (answer === 'events')
    return { description: 'Server-sent events.', content: { 'text/event-stream': { schema: { type: 'string' } } } }
  return { description: 'Good.', content: { 'application/json': { schema: schemaOf(answer, 'output') } } }
}

const schemaOf = (schema: v.GenericSchema, typeMode: 'input' | 'output'): JsonSchema => {
  const { $schema: _, ...plain } = toJsonSchema(schema, { errorMode: 'ignore', typeMode })
  return plain
}
