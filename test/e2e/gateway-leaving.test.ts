import { connect } from 'node:net'
import { beforeAll, expect, test } from 'vitest'
import { isFinal, type Job } from '../../src/contract/job.ts'
import type { OpenAiEmulator } from '../emulators/openai.ts'
import { ask, CHAT, type Line, ledgerAtRest, startLine, startOpenAiHere } from './line.ts'
import { hear } from './line-client.ts'
import { until } from './support.ts'

/** Clients that go away before they are answered: nobody pays for what was never sent, and the next in line is not held up. */

let emulator: OpenAiEmulator
let line: Line

beforeAll(async () => {
  emulator = await startOpenAiHere()
  line = await startLine({ openai: { url: emulator.url, limits: { concurrency: 1 } } })
})

/** A chat by a connection that can be broken off such that the runtime hears of it at once: a client that just closes is not heard. */
const post = (stream: boolean) => {
  const { hostname, port, pathname } = new URL(line.url)
  const body = JSON.stringify({ model: CHAT, stream, messages: ask('what nobody waits for any more') })
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  socket.resume()
  socket.write(
    [
      `POST ${pathname}/chat/completions HTTP/1.1`,
      `host: ${hostname}`,
      'content-type: application/json',
      `authorization: Bearer ${line.key}`,
      `content-length: ${body.length}`,
      '',
      body,
    ].join('\r\n'),
  )
  return socket
}

const newest = async (): Promise<Job | undefined> =>
  (await line.root.ask<{ data: Job[] }>('GET', `${line.base}/jobs?limit=1`)).data[0]

test.each([
  ['a stream', true],
  ['an answer in one piece', false],
])('a client that leaves while %s waits for its turn pays nothing, and nothing is sent', async (_what, stream) => {
  const before = await ledgerAtRest(line)
  emulator.control({ chunkDelayMs: 20 })
  const first = hear(`${line.url}/chat/completions`, line.key, {
    model: CHAT,
    stream: true,
    messages: ask('[[chunks:200]]'),
  })
  const running = await until(newest, (job) => job?.status === 'running')
  const socket = post(stream)
  await until(newest, (job) => job?.id !== running?.id && job?.status === 'queued')
  socket.resetAndDestroy()

  expect((await first).done).toBe(true)
  emulator.control({ chunkDelayMs: 0 })
  const left = await until(newest, (job) => job !== undefined && isFinal(job.status))
  expect(left).toMatchObject({ status: 'canceled', cost_usd: 0 })
  const after = await ledgerAtRest(line)
  expect([after.presumed_usd, after.difference_usd]).toEqual([before.presumed_usd, 0])
})
