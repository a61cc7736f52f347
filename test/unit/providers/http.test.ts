import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { type FetchedFile, fetchFile } from '../../../src/providers/fetch-file.ts'
import { createHttp, type HttpOptions } from '../../../src/providers/http.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

const listening = async (server: Server | ReturnType<typeof createTcpServer>): Promise<string> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
const serve = async (listener: RequestListener): Promise<string> => {
  const server = createServer(listener)
  closers.push(() => server.closeAllConnections())
  return listening(server)
}
/** Acts on each connection once its request has begun to arrive. */
const onRequest = (act: (socket: Socket) => void): Promise<string> =>
  listening(
    createTcpServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => act(socket))
    }),
  )
const closedPort = async (): Promise<string> => {
  const server = createTcpServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return `http://127.0.0.1:${port}`
}
const http = (options: Partial<HttpOptions> = {}) => createHttp({ timeoutMs: 2_000, allowPrivate: true, ...options })
const post = (url: string, options: Partial<HttpOptions> = {}) =>
  http(options).send({ method: 'POST', url, json: { prompt: 'a cat' }, headers: { 'api-key': 'secret' } })

describe('a provider call', () => {
  it('carries JSON and headers there and brings status, headers and text back', async () => {
    const url = await serve((request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        response.writeHead(402, {
          'x-seen': `${request.method} ${request.headers['content-type']} ${request.headers['api-key']}`,
        })
        response.end(Buffer.concat(parts))
      })
    })
    const result = await post(url)
    expect(result).toMatchObject({ kind: 'answered', status: 402, body: '{"prompt":"a cat"}' })
    expect(result).not.toHaveProperty('cut')
    expect(result.kind === 'answered' && result.headers.get('x-seen')).toBe('POST application/json secret')
  })

  it('does not follow a redirect, so that the secret stays with the host it was meant for', async () => {
    let visits = 0
    const other = await serve((_request, response) => {
      visits += 1
      response.end()
    })
    const url = await serve((_request, response) => response.writeHead(307, { location: other }).end())
    expect(await post(url)).toMatchObject({ kind: 'answered', status: 307 })
    expect(visits).toBe(0)
  })

  it('is refused before anything is sent where the guard says so', async () => {
    let sent = 0
    const fetch = async () => {
      sent += 1
      return new Response()
    }
    for (const url of ['http://127.0.0.1/', 'https://169.254.169.254/', 'https://user:pass@example.com/']) {
      expect(await post(url, { allowPrivate: false, fetch })).toMatchObject({ kind: 'refused' })
    }
    expect(sent).toBe(0)
  })

  it('is unsent where nobody listens', async () => {
    expect(await post(await closedPort())).toMatchObject({ kind: 'unsent' })
  })

  it('is unsent where the name does not resolve', async () => {
    expect(await post('https://no-such-host.invalid/')).toMatchObject({ kind: 'unsent' })
  })

  it.each<[string, (socket: Socket) => void]>([
    ['closed after the request', (socket) => socket.destroy()],
    ['reset after the request', (socket) => socket.resetAndDestroy()],
    ['closed within the response headers', (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Le')],
    ['answered in another protocol', (socket) => socket.end('SSH-2.0-hello\r\n')],
  ])('is lost where the connection is %s', async (_what, act) => {
    expect(await post(await onRequest(act))).toMatchObject({ kind: 'lost' })
  })

  it('keeps the status and says so where the body breaks off', async () => {
    const url = await onRequest((socket) => {
      socket.write('HTTP/1.1 429 Too Many\r\nContent-Length: 100\r\n\r\n{"error":')
      setTimeout(() => socket.destroy(), 20)
    })
    expect(await post(url)).toMatchObject({ kind: 'answered', status: 429, cut: 'lost' })
  })

  it('reads no more of an answer than the bound', async () => {
    const url = await serve((_request, response) => response.end('x'.repeat(LIMITS.providerAnswerBytes + 1)))
    const result = await post(url)
    expect(result).toMatchObject({ kind: 'answered', status: 200, cut: 'too_long' })
    expect(result.kind === 'answered' && result.body.length).toBeLessThanOrEqual(LIMITS.providerAnswerBytes)
  })

  it('reads an answer that is just as large as the bound', async () => {
    const url = await serve((_request, response) => response.end('x'.repeat(LIMITS.providerAnswerBytes)))
    const result = await post(url)
    expect(result.kind === 'answered' && [result.cut, result.body.length]).toEqual([
      undefined,
      LIMITS.providerAnswerBytes,
    ])
  })

  it('keeps characters whole that the network splits', async () => {
    const bytes = Buffer.from('"日本"')
    const url = await serve((_request, response) => {
      response.write(bytes.subarray(0, 3))
      setTimeout(() => response.end(bytes.subarray(3)), 20)
    })
    expect(await post(url)).toMatchObject({ kind: 'answered', body: '"日本"' })
  })

  it('times out where no headers come', async () => {
    const url = await serve(() => {})
    expect(await post(url, { timeoutMs: 50 })).toMatchObject({ kind: 'timeout' })
  })

  it('takes the time of the request before its own', async () => {
    const url = await serve(() => {})
    expect(await http({ timeoutMs: 60_000 }).send({ method: 'GET', url, timeoutMs: 50 })).toMatchObject({
      kind: 'timeout',
    })
  })

  it('does not wait for ever for a body that stalls', async () => {
    const url = await serve((_request, response) => void response.writeHead(200).write('{'))
    expect(await post(url, { timeoutMs: 50 })).toMatchObject({
      kind: 'answered',
      status: 200,
      cut: 'timeout',
      body: '{',
    })
  })

  it('is aborted by its caller, before, while it waits and while the body comes', async () => {
    expect(await post('https://example.com/', { signal: AbortSignal.abort() })).toMatchObject({ kind: 'aborted' })
    const silent = await serve(() => {})
    expect(await post(silent, { signal: AbortSignal.timeout(30) })).toMatchObject({ kind: 'aborted' })
    const stalled = await serve((_request, response) => void response.writeHead(200).write('{'))
    expect(await post(stalled, { signal: AbortSignal.timeout(30) })).toMatchObject({ kind: 'aborted' })
  })

  it('tells nothing of URL, secret or prompt when it fails', async () => {
    const base = await closedPort()
    const failures = [
      await post(`${base}/x?sig=123456`),
      await post('https://127.0.0.1/?sig=123456', { allowPrivate: false }),
    ]
    for (const failure of failures) expect(JSON.stringify(failure)).not.toMatch(/sig|123456|secret|a cat|127\.0/)
  })
})

describe('a file', () => {
  const options = { allowPrivate: true, timeoutMs: 2_000 }
  const read = async (file: FetchedFile): Promise<string> => {
    if (file.kind !== 'file') throw new Error(file.message)
    return 'bytes' in file ? new TextDecoder().decode(file.bytes) : new Response(file.body).text()
  }
  const large = String(LIMITS.artifactHeldBytes + 1)

  it('comes in one piece where it is small and says so', async () => {
    const url = await serve((_request, response) =>
      response.writeHead(200, { 'content-type': 'image/png', 'content-length': '5' }).end('12345'),
    )
    const file = await fetchFile(url, options)
    expect(file).toMatchObject({ kind: 'file', bytes: new TextEncoder().encode('12345'), contentType: 'image/png' })
  })

  it('streams with its length and type where it is large', async () => {
    const url = await serve((_request, response) =>
      response.writeHead(200, { 'content-type': 'image/png', 'content-length': large }).end('1'.repeat(Number(large))),
    )
    const file = await fetchFile(url, options)
    expect(file).toMatchObject({ kind: 'file', length: Number(large), contentType: 'image/png' })
    expect((await read(file)).length).toBe(Number(large))
  })

  it('has no length where the provider does not say', async () => {
    const url = await serve((_request, response) => {
      response.write('123')
      response.end('45')
    })
    const file = await fetchFile(url, options)
    expect(file).toMatchObject({ kind: 'file', length: null })
    expect(await read(file)).toBe('12345')
  })

  it('is followed over redirects up to the bound', async () => {
    const url = await serve((request, response) => {
      const left = Number(new URL(request.url ?? '', 'http://x').searchParams.get('left'))
      if (left > 0) response.writeHead(302, { location: `/?left=${left - 1}` }).end()
      else response.end('here')
    })
    const near = await fetchFile(`${url}/?left=${LIMITS.redirects}`, options)
    expect(await read(near)).toBe('here')
    expect(await fetchFile(`${url}/?left=${LIMITS.redirects + 1}`, options)).toMatchObject({
      kind: 'failed',
      retryable: false,
    })
  })

  it.each(['http://169.254.169.254/latest/', 'file:///etc/passwd', 'https://user:pass@example.com/', 'http://'])(
    'is not followed to %s',
    async (location) => {
      const url = await serve((_request, response) => response.writeHead(302, { location }).end())
      expect(await fetchFile(url, options)).toMatchObject({ kind: 'failed', retryable: false })
    },
  )

  it('is not fetched over plain http in production', async () => {
    const file = await fetchFile('http://example.com/a.png', { ...options, allowPrivate: false })
    expect(file).toMatchObject({ kind: 'failed', retryable: false })
  })

  it.each<[number, boolean]>([
    [403, false],
    [404, false],
    [410, false],
    [204, false],
    [429, true],
    [500, true],
    [503, true],
  ])('answered with %i is tried again: %s', async (status, retryable) => {
    const url = await serve((_request, response) => response.writeHead(status).end())
    expect(await fetchFile(url, options)).toMatchObject({ kind: 'failed', status, retryable })
  })

  it('is tried again where the connection or the clock fails, and not where the caller ended it', async () => {
    expect(await fetchFile(await closedPort(), options)).toMatchObject({ kind: 'failed', retryable: true })
    const silent = await serve(() => {})
    expect(await fetchFile(silent, { ...options, timeoutMs: 30 })).toMatchObject({ kind: 'failed', retryable: true })
    const ended = await fetchFile(silent, { ...options, signal: AbortSignal.timeout(30) })
    expect(ended).toMatchObject({ kind: 'failed', retryable: false })
  })

  it('errors its stream where it breaks off or stalls', async () => {
    for (const end of [true, false]) {
      const url = await serve((_request, response) => {
        response.writeHead(200, { 'content-length': large }).write('12345', () => end && response.destroy())
      })
      const file = await fetchFile(url, { ...options, timeoutMs: 200 })
      expect(file).toMatchObject({ kind: 'file' })
      await expect(read(file)).rejects.toThrow()
    }
  })

  it('is tried again where it is small and breaks off or stalls', async () => {
    for (const end of [true, false]) {
      const url = await serve((_request, response) => {
        response.writeHead(200, { 'content-length': '100' }).write('12345', () => end && response.destroy())
      })
      expect(await fetchFile(url, { ...options, timeoutMs: 200 })).toMatchObject({ kind: 'failed', retryable: true })
    }
  })
})
