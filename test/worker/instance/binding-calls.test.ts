import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import type { Completion } from '../../../src/contract/completion.ts'
import type { EmbeddingList } from '../../../src/contract/embedding.ts'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import type { ProviderView } from '../../../src/contract/instance.ts'
import type { Job } from '../../../src/contract/job.ts'
import type { ChatOutput } from '../../../src/contract/text-output.ts'
import type { Env } from '../../../src/env.ts'
import { must, openSite, ROOT_KEY, type Site, send } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { type FakeAi, fakeAi, throwing, upstreamError } from '../support/fake-ai.ts'
import { expectRest, ledgerOf } from '../support/money.ts'

/** Calls by the binding of the deployment through the real Worker, Instance and lanes: without any credential. */

const LLAMA = 'workers-ai/@cf/meta/llama-3.3-70b-instruct-fp8-fast'
const BGE = 'workers-ai/@cf/baai/bge-m3'
/** 11 and 7 tokens at 3 and 5 micros. */
const COST_USD = 0.000_068

type TextJob = Job<ChatOutput, ChatInput>

let site: Site
let ai: FakeAi
beforeEach(async () => {
  ai = fakeAi()
  ;(env as Env).AI = ai
  site = await openSite('prod', { credential: false })
  const json = { route: { type: 'binding' } }
  await must(200, send('PUT', `${site.base}/providers/workers-ai`, { key: ROOT_KEY, json }))
  for (const model of [LLAMA, BGE]) {
    const rates = { input_per_mtok: 3, output_per_mtok: 5 }
    await must(200, site.send('PUT', `/prices/${model}`, { json: { rates } }))
  }
})
afterEach(() => {
  delete (env as Env).AI
})

const chatOf = (more: object = {}) => ({ model: LLAMA, messages: [{ role: 'user', content: 'Hello' }], ...more })
const chat = (more: object = {}) =>
  site.send<Completion & ErrorBody>('POST', '/chat/completions', { json: chatOf(more) })
const job = async (more: object = {}): Promise<TextJob> => {
  const input = { messages: [{ role: 'user', content: 'Hello' }], max_completion_tokens: 100 }
  const json = { type: 'text.generate', models: [LLAMA], input, ...more }
  const { id } = (await must(202, site.send<TextJob>('POST', '/jobs', { json }))).body
  return (await site.ended(id)) as unknown as TextJob
}
const provider = async () => (await must(200, site.send<ProviderView>('GET', '/providers/workers-ai'))).body
const settled = (attempts: number) =>
  eventually('the books are closed', async () => {
    const ledger = await ledgerOf(site)
    return ledger.attempts === attempts && ledger.held_usd === 0 && ledger
  })

describe('by the binding', () => {
  test('a chat is answered on the line, and booked as it was told', async () => {
    const { body, headers } = await must(200, chat())
    expect(body).toMatchObject({
      model: '@cf/meta/llama-3.3-70b-instruct-fp8-fast',
      choices: [{ message: { content: 'Hello' } }],
      usage: { prompt_tokens: 11, completion_tokens: 7, cost_usd: COST_USD },
    })
    expect(headers.get('x-switchyard-model')).toBe(LLAMA)
    expect(await settled(1)).toMatchObject({ settled_usd: COST_USD, difference_usd: 0 })
    expect(ai.runs).toHaveLength(1)
  })

  test('a chat is streamed, with its usage at the end', async () => {
    const { text, headers } = await must(200, chat({ stream: true, stream_options: { include_usage: true } }))
    expect(headers.get('content-type')).toContain('text/event-stream')
    const data = text
      .split('\n\n')
      .flatMap((block) => (block.startsWith('data: {') ? [JSON.parse(block.slice(6))] : []))
    expect(data.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe('Hello')
    expect(data.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 11, cost_usd: COST_USD } })
    expect(text).toContain('data: [DONE]')
    expect(ai.runs[0]?.inputs).toMatchObject({ stream: true })
    await settled(1)
  })

  test('texts are embedded', async () => {
    const json = { model: BGE, input: ['a', 'b'] }
    const { body } = await must(200, site.send<EmbeddingList>('POST', '/embeddings', { json }))
    expect(body.data.map(({ embedding }) => embedding)).toEqual([
      [0.5, 0],
      [0.5, 1],
    ])
    expect(body.usage.estimated).toBe(true)
    await settled(1)
  })

  test('a text job is run by a lane', async () => {
    expect(await job()).toMatchObject({
      status: 'succeeded',
      cost_usd: COST_USD,
      output: { choices: [{ message: { content: 'Hello' } }] },
      attempts: [{ number: 1, outcome: 'done', provider_request_id: 'ai-req-1' }],
    })
    await expectRest(site, { settled_usd: COST_USD, attempts: 1 })
    expect((await provider()).live.running).toBe(0)
  })

  test('an error is one of the table, and is tried again where that helps', async () => {
    ai.next.push(throwing(upstreamError('3040: Capacity temporarily exceeded, please try again.')))
    expect((await job()).attempts.map(({ outcome }) => outcome)).toEqual(['provider_unavailable', 'done'])
    ai.next.push(throwing(upstreamError('5007: No such model @cf/x or task')))
    const refused = await chat()
    expect([refused.status, refused.body.error]).toMatchObject([502, { code: 'provider_rejected', param: 'model' }])
    await settled(1)
  })

  test('what the account has used up stops its calls until then, and not those of others', async () => {
    ai.next.push(throwing(upstreamError('3036: you have used up your daily free allocation of 10,000 neurons')))
    expect(await job()).toMatchObject({ status: 'failed', error: { code: 'provider_quota_exhausted' }, cost_usd: 0 })
    const json = { type: 'text.generate', models: [LLAMA], input: { messages: [{ role: 'user', content: 'x' }] } }
    const waiting = (await must(202, site.send<TextJob>('POST', '/jobs', { json }))).body
    expect(waiting).toMatchObject({
      status: 'queued',
      queue: { waiting_for: 'breaker', limit: 'instance:prod:provider:workers-ai:credential' },
    })
    expect(ai.runs).toHaveLength(1)
    await must(200, site.send('POST', `/jobs/${waiting.id}/cancel`))
  })

  test('a refusal of the account switches nothing off', async () => {
    ai.next.push(() => Response.json({ internalCode: 9999 }, { status: 401 }))
    expect(await job({ max_attempts: 1 })).toMatchObject({ error: { code: 'provider_auth_failed' } })
    expect((await job()).status).toBe('succeeded')
    const { body } = await must(200, site.send<{ data: unknown[] }>('GET', '/providers/workers-ai/credentials'))
    expect(body.data).toEqual([])
  })

  test('no credential is used where there are some, and theirs are where the route is taken away', async () => {
    const secret = '0123456789abcdef0123456789abcdef:token-of-the-tests-1234'
    await must(201, site.send('POST', '/providers/workers-ai/credentials', { json: { name: 'main', secret } }))
    await must(200, chat())
    const { body } = await must(
      200,
      site.send<{ data: { usage: { attempts: number } }[] }>('GET', '/providers/workers-ai/credentials'),
    )
    expect(body.data.map(({ usage }) => usage.attempts)).toEqual([0])
    await must(204, site.send('DELETE', '/providers/workers-ai/credentials/main'))
    await must(200, site.send('PUT', '/providers/workers-ai', { json: { route: null } }))
    expect((await chat()).body.error.code).toBe('no_provider')
  })

  test('a deployment that has lost its binding says so, and bills nothing', async () => {
    delete (env as Env).AI
    const answer = await chat()
    expect([answer.status, answer.body.error]).toMatchObject([400, { code: 'no_provider' }])
    await expectRest(site, { attempts: 0 })
  })
})
