import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Child, startChild } from '../../bench/processes.ts'

/**
 * The platform's own `env.AI`, as workerd has it, with a server in the place of Workers AI: what it sends on, how it gives
 * answers and errors back, and that it heeds the signal.
 */

const root = new URL('../../../', import.meta.url).pathname
const MODEL = 'workers-ai/@cf/meta/llama-3.3-70b-instruct-fp8-fast'

const ENTRY = `
import { runChat, startChat } from './src/job/text-call.ts'
const attempt = (timeoutMs) => ({ model: '${MODEL}', baseUrl: 'https://x', route: { type: 'binding' }, timeoutMs,
  credential: null, deadlineAtMs: Date.now() + 60_000 })
export default {
  async fetch(request, env) {
    const { content, stream, timeoutMs } = await request.json()
    const input = { messages: [{ role: 'user', content }] }
    const tools = { vault: { open: async () => null }, allowPrivate: false, ai: env.AI, now: () => Date.now(),
      signal: new AbortController().signal }
    if (!stream) return Response.json((await runChat(attempt(timeoutMs), input, { id: 'c' }, tools)).outcome)
    const started = await startChat(attempt(timeoutMs), input, { id: 'c' }, tools)
    const pieces = []
    await started.begin()
    for (let next = await started.next(); next !== null; next = await started.next()) pieces.push(...next)
    return Response.json({ pieces: pieces.map(({ text }) => text), end: started.end() })
  },
}`

const configOf = (port: number): string => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "ai", external = (address = "127.0.0.1:${port}", http = ()))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  bindings = [(name = "AI", wrapped = (
    moduleName = "cloudflare-internal:ai-api", innerBindings = [(name = "fetcher", service = "ai")]))],
);
`

type Asked = { model: string | undefined; inputs: Record<string, unknown>; options: unknown; left: boolean }

describe('in workerd, a call by the binding', () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-binding-'))
  const asked: Asked[] = []
  let answer: (response: ServerResponse) => void = () => {}
  let server: Server
  let workerd: Child

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = ''
    for await (const part of request) body += part
    const { inputs, options } = JSON.parse(body)
    const one: Asked = {
      model: request.headers['cf-consn-model-id'] as string | undefined,
      inputs,
      options,
      left: false,
    }
    asked.push(one)
    response.once('close', () => {
      one.left = !response.writableFinished
    })
    answer(response)
  }
  const call = async (more: { stream?: boolean; timeoutMs?: number } = {}): Promise<unknown> => {
    const body = JSON.stringify({ content: 'hello', stream: false, timeoutMs: 5_000, ...more })
    return (await fetch(`http://127.0.0.1:${workerd.ready}/`, { method: 'POST', body })).json()
  }
  const giving =
    (status: number, body: string, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
    (response: ServerResponse) =>
      void response.writeHead(status, headers).end(body)

  beforeAll(async () => {
    server = createServer((request, response) => void handle(request, response).catch(() => response.destroy()))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const bundle = { contents: ENTRY, resolveDir: root, loader: 'ts' as const }
    await build({ stdin: bundle, bundle: true, format: 'esm', outfile: join(folder, 'worker.js'), logLevel: 'error' })
    writeFileSync(join(folder, 'config.capnp'), configOf((server.address() as AddressInfo).port))
    workerd = await startChild(
      join(root, 'node_modules/.bin/workerd'),
      ['serve', join(folder, 'config.capnp'), '--control-fd=3'],
      { ready: /"socket":"http","port":(\d+)/ },
    )
  })
  afterAll(async () => {
    await workerd?.stop()
    server.closeAllConnections()
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('is sent with the model and its input, and read as an answer', async () => {
    answer = giving(200, JSON.stringify({ response: 'Hello', usage: { prompt_tokens: 2, completion_tokens: 1 } }), {
      'content-type': 'application/json',
      'cf-ai-req-id': 'ai-req-1',
    })
    expect(await call()).toMatchObject({
      kind: 'completed',
      completion: { choices: [{ message: { content: 'Hello' } }] },
      usage: { inputTokens: 2, outputTokens: 1 },
      providerRequestId: 'ai-req-1',
    })
    expect(asked.at(-1)).toMatchObject({
      model: '@cf/meta/llama-3.3-70b-instruct-fp8-fast',
      inputs: { messages: [{ role: 'user', content: 'hello' }] },
    })
  })

  it('is streamed', async () => {
    answer = giving(200, 'data: {"response":"Hel"}\n\ndata: {"response":"lo"}\n\ndata: [DONE]\n\n', {
      'content-type': 'text/event-stream',
    })
    expect(await call({ stream: true })).toMatchObject({ pieces: ['Hel', 'lo', ''], end: { fault: null } })
    expect(asked.at(-1)?.inputs).toMatchObject({ stream: true })
  })

  it('gives errors as answers, told by their numbers', async () => {
    answer = giving(429, JSON.stringify({ internalCode: 3036, name: 'AiError', message: 'x', description: 'x' }))
    expect(await call()).toMatchObject({ kind: 'fault', code: 'provider_quota_exhausted' })
    answer = giving(400, JSON.stringify({ errors: [{ code: 5007, message: 'No such model' }], success: false }))
    expect(await call()).toMatchObject({ kind: 'fault', code: 'provider_rejected', param: 'model' })
  })

  it('that takes too long is ended, and the other side learns of it', async () => {
    answer = () => {}
    expect(await call({ timeoutMs: 100 })).toMatchObject({ kind: 'fault', code: 'provider_timeout' })
    await expect.poll(() => asked.at(-1)?.left).toBe(true)
  })
})
