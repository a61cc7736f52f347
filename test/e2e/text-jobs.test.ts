import { beforeAll, expect, test } from 'vitest'
import type { Client } from '../../src/cli/client.ts'
import type { ChatInput } from '../../src/contract/chat.ts'
import type { EmbedInput } from '../../src/contract/embedding.ts'
import type { Job } from '../../src/contract/job.ts'
import type { ChatOutput, EmbedOutput } from '../../src/contract/text-output.ts'
import { type OpenAiEmulator, startOpenAi } from '../emulators/openai.ts'
import { afterFile, api, neverSay, startProduct } from './harness.ts'

/** Texts in the background through the built product, against OpenAI's wire. */

let emulator: OpenAiEmulator
let user: Client
const base = '/v1/instances/texts'
const SECRET = 'openai-secret-of-the-tests-0123456789'

beforeAll(async () => {
  emulator = await startOpenAi({ apiKeys: [SECRET] })
  afterFile(() => emulator.close())
  const product = await startProduct()
  const root = api(product.url)
  await root.ask('POST', '/v1/instances', { id: 'texts' })
  await root.ask('PUT', `${base}/providers/openai`, { base_url: `${emulator.url}/v1` })
  await root.ask('POST', `${base}/providers/openai/credentials`, { name: 'main', secret: neverSay(SECRET) })
  const rates = { input_per_mtok: 3, output_per_mtok: 5, cached_input_per_mtok: 1 }
  await root.ask('PUT', `${base}/prices/openai/gpt-5-mini`, { rates })
  const { key } = await root.ask<{ key: string }>('POST', `${base}/keys`, { name: 'app', role: 'user' })
  user = root.withKey(neverSay(key))
})

const run = <J>(request: unknown): Promise<J> => user.ask<J>('POST', `${base}/jobs`, request, { prefer: 'wait=60' })
const chat = (content: string) =>
  run<Job<ChatOutput, ChatInput>>({
    type: 'text.generate',
    models: ['openai/gpt-5-mini'],
    input: { messages: [{ role: 'user', content: neverSay(content) }], max_completion_tokens: 200 },
  })

test('a chat and embeddings are answered by lanes, and paid for by the tokens that the provider counted', async () => {
  const job = await chat('what does a lighthouse say at dawn? [[say:nothing at all]]')
  expect(job).toMatchObject({ status: 'succeeded', model: 'openai/gpt-5-mini', usage_estimated: false })
  expect(job.output?.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: 'nothing at all' } })
  const { prompt, completion } = emulator.stats().tokens
  expect(job.usage).toMatchObject({ input_tokens: prompt, output_tokens: completion })
  expect(job.cost_usd).toBe((3 * prompt + 5 * completion) / 1_000_000)
  const embedded = await run<Job<EmbedOutput, EmbedInput>>({
    type: 'text.embed',
    models: ['openai/text-embedding-3-small'],
    input: { input: ['a lighthouse at dawn', 'a harbour at noon'], dimensions: 64 },
  })
  expect(embedded.status).toBe('succeeded')
  expect(embedded.output?.data.map(({ embedding }) => Buffer.from(embedding, 'base64').length)).toEqual([256, 256])
})

test('a provider that fails once is asked again, and one that says nothing of its use is estimated', async () => {
  const again = await chat('a harbour at noon [[fail_once:503]]')
  expect(again.attempts.map(({ outcome }) => outcome)).toEqual(['provider_unavailable', 'done'])
  expect(await chat('a mole at dusk [[no_usage]]')).toMatchObject({ status: 'succeeded', usage_estimated: true })
})
