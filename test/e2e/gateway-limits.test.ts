import { expect, test } from 'vitest'
import type { OpenAiStats } from '../emulators/openai.ts'
import { neverSay, startProduct } from './harness.ts'
import { CHAT, EMBEDDING, type Line, provisionLine, startOpenAiHere } from './line.ts'
import { hear } from './line-client.ts'

const LIMITS = { requests_per_minute: 60, tokens_per_minute: 10_000, concurrency: 50 }
const CONNECTIONS = 50
const HAMMER_MS = 68_000
const MINUTE_MS = 60_000

/** Calls in pieces, as streams, embeddings and jobs, in turns; what is refused comes again. */
const KINDS = ['chat', 'stream', 'embedding', 'job'] as const

const callOf = async (line: Line, number: number, tokens: number): Promise<unknown> => {
  const kind = KINDS[number % KINDS.length]
  const text = neverSay(`hammer ${number} [[chunks:${tokens}]]`)
  const messages = [{ role: 'user', content: text }]
  if (kind === 'embedding') {
    const input = `${text} ${'word '.repeat(tokens)}`
    return hear(`${line.url}/embeddings`, line.key, { model: EMBEDDING, input, deadline_s: 5 })
  }
  if (kind === 'job') {
    const user = line.root.withKey(line.key)
    const input = { messages, max_completion_tokens: tokens + 50 }
    const job = { type: 'text.generate', models: [CHAT], input, deadline_s: 5 }
    return user.ask('POST', `${line.base}/jobs`, job, { prefer: 'wait=10' }).catch(() => null)
  }
  return hear(`${line.url}/chat/completions`, line.key, {
    model: CHAT,
    messages,
    max_completion_tokens: tokens + 50,
    deadline_s: 5,
    ...(kind === 'stream' ? { stream: true } : {}),
  })
}

const hammer = async (line: Line, tokens: number): Promise<void> => {
  const until = Date.now() + HAMMER_MS
  let begun = 0
  const connection = async (): Promise<void> => {
    while (Date.now() < until) {
      await callOf(line, begun++, tokens)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, connection))
}

/** The most that any minute saw, wherever it begins. */
const busiestMinute = (calls: OpenAiStats['calls'], amountOf: (call: OpenAiStats['calls'][number]) => number): number =>
  Math.max(
    0,
    ...calls.map(({ at }) =>
      calls.filter((call) => call.at >= at && call.at < at + MINUTE_MS).reduce((sum, call) => sum + amountOf(call), 0),
    ),
  )

test('50 connections with chats, streams, embeddings and jobs never exceed requests or tokens a minute by one', {
  timeout: 110_000,
}, async () => {
  const product = await startProduct()
  // The one runs into its limit of requests, the other into that of tokens.
  const loads = await Promise.all(
    [20, 700].map(async (tokens, at) => {
      const emulator = await startOpenAiHere()
      const openai = { url: emulator.url, limits: LIMITS }
      return { tokens, emulator, line: await provisionLine(product, { openai }, `line-${at}`) }
    }),
  )
  await Promise.all(loads.map(({ line, tokens }) => hammer(line, tokens)))
  const [small, large] = loads.map(({ emulator }) => {
    const { calls, requests, accepted } = emulator.stats()
    return {
      refused: requests - accepted,
      kinds: new Set(calls.map(({ kind }) => kind)).size,
      requests: busiestMinute(calls, () => 1),
      tokens: busiestMinute(calls, ({ tokens }) => tokens.prompt + tokens.completion),
    }
  })
  console.info('the busiest minutes:', small, large)
  for (const busiest of [small, large]) {
    expect(busiest).toMatchObject({ refused: 0, kinds: 2 })
    expect(busiest?.requests).toBeLessThanOrEqual(LIMITS.requests_per_minute)
    expect(busiest?.tokens).toBeLessThanOrEqual(LIMITS.tokens_per_minute)
  }
  // The limits were what held the calls back.
  expect(small?.requests).toBeGreaterThan(50)
  expect(large?.tokens).toBeGreaterThan(6000)
})
