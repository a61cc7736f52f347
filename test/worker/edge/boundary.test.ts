import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { handle } from '../../../src/edge/app.ts'
import type { Env } from '../../../src/env.ts'
import { fetchWorker, ORIGIN, ROOT_KEY } from '../support/client.ts'
import { expectProblem } from '../support/problem.ts'

/** The one error boundary, and the log beside it. */

describe('what nobody expected', () => {
  const lines: string[] = []
  beforeEach(() => {
    lines.length = 0
    for (const level of ['log', 'error'] as const)
      vi.spyOn(console, level).mockImplementation((line) => void lines.push(String(line)))
  })
  afterEach(() => vi.restoreAllMocks())

  const broken = (name: 'INSTANCE' | 'DIRECTORY' | 'ARTIFACTS', error: unknown): Env => ({
    ...env,
    [name]: new Proxy(
      {},
      {
        get: () => () => {
          throw error
        },
      },
    ),
  })
  const ask = async (at: Env, path: string, init: RequestInit = {}) => {
    const headers = { authorization: `Bearer ${ROOT_KEY}`, 'content-type': 'application/json', 'x-request-id': 'one' }
    const response = await handle(new Request(ORIGIN + path, { headers, ...init }), at, createExecutionContext())
    return { status: response.status, headers: response.headers, text: await response.text() }
  }
  const leak = new Error('D1_ERROR: no such table secret_table at /var/private/index.ts:12:3')

  test.each([
    ['the Instance', broken('INSTANCE', leak), '/v1/instances/prod/jobs', {}],
    ['the directory', broken('DIRECTORY', leak), '/v1/instances', {}],
    [
      'the directory on a write',
      broken('DIRECTORY', leak),
      '/v1/instances',
      { method: 'POST', body: '{"id":"other"}' },
    ],
    ['something that is no Error', broken('INSTANCE', 'secret_table'), '/v1/instances/prod', {}],
    ['nothing at all', broken('INSTANCE', undefined), '/v1/instances/prod', {}],
  ])('an exception of %s is told as "internal" and nothing else', async (_name, at, path, init) => {
    const answer = await ask(at, path, init)
    const body = JSON.parse(answer.text)
    expectProblem({ ...answer, body }, 500, 'internal')
    expect(body.error).toMatchObject({ type: 'server_error', param: null, request_id: 'one' })
    expect(answer.text + JSON.stringify([...answer.headers])).not.toMatch(/secret_table|D1_ERROR|private|index\.ts/)
    const logged = lines.filter((line) => line.includes('request.unexpected'))
    expect(logged).toHaveLength(1)
    expect(logged[0]).toContain('"request_id":"one"')
    expect(logged[0]).not.toContain('secret_table')
  })

  test('an overloaded Instance is told as 503 with Retry-After', async () => {
    const overloaded = Object.assign(new Error('Durable Object is overloaded.'), { overloaded: true })
    const answer = await ask(broken('INSTANCE', overloaded), '/v1/instances/prod')
    expectProblem({ ...answer, body: JSON.parse(answer.text) }, 503, 'unavailable')
    expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
  })

  test.each([
    ['no ROOT_KEY', { ROOT_KEY: '' }],
    ['a short ROOT_KEY', { ROOT_KEY: 'short' }],
    ['no MASTER_KEY', { MASTER_KEY: '' }],
    ['a MASTER_KEY that is no key', { MASTER_KEY: 'not-base64!' }],
  ])('with %s everything is 503, and only the log says why', async (_name, change) => {
    for (const path of ['/healthz', '/v1/instances/prod']) {
      const answer = await ask({ ...env, ...change }, path)
      expectProblem({ ...answer, body: JSON.parse(answer.text) }, 503, 'unavailable')
      expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
      expect(answer.text).not.toMatch(/ROOT|MASTER|KEY/)
    }
    expect(lines.some((line) => line.includes('configuration.broken') && /(ROOT|MASTER)_KEY/.test(line))).toBe(true)
  })

  test('the log has one line per request, without query, key or path of the client', async () => {
    await ask(env, '/v1/instances/prod/jobs?project=my-secret-project')
    await ask(env, '/my-secret-path')
    const logged = lines.filter((line) => line.includes('"event":"request"'))
    expect(logged).toHaveLength(2)
    expect(JSON.parse(logged[0] ?? '')).toMatchObject({
      method: 'GET',
      status: 404,
      instance: 'prod',
      code: 'not_found',
    })
    expect(logged.join()).not.toMatch(/my-secret|root-key/)
  })
})

test('an answer with 401 says how to authenticate', async () => {
  const response = await fetchWorker('GET', '/v1/instances')
  expect(response.headers.get('www-authenticate')).toContain('Bearer')
  expectProblem(
    { status: response.status, headers: response.headers, body: await response.json() },
    401,
    'unauthenticated',
  )
})
