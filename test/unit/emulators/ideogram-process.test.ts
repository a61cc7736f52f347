import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import type { IdeogramStats } from '../../emulators/ideogram.ts'
import { clientOf, v2 } from './ideogram-client.ts'

const program = fileURLToPath(new URL('../../emulators/ideogram.ts', import.meta.url))
let child: ChildProcess | undefined

afterEach(() => void child?.kill('SIGKILL'))

async function startProgram(...options: string[]): Promise<string> {
  child = spawn(process.execPath, [program, '--port', '0', ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data')) as [Buffer]
  return line.toString().trim().replace('ready ', '')
}

const postJson = (url: string, body: unknown) => fetch(url, { method: 'POST', body: JSON.stringify(body) })

describe('as its own process', () => {
  it('serves, is controlled and reset over HTTP, and ends on SIGTERM', async () => {
    const url = await startProgram('--latency', '5', '--no-draw')
    const client = clientOf({ url })
    await client.generate('a cat')
    const readStats = async () => (await (await fetch(`${url}/_emulator/stats`)).json()) as IdeogramStats
    expect(await readStats()).toMatchObject({ accepted: 1, generations: [{ prompt: 'a cat' }] })
    const settings = await (await postJson(`${url}/_emulator/control`, { maxInflight: 0 })).json()
    expect(settings).toMatchObject({ maxInflight: 0, latencyMs: 5 })
    expect((await client.post(v2('ideogram-3'), { prompt: 'a cat' })).status).toBe(429)
    expect((await postJson(`${url}/_emulator/control`, { max: 1 })).status).toBe(400)
    await postJson(`${url}/_emulator/reset`, {})
    expect(await readStats()).toMatchObject({ accepted: 0, rejectedInflight: 0, generations: [] })
    await client.generate('a cat')
    child?.kill('SIGTERM')
    expect(await once(child as ChildProcess, 'exit')).toEqual([0, null])
  })

  it('leaves nothing running after close, even with generations and connections open', async () => {
    const script = `
      import { startIdeogram } from ${JSON.stringify(program)}
      import { request } from 'node:http'
      const ideogram = await startIdeogram({ latencyMs: 600_000 })
      const headers = { 'api-key': 'key', 'content-type': 'application/json' }
      for (const asynchronous of [false, true]) {
        const options = { method: 'POST', headers, agent: false }
        const sent = request(ideogram.url + '/v2/image/generate/ideogram-3', options, (response) => response.resume())
        sent.on('error', () => {})
        sent.end(JSON.stringify({ prompt: 'a cat', async: asynchronous }))
      }
      while (ideogram.stats().inflight < 2) await new Promise(setImmediate)
      await ideogram.close()
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
