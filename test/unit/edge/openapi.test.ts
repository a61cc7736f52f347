import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { beforeAll, describe, expect, test, vi } from 'vitest'

// The routes know the Instance by a constant of its module: in plain Node its base class has to be stood in for.
vi.mock('cloudflare:workers', () => ({ DurableObject: class {} }))

type Schema = { [key: string]: unknown }
type Content = { [mediaType: string]: { schema: Schema } }
type Answer = { $ref?: string; description?: string; content?: Content }
type Operation = {
  operationId: string
  summary: string
  security?: unknown[]
  parameters: { name: string; in: string; required: boolean; schema: Schema }[]
  requestBody?: { required: boolean; content: Content }
  responses: { [status: string]: Answer }
}
type Document = {
  openapi: string
  info: { title: string; version: string; description: string }
  security: unknown[]
  paths: { [path: string]: { [method: string]: Operation } }
  components: { securitySchemes: Schema; responses: { [name: string]: Answer } }
}
type RouteRow = { method: string; path: string; access: string; body?: unknown; query?: object; answers: object }
type App = { ROUTES: RouteRow[]; handle(request: Request, env: object): Promise<Response> }

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']

let routes: RouteRow[]
let served: Response
let document: Document
let operations: { name: string; path: string; method: string; operation: Operation }[]

beforeAll(async () => {
  vi.spyOn(console, 'log').mockImplementation(() => undefined)
  // Not a literal: the edge is written against the types of the Workers platform, which this project does not load.
  const path: string = '../../../src/edge/app.ts'
  const app = (await import(path)) as App
  routes = app.ROUTES
  const env = {
    ROOT_KEY: 'root-key-of-this-test',
    MASTER_KEY: btoa('0123456789abcdef0123456789abcdef'),
    CORS_ORIGINS: '',
  }
  served = await app.handle(new Request('https://switchyard.example/openapi.json'), env)
  document = (await served.clone().json()) as Document
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, path, method, operation })),
  )
})

/** Every value in the document, with the way to it. */
const walk = (value: unknown, at: string, see: (at: string, value: Schema) => void): void => {
  if (typeof value !== 'object' || value === null) return
  if (!Array.isArray(value)) see(at, value as Schema)
  for (const [key, member] of Object.entries(value)) walk(member, `${at}/${key}`, see)
}

const schemas = (): { at: string; schema: Schema }[] => {
  const inContent = (at: string, content: Content | undefined) =>
    Object.entries(content ?? {}).map(([type, { schema }]) => ({ at: `${at} ${type}`, schema }))
  return [
    ...operations.flatMap(({ name, operation }) => [
      ...operation.parameters.map((parameter) => ({ at: `${name} ?${parameter.name}`, schema: parameter.schema })),
      ...inContent(`${name} body`, operation.requestBody?.content),
      ...Object.entries(operation.responses).flatMap(([status, answer]) =>
        inContent(`${name} ${status}`, answer.content),
      ),
    ]),
    ...Object.entries(document.components.responses).flatMap(([name, answer]) => inContent(name, answer.content)),
  ]
}

const compiler = (): Ajv2020 => {
  const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: true })
  formats.default(ajv)
  return ajv
}

const bodySchema = (path: string, method: string): Schema => {
  const schema = document.paths[path]?.[method]?.requestBody?.content['application/json']?.schema
  if (!schema) throw new Error(`no body: ${method} ${path}`)
  return schema
}

describe('the OpenAPI document', () => {
  test('is served to anyone as JSON that may be cached', () => {
    expect(served.status).toBe(200)
    expect(served.headers.get('content-type')).toMatch(/^application\/json/)
    expect(served.headers.get('cache-control')).toBe('public, max-age=300')
  })

  test('says that it is OpenAPI 3.1, and of which version of the product', () => {
    expect(document.openapi).toMatch(/^3\.1\.\d+$/)
    expect(document.info).toMatchObject({ title: 'Switchyard', version: expect.stringMatching(/^\d+\.\d+\.\d+/) })
    const known = [
      'openapi',
      'info',
      'jsonSchemaDialect',
      'servers',
      'paths',
      'webhooks',
      'components',
      'security',
      'tags',
    ]
    expect(known).toEqual(expect.arrayContaining(Object.keys(document)))
  })

  test('holds every route of the table, and nothing else', () => {
    const table = routes.map(({ method, path }) => `${method.toLowerCase()} ${path.replace(/:(\w+)\+?/g, '{$1}')}`)
    expect(operations.map(({ name }) => name).sort()).toEqual(table.sort())
    expect(table.length).toBeGreaterThan(20)
  })

  test('knows no path twice under other names of its parameters', () => {
    const shapes = Object.keys(document.paths).map((path) => path.replace(/\{[^}]+\}/g, '{}'))
    expect(new Set(shapes).size).toBe(shapes.length)
  })

  test('uses only methods of OpenAPI, each with a summary and an id of its own', () => {
    for (const { path, method, operation } of operations) {
      expect(path).toMatch(/^\//)
      expect(METHODS).toContain(method)
      expect(operation.summary).toMatch(/\S/)
      expect(operation.operationId).toMatch(/^[a-z][a-z_]*$/)
    }
    const ids = operations.map(({ operation }) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('declares every part of a path as a required parameter, and no parameter twice', () => {
    for (const { path, operation } of operations) {
      const inPath = operation.parameters.filter((parameter) => parameter.in === 'path')
      expect(inPath.map(({ name }) => name)).toEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name))
      expect(inPath.every(({ required }) => required)).toBe(true)
      const names = operation.parameters.map((parameter) => `${parameter.in} ${parameter.name}`)
      expect(new Set(names).size).toBe(names.length)
    }
  })

  test('shows the query and the body of every route that takes one', () => {
    for (const route of routes) {
      const operation = document.paths[route.path.replace(/:(\w+)\+?/g, '{$1}')]?.[route.method.toLowerCase()]
      const queried = operation?.parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name)
      expect(queried).toEqual(Object.keys(route.query ?? {}))
      expect(operation?.requestBody !== undefined).toBe(route.body !== undefined)
    }
  })

  test('describes every answer, by a status or as the default, which is the error', () => {
    for (const { operation } of operations) {
      const { default: otherwise, ...answers } = operation.responses
      expect(otherwise).toEqual({ $ref: '#/components/responses/Error' })
      expect(Object.keys(answers).length).toBeGreaterThan(0)
      for (const [status, answer] of Object.entries(answers)) {
        expect(status).toMatch(/^[1-5]\d\d$/)
        expect(answer.description).toMatch(/\S/)
      }
    }
  })

  test('asks for a key everywhere but on the open routes', () => {
    const names = Object.keys(document.components.securitySchemes)
    for (const requirement of document.security)
      expect(names).toEqual(expect.arrayContaining(Object.keys(requirement as object)))
    for (const route of routes) {
      const operation = document.paths[route.path.replace(/:(\w+)\+?/g, '{$1}')]?.[route.method.toLowerCase()]
      expect(operation?.security).toEqual(route.access === 'open' ? [] : undefined)
    }
  })

  test('holds no reference that leads nowhere', () => {
    const broken: string[] = []
    walk(document, '#', (at, { $ref }) => {
      if ($ref === undefined) return
      const steps = String($ref).startsWith('#/') ? String($ref).slice(2).split('/') : ['outside']
      const target = steps.reduce<unknown>((value, step) => (value as Schema | undefined)?.[step], document)
      if (target === undefined) broken.push(`${at} → ${$ref}`)
    })
    expect(broken).toEqual([])
  })

  test('holds only schemas that JSON Schema 2020-12 understands', () => {
    const all = schemas()
    expect(all.length).toBeGreaterThan(30)
    for (const { at, schema } of all) expect(() => compiler().compile(schema), at).not.toThrow()
  })
})

describe('the schemas it shows', () => {
  const jobs = '/v1/instances/{instance}/jobs'
  const job = { type: 'image.generate', input: { prompt: 'a lighthouse at dawn' } }

  test.each<[name: string, body: unknown, isValid: boolean]>([
    ['take the smallest job', job, true],
    ['refuse a job without input', { type: 'image.generate' }, false],
    ['refuse an empty prompt', { ...job, input: { prompt: '' } }, false],
    ['refuse a priority beyond the bound', { ...job, priority: 10 }, false],
    ['refuse a field that is not known', { ...job, prioritty: 1 }, false],
  ])('%s, as the service does', (_name, body, isValid) => {
    expect(compiler().compile(bodySchema(jobs, 'post'))(body)).toBe(isValid)
  })

  test('describe every error by the closed set of its codes', () => {
    const schema = document.components.responses['Error']?.content?.['application/json']?.schema ?? {}
    const isError = compiler().compile(schema)
    const error = { type: 't', code: 'not_found', message: 'm', param: null, source: 'switchyard', request_id: 'r' }
    expect(isError({ error })).toBe(true)
    expect(isError({ error: { ...error, code: 'teapot' } })).toBe(false)
    expect(isError({ error: { ...error, request_id: undefined } })).toBe(false)
  })
})
