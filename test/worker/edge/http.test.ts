import { createExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test } from 'vitest'
import { handle, ROUTES } from '../../../src/edge/app.ts'
import { LIMITS } from '../../../src/limits.ts'
import { jobRequest, ORIGIN, openSite, ROOT_KEY, type Site, send } from '../support/client.ts'
import { expectProblem } from '../support/problem.ts'

/** What every answer of the Worker has in common, whatever was asked. */

const pathOf = (pattern: string): string =>
  pattern
    .replace(':instance', 'prod')
    .replace(':id', 'job_01JAAAAAAAAAAAAAAAAAAAAAAA')
    .replace(':artifact', 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_1_0')
    .replace(/:\w+/, 'ideogram')
    .replace(/:\w+/, 'main')

describe('request ids', () => {
  test.each(['a', 'req-42/βeta'.replace('β', 'b'), '!~', 'x'.repeat(128)])('%s is taken over', async (id) => {
    const answer = await send('GET', '/healthz', { headers: { 'x-request-id': id } })
    expect(answer.headers.get('x-request-id')).toBe(id)
  })

  test.each([
    ['none', null],
    ['an empty one', ''],
    ['one too long', 'x'.repeat(129)],
    ['one with a space', 'a b'],
    ['one with a tab', 'a\tb'],
    ['one of Latin-1', 'caf\u00e9'],
  ])('%s is replaced by a new one', async (_name, id) => {
    const headers: Record<string, string> = id === null ? {} : { 'x-request-id': id }
    const ids = await Promise.all(
      [1, 2].map(async () => (await send('GET', '/healthz', { headers })).headers.get('x-request-id')),
    )
    for (const made of ids) expect(made).toMatch(/^req_[0-9A-HJKMNP-TV-Z]{26}$/)
    expect(ids[0]).not.toBe(ids[1])
  })

  test('the job bears the id of the request that made it', async () => {
    const site = await openSite()
    const { body } = await site.submit({ not_before: later() }, { 'x-request-id': 'mine-7' })
    expect(body.request_id).toBe('mine-7')
  })

  test('every kind of answer bears it', async () => {
    const site = await openSite()
    const headers = { 'x-request-id': 'one' }
    const answers = await Promise.all([
      send('GET', '/healthz', { headers }),
      send('HEAD', '/healthz', { headers }),
      send('OPTIONS', '/healthz', { headers }),
      send('POST', '/healthz', { headers }),
      send('GET', '/nowhere', { headers }),
      send('GET', `/healthz?${'x'.repeat(5000)}`, { headers }),
      site.send('GET', '', { headers }),
      site.send('GET', '/jobs', { headers, key: null }),
      site.send('POST', '/jobs', { headers, json: {} }),
      site.send('POST', '/jobs', { headers, raw: 'x', key: site.key }),
      site.send('DELETE', '/keys/0000000000000000', { headers }),
    ])
    expect(answers.map((answer) => answer.headers.get('x-request-id'))).toEqual(answers.map(() => 'one'))
    for (const { status, body } of answers.filter((answer) => answer.status >= 400)) {
      expect([status, body.error.request_id]).toEqual([status, 'one'])
    }
  })
})

describe('paths and methods', () => {
  beforeEach(() => openSite('prod'))

  test.each(['/', '/nowhere', '/v1', '/v1/instances/prod/nowhere', '/v2/instances', '//healthz', '/healthz/deeper'])(
    '%s leads nowhere',
    async (path) => expectProblem(await send('GET', path, { key: ROOT_KEY }), 404, 'not_found'),
  )

  const paths = [...new Set(ROUTES.map((route) => route.path))]
  test.each(paths)('%s tells which methods it allows', async (pattern) => {
    const routes = ROUTES.filter((route) => route.path === pattern)
    const allowed = new Set<string>(routes.map((route) => route.method))
    if (routes.some((route) => route.method === 'GET' && !route.endless)) allowed.add('HEAD')
    const allow = (headers: Headers) => new Set(headers.get('allow')?.split(', '))
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND']) {
      if (allowed.has(method)) continue
      const answer = await send(method, pathOf(pattern), { key: ROOT_KEY })
      expectProblem(answer, 405, 'method_not_allowed')
      expect(allow(answer.headers)).toEqual(new Set([...allowed, 'OPTIONS']))
    }
    const options = await send('OPTIONS', pathOf(pattern))
    expect([options.status, options.text]).toEqual([204, ''])
    expect(allow(options.headers)).toEqual(new Set([...allowed, 'OPTIONS']))
    if (!allowed.has('HEAD')) {
      const head = await send('HEAD', pathOf(pattern), { key: ROOT_KEY })
      expect([head.status, head.text]).toEqual([405, ''])
    }
  })

  test.each([
    '/healthz',
    '/openapi.json',
    '/v1/instances/prod',
    '/v1/instances/prod/jobs',
    '/v1/instances/none',
    '/no',
  ])('HEAD %s is GET without the body', async (path) => {
    const [get, head] = [await send('GET', path, { key: ROOT_KEY }), await send('HEAD', path, { key: ROOT_KEY })]
    expect([head.status, head.text]).toEqual([get.status, ''])
    expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'))
  })

  test('/healthz tells its version to anybody', async () => {
    const answer = await send('GET', '/healthz')
    expect([answer.status, answer.body]).toEqual([200, { status: 'ok', version: expect.any(String), deployment: null }])
  })

  test('/openapi.json describes every route', async () => {
    const { body } = await send<{ openapi: string; paths: Record<string, object> }>('GET', '/openapi.json')
    expect(body.openapi).toMatch(/^3\.1/)
    for (const { path, method } of ROUTES) {
      expect(body.paths[path.replace(/:(\w+)\+?/g, '{$1}')]).toHaveProperty(method.toLowerCase())
    }
  })

  test('a query parameter that is unknown or given twice is refused by name', async () => {
    const unknown = await send('GET', '/v1/instances/prod/jobs?stauts=queued', { key: ROOT_KEY })
    expectProblem(unknown, 400, 'invalid_request')
    expect(unknown.body.error.param).toBe('stauts')
    const twice = await send('GET', '/v1/instances/prod/jobs?limit=1&limit=2', { key: ROOT_KEY })
    expectProblem(twice, 400, 'invalid_request')
  })
})

describe('bodies', () => {
  let site: Site
  beforeEach(async () => {
    site = await openSite('prod')
  })

  test.each([
    '',
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
  ])('content type "%s" is not supported', async (type) => {
    const raw = JSON.stringify(jobRequest())
    expectProblem(
      await site.send('POST', '/jobs', { raw, headers: { 'content-type': type } }),
      415,
      'unsupported_media_type',
    )
  })

  test.each(['application/json', 'application/json; charset=utf-8', 'Application/JSON', 'application/vnd.api+json'])(
    'content type "%s" is',
    async (type) => {
      const raw = JSON.stringify(jobRequest({ not_before: later() }))
      expect((await site.send('POST', '/jobs', { raw, headers: { 'content-type': type } })).status).toBe(202)
    },
  )

  test('a body announced as too large is refused', async () => {
    const raw = 'x'.repeat(LIMITS.bodyBytes + 1)
    expectProblem(await site.send('POST', '/jobs', { raw }), 413, 'payload_too_large')
  })

  test('a body that grows too large while it comes is refused, and not read to its end', async () => {
    const piece = new Uint8Array(16_384).fill(32)
    let sent = 0
    const raw = new ReadableStream<Uint8Array>({
      async pull(controller) {
        sent += piece.length
        controller.enqueue(piece)
        if (sent > 64 * LIMITS.bodyBytes) controller.close()
      },
    })
    expectProblem(await site.send('POST', '/jobs', { raw }), 413, 'payload_too_large')
    expect(sent).toBeLessThan(8 * LIMITS.bodyBytes)
  })

  test('a body of just the bound is read', async () => {
    const text = JSON.stringify(jobRequest({ not_before: later() }))
    const raw = text + ' '.repeat(LIMITS.bodyBytes - text.length)
    expect((await site.send('POST', '/jobs', { raw })).status).toBe(202)
  })

  test('nesting at the bound is read, one deeper is refused', async () => {
    const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`
    const fits = await site.send('POST', '/jobs', { raw: nested(LIMITS.jsonDepth) })
    const deep = await site.send('POST', '/jobs', { raw: nested(LIMITS.jsonDepth + 1) })
    expect(deep.body.error.message).toContain('nested deeper')
    expect(fits.body.error.message).not.toContain('nested deeper')
  })
})

describe('CORS', () => {
  const origin = 'https://app.example'

  test('a configured origin may read every answer, errors included', async () => {
    for (const path of ['/healthz', '/nowhere', '/v1/instances']) {
      const { headers } = await send('GET', path, { headers: { origin } })
      expect(headers.get('access-control-allow-origin')).toBe(origin)
      expect(headers.get('access-control-expose-headers')).toContain('X-Request-Id')
      expect(headers.get('vary')).toContain('Origin')
      expect(headers.has('access-control-allow-credentials')).toBe(false)
    }
  })

  test.each([
    'https://evil.example',
    'https://app.example.evil.example',
    'http://app.example',
    'null',
    'https://APP.example',
  ])('origin %s may not', async (other) => {
    const { headers } = await send('GET', '/healthz', { headers: { origin: other } })
    expect(headers.has('access-control-allow-origin')).toBe(false)
  })

  test('a preflight is answered without a key', async () => {
    const headers = {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization',
    }
    const answer = await send('OPTIONS', '/v1/instances/prod/jobs', { headers })
    expect(answer.status).toBe(204)
    expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
    expect(answer.headers.get('access-control-allow-methods')).toContain('POST')
    for (const name of [
      'Authorization',
      'Content-Type',
      'Idempotency-Key',
      'Prefer',
      'Last-Event-ID',
      'X-Request-Id',
    ]) {
      expect(answer.headers.get('access-control-allow-headers')).toContain(name)
    }
  })

  test.each([
    ['', null],
    ['*', '*'],
    ['https://other.example, https://app.example', origin],
  ])('with CORS_ORIGINS "%s" the origin is allowed as %s', async (CORS_ORIGINS, allowed) => {
    const response = await handle(
      new Request(`${ORIGIN}/healthz`, { headers: { origin } }),
      { ...env, CORS_ORIGINS },
      createExecutionContext(),
    )
    expect(response.headers.get('access-control-allow-origin')).toBe(allowed)
  })
})

const later = (): string => new Date(Date.now() + 24 * 60 * 60 * 1000).toISOString()
