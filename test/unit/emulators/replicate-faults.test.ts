import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ReplicateEmulator, type ReplicateStats, startReplicate } from '../../emulators/replicate.ts'
import { clientOf, firstFile, schnell } from './replicate-client.ts'

let replicate: ReplicateEmulator
let client: ReturnType<typeof clientOf>

beforeEach(async () => {
  replicate = await startReplicate({ draw: false })
  client = clientOf(replicate)
})
afterEach(() => replicate.close())

const raw = (prompt: string) =>
  fetch(`${replicate.url}/v1/models/${schnell}/predictions`, {
    method: 'POST',
    headers: { authorization: 'Bearer key' },
    body: JSON.stringify({ input: { prompt } }),
  })

describe('Before acceptance', () => {
  it.each([400, 401, 402, 403, 422, 429, 500, 503])('fail:%i answers so and makes nothing', async (status) => {
    const answer = await client.create(`a cat [[fail:${status}]]`)
    expect(answer.status).toBe(status)
    expect(answer.body).toMatchObject({ status, detail: expect.any(String) })
    expect(replicate.stats()).toMatchObject({ created: 0, rejected: { [status]: 1 } })
  })

  it('402 has the words of the provider', async () => {
    expect((await client.create('a cat [[fail:402]]')).body).toMatchObject({ title: 'Insufficient credit' })
  })

  it('fail_once lets the second pass, retry_after says when', async () => {
    const prompt = 'a cat [[fail_once:503]] [[retry_after:3]]'
    const first = await client.create(prompt)
    expect([first.status, first.headers.get('retry-after')]).toEqual([503, '3'])
    expect((await client.create(prompt)).status).toBe(201)
  })

  it('cut_before ends the connection', async () => {
    await expect(raw('a cat [[cut_before]]')).rejects.toThrow()
    expect(replicate.stats()).toMatchObject({ created: 0, rejected: { cut: 1 } })
  })
})

describe('After acceptance', () => {
  it.each<[string, (body: string) => boolean]>([
    ['garbage', (body) => body.startsWith('<!doctype html>')],
    ['malformed', (body) => JSON.parse(body).id === 42],
    ['truncated', (body) => body.startsWith('{"id"') && !body.endsWith('}')],
  ])('%s spoils the answer', async (directive, isSpoiled) => {
    const response = await raw(`a cat [[${directive}]]`)
    expect(response.status).toBe(201)
    expect(isSpoiled(await response.text())).toBe(true)
    expect(replicate.stats()).toMatchObject({ accepted: 1, predictions: [{ responded: false }] })
  })

  it('cut_after and stall leave it without one', async () => {
    await expect(raw('a cat [[cut_after]]')).rejects.toThrow()
    const stalled = raw('a cat [[stall:60000]]')
    while (replicate.stats().created < 2) await new Promise(setImmediate)
    replicate.control({ finishNow: true })
    expect((await stalled).status).toBe(201)
    expect(replicate.stats().accepted).toBe(2)
  })

  it.each<[string, RegExp, number]>([
    ['reject', /flagged as sensitive.*\(E005\)/, 0],
    ['unsafe', /NSFW/, 1],
    ['async_fail', /E1001/, 1],
    ['async_fail:a reason:of mine', /^a reason:of mine$/, 1],
  ])('%s fails, unbilled', async (directive, error, accepted) => {
    const { body } = await client.create(`a cat [[${directive}]]`)
    expect(await client.end(body.id)).toMatchObject({
      status: 'failed',
      output: null,
      error: expect.stringMatching(error),
    })
    expect(replicate.stats()).toMatchObject({ created: 1, accepted, failed: 1, billed_usd_micros: 0 })
  })

  it('poll_fail and poll_cut spoil the first polls', async () => {
    const failing = (await client.create('a cat [[poll_fail:503:2]]')).body
    const statuses = [await client.get(failing.id), await client.get(failing.id), await client.get(failing.id)]
    expect(statuses.map(({ status }) => status)).toEqual([503, 503, 200])
    const cut = (await client.create('a cat [[poll_cut]]')).body
    await expect(client.get(cut.id)).rejects.toThrow()
    expect((await client.get(cut.id)).status).toBe(200)
  })
})

describe('A file', () => {
  const fileOf = async (directive: string) => {
    const { body } = await client.create(`a cat [[${directive}]]`)
    return fetch(firstFile(await client.end(body.id)), { redirect: 'manual' })
  }

  it('is spoiled as asked', async () => {
    expect(await (await fileOf('bad_image')).text()).toBe('this is not an image')
    expect((await fileOf('wrong_type')).headers.get('content-type')).toBe('text/html')
    expect((await fileOf('no_length')).headers.get('content-length')).toBeNull()
    expect((await fileOf('expired')).status).toBe(404)
    expect((await fileOf('image_fail:503')).status).toBe(503)
    expect((await fileOf('redirect:http://127.0.0.1:1/x')).headers.get('location')).toBe('http://127.0.0.1:1/x')
    await expect((await fileOf('truncated_image')).bytes()).rejects.toThrow()
    const whole = await (await fileOf('slow_image:1')).bytes()
    const short = await (await fileOf('short_image')).bytes()
    expect(short.length).toBe(Math.floor(whole.length / 2))
  })
})

describe('As its own process', () => {
  const program = fileURLToPath(new URL('../../emulators/replicate.ts', import.meta.url))
  let child: ChildProcess | undefined
  afterEach(() => void child?.kill('SIGKILL'))

  it('serves, is controlled and reset over HTTP, and ends on SIGTERM', async () => {
    const stdio = ['ignore', 'pipe', 'inherit'] as const
    const options = ['--port', '0', '--latency', '5', '--no-draw', '--api-key', 'key']
    child = spawn(process.execPath, [program, ...options], { stdio: [...stdio] })
    const [line] = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data')) as [Buffer]
    const url = line.toString().trim().replace('ready ', '')
    const post = (path: string, body: unknown) =>
      fetch(`${url}/_emulator/${path}`, { method: 'POST', body: JSON.stringify(body) })
    const readStats = async () => (await (await fetch(`${url}/_emulator/stats`)).json()) as ReplicateStats
    const remote = clientOf({ url })
    await remote.end((await remote.create('a cat')).body.id)
    expect(await readStats()).toMatchObject({ accepted: 1, predictions: [{ prompt: 'a cat' }] })
    expect(await (await post('control', { createsBurst: 0 })).json()).toMatchObject({ createsBurst: 0, latencyMs: 5 })
    expect((await remote.create('a cat')).status).toBe(429)
    expect((await post('control', { max: 1 })).status).toBe(400)
    await post('reset', {})
    expect(await readStats()).toMatchObject({ accepted: 0, predictions: [] })
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it('leaves nothing running after close, even with predictions, deadlines and connections open', async () => {
    const script = `
      import { startReplicate } from ${JSON.stringify(program)}
      import { request } from 'node:http'
      const replicate = await startReplicate({ latencyMs: 600_000 })
      for (const prefer of [{}, { prefer: 'wait' }]) {
        const headers = { authorization: 'Bearer key', 'cancel-after': '1h', ...prefer }
        const options = { method: 'POST', headers, agent: false }
        const sent = request(replicate.url + '/v1/models/${schnell}/predictions', options, (response) => response.resume())
        sent.on('error', () => {})
        sent.end(JSON.stringify({ input: { prompt: 'a cat' } }))
      }
      while (replicate.stats().inflight < 2) await new Promise(setImmediate)
      await replicate.close()
      console.log('closed')
    `
    child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    expect(await once(child, 'close')).toEqual([0, null])
    expect(output).toBe('closed\n')
  })
})
