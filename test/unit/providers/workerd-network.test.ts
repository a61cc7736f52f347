import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { stripTypeScriptTypes } from 'node:module'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { convertV4MiniflareOptions, Miniflare } from 'miniflare'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'

/**
 * What the runtime does to a connection decides whether a request may be sent again, so these run in workerd itself,
 * against real sockets. The tests in http.test.ts run in Node, which names causes that workerd does not.
 */

const root = new URL('../../../', import.meta.url)
const text = (path: string): string => readFileSync(new URL(path, root), 'utf8')
const typescript = (path: string) => ({ type: 'ESModule' as const, path, contents: stripTypeScriptTypes(text(path)) })

const entry = `
import { createHttp } from './src/providers/http.ts'
import { fetchFile } from './src/providers/fetch-file.ts'
export default {
  async fetch(request) {
    const { method, url } = await request.json()
    if (method === 'FILE') {
      const file = await fetchFile(url, { allowPrivate: true, timeoutMs: 2000 })
      return Response.json(file.kind === 'file' ? { ...file, body: await new Response(file.body).text() } : file)
    }
    const http = createHttp({ timeoutMs: 500, allowPrivate: true })
    const { headers, ...result } = await http.send({ method, url, ...(method === 'POST' ? { json: { prompt: 'a cat' } } : {}) })
    return Response.json(result)
  },
}`

const kindOf = (result: unknown): unknown => typeof result === 'object' && result && 'kind' in result && result.kind

describe('in workerd, a provider call', () => {
  let runtime: Miniflare
  const servers: Server[] = []
  const at = async (server: Server): Promise<string> => {
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  }
  const send = async (method: 'POST' | 'GET' | 'FILE', url: string): Promise<unknown> => {
    const response = await runtime.dispatchFetch('http://test/', {
      method: 'POST',
      body: JSON.stringify({ method, url }),
    })
    return response.json()
  }

  beforeAll(async () => {
    const options = convertV4MiniflareOptions({
      compatibilityDate: '2026-11-01',
      modulesRoot: '/',
      modules: [
        { type: 'ESModule', path: '/entry.js', contents: entry },
        ...['http', 'fetch-file', 'address', 'network-error'].map((name) => {
          const module = typescript(`src/providers/${name}.ts`)
          return { ...module, path: `/${module.path}` }
        }),
        { ...typescript('src/limits.ts'), path: '/src/limits.ts' },
        { type: 'CommonJS', path: '/src/providers/ipaddr.js', contents: text('node_modules/ipaddr.js/lib/ipaddr.js') },
      ],
    })
    runtime = new Miniflare(options)
    await runtime.ready
  })
  afterAll(async () => {
    await runtime?.dispose()
    for (const server of servers) server.close()
  })

  it('arrives whole, with its length, although its last byte was held back', async () => {
    const url = await at(
      createHttpServer((request, response) => {
        let body = ''
        request.on('data', (part) => {
          body += part
        })
        request.on('end', () => response.end(`${request.headers['content-length']} ${body}`))
      }),
    )
    expect(await send('POST', url)).toEqual({ kind: 'answered', status: 200, body: '18 {"prompt":"a cat"}' })
  })

  it('is unsent where nobody listens', async () => {
    const server = createServer()
    const closed = await at(server)
    await new Promise((resolve) => server.close(resolve))
    // A busy machine may let the last byte go first, which is judged as lost, the safe way: one of some must be seen.
    const kinds: unknown[] = []
    for (let tries = 0; tries < 10 && !kinds.includes('unsent'); tries += 1)
      kinds.push(kindOf(await send('POST', closed)))
    expect(kinds).toContain('unsent')
  })

  it('is lost at worst where the name does not resolve', async () => {
    expect(['unsent', 'lost']).toContain(kindOf(await send('POST', 'http://no-such-host.invalid/')))
  })

  it('is lost where the connection ends after the whole request came', async () => {
    const url = await at(
      createHttpServer((request) => request.on('data', () => {}).on('end', () => request.socket.destroy())),
    )
    expect(await send('POST', url)).toMatchObject({ kind: 'lost' })
  })

  it('keeps the answer of a provider that does not wait for the last byte', async () => {
    const url = await at(createHttpServer((_request, response) => response.writeHead(401).end('no')))
    expect(await send('POST', url)).toMatchObject({ kind: 'answered', status: 401, body: 'no' })
  })

  it('times out', async () => {
    expect(await send('POST', await at(createServer()))).toMatchObject({ kind: 'timeout' })
    expect(await send('GET', await at(createServer()))).toMatchObject({ kind: 'timeout' })
  })

  it('can be for a file', async () => {
    const SIZE = LIMITS.artifactHeldBytes + 1
    const url = await at(
      createHttpServer((request, response) => {
        if (request.url === '/') response.writeHead(302, { location: '/file' }).end()
        else response.writeHead(200, { 'content-type': 'image/png', 'content-length': SIZE }).end('1'.repeat(SIZE))
      }),
    )
    expect(await send('FILE', url)).toEqual({
      kind: 'file',
      body: '1'.repeat(SIZE),
      length: SIZE,
      contentType: 'image/png',
    })
  })
})
