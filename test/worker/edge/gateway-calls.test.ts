import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { Completion } from '../../../src/contract/completion.ts'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import type { ProviderView } from '../../../src/contract/instance.ts'
import type { Job } from '../../../src/contract/job.ts'
import { fetchWorker, must, openSite, type Site } from '../support/client.ts'
import { eventually } from '../support/clock.ts'

/** Calls on the line over the real Instance: what a client gets, and what then stands in the books. */

type Reply = (body: Record<string, unknown>) => Response

const USAGE = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 }
const completion: Reply = ({ model }) =>
  Response.json({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1_763_700_000,
    model,
    choices: [{ index: 0, message: { role: 'assistant', content: 'Hi' }, finish_reason: 'stop' }],
    usage: USAGE,
  })
const chunk = (more: object) =>
  `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', ...more })}\n\n`
const delta = (content: string, finish: string | null = null) =>
  chunk({ choices: [{ index: 0, delta: { content }, finish_reason: finish }] })
const events = (body: BodyInit) => new Response(body, { headers: { 'content-type': 'text/event-stream' } })
const stream: Reply = () =>
  events([delta('Hel'), delta('lo', 'stop'), chunk({ choices: [], usage: USAGE }), 'data: [DONE]\n\n'].join(''))
const refused: Reply = () => Response.json({ error: { message: 'no', type: 'invalid_request_error' } }, { status: 400 })

let site: Site
let asked: string[]
let replies: Reply[]

beforeEach(async () => {
  asked = []
  replies = []
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (_input, init) => {
    const body = (await new Response(init?.body as BodyInit).json()) as Record<string, unknown>
    asked.push(String(body['model']))
    return (replies.shift() ?? completion)(body)
  })
  site = await openSite('prod', { credential: false })
  await must(
    201,
    site.send('POST', '/providers/openai/credentials', { json: { name: 'main', secret: 'sk-0123456789ab' } }),
  )
})

const body = (more: Record<string, unknown> = {}) => ({
  model: 'openai/gpt-4o-mini',
  messages: [{ role: 'user', content: 'a prompt that nobody may keep' }],
  ...more,
})
const chat = (more: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
  site.send<Completion & ErrorBody>('POST', '/chat/completions', { json: body(more), headers })
const jobs = async () => (await site.send<{ data: Job[] }>('GET', '/jobs')).body.data
/** The one job, once it has ended. */
const ended = async (): Promise<Job> => {
  await eventually('the call has ended', async () => (await jobs())[0]?.ended_at != null)
  const [job] = await jobs()
  if (!job) throw new Error('there is no job')
  return job
}
const isBalanced = async () => {
  const { body: ledger } = await site.send<{ difference_usd: number; held_usd: number }>('GET', '/ledger')
  return ledger.difference_usd === 0 && ledger.held_usd === 0
}

describe('a chat', () => {
  test('is answered, kept as a job without its words, and booked as it was told', async () => {
    const { status, headers, body: answer } = await chat({ metadata: { team: 'a' } }, { 'x-request-id': 'mine-1' })
    expect(status).toBe(200)
    // 100 tokens at 0.15 USD a million and 10 at 0.60.
    expect(answer.usage).toMatchObject({ ...USAGE, cost_usd: 0.000_021 })
    expect(headers.get('x-switchyard-cost-usd')).toBe('0.000021')
    expect(headers.get('ratelimit')).toContain('"queue"')
    const job = await ended()
    expect(job).toMatchObject({
      type: 'text.generate@1',
      status: 'succeeded',
      model: 'openai/gpt-4o-mini',
      cost_usd: 0.000_021,
      metadata: { team: 'a' },
      request_id: 'mine-1',
    })
    expect(JSON.stringify(job)).not.toContain('nobody may keep')
    expect(await isBalanced()).toBe(true)
  })

  test('streams, and is booked behind its end', async () => {
    replies.push(stream)
    const response = await fetchWorker('POST', `${site.base}/chat/completions`, {
      key: site.key,
      json: body({ stream: true, stream_options: { include_usage: true } }),
    })
    const text = await response.text()
    expect(text).toContain('"cost_usd":0.000021')
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    expect(await ended()).toMatchObject({ status: 'succeeded', cost_usd: 0.000_021 })
    expect(await isBalanced()).toBe(true)
  })

  test('that its client leaves is canceled, and what was generated is booked', async () => {
    replies.push(() => events(new ReadableStream({ start: (c) => c.enqueue(new TextEncoder().encode(delta('Hel'))) })))
    const response = await fetchWorker('POST', `${site.base}/chat/completions`, {
      key: site.key,
      json: body({ stream: true }),
    })
    const reader = response.body?.getReader()
    await reader?.read()
    await reader?.cancel()
    const job = await ended()
    expect(job.status).toBe('canceled')
    expect(job.cost_usd).toBeGreaterThan(0)
    expect(await isBalanced()).toBe(true)
  })

  test('that a model refuses goes to the next', async () => {
    replies.push(refused)
    const { status, headers } = await chat({ models: ['openai/gpt-4o'] })
    expect(status).toBe(200)
    expect(asked).toEqual(['gpt-4o-mini', 'gpt-4o'])
    expect(headers.get('x-switchyard-model')).toBe('openai/gpt-4o')
    expect(headers.get('x-switchyard-attempts')).toBe('2')
    expect((await ended()).attempts.map(({ outcome }) => outcome)).toEqual(['provider_rejected', 'done'])
  })

  test('goes to no other where fallback is off', async () => {
    replies.push(refused)
    const { status, body: answer } = await chat({ models: ['openai/gpt-4o'] }, { 'x-switchyard-fallback': 'false' })
    expect([status, answer.error.code]).toEqual([502, 'provider_rejected'])
    expect(asked).toEqual(['gpt-4o-mini'])
    expect((await ended()).status).toBe('failed')
  })

  test('narrows its model by what the rate headers leave, which the operator and the clients see', async () => {
    await must(200, site.send('PUT', '/providers/openai', { json: { limits: { requests_per_minute: 600 } } }))
    const told = { 'x-ratelimit-remaining-requests': '75', 'x-ratelimit-reset-requests': '30s' }
    replies.push((request) => {
      const answer = completion(request)
      for (const [name, value] of Object.entries(told)) answer.headers.set(name, value)
      return answer
    })
    expect((await chat()).status).toBe(200)
    await ended()
    const { body: provider } = await must(200, site.send<ProviderView>('GET', '/providers/openai'))
    expect(provider.adaptive).toMatchObject({
      share: 1,
      requests_per_minute: 600,
      models: [{ model: 'openai/gpt-4o-mini', share: 0.25, requests_per_minute: 150, tokens_per_minute: null }],
    })
    const { headers } = await site.send('GET', '/jobs')
    const policy = headers.get('ratelimit-policy')?.split(', ')
    expect(policy).toEqual(expect.arrayContaining(['"openai";q=600;w=60', '"openai/gpt-4o-mini";q=150;w=60']))
  })

  test('beyond the limits is told when to come back, and never sent', async () => {
    await must(200, site.send('PUT', '/providers/openai', { json: { limits: { requests_per_minute: 1 } } }))
    expect((await chat()).status).toBe(200)
    const { status, headers, body: answer } = await chat({ deadline_s: 1 })
    expect([status, answer.error.code]).toEqual([429, 'rate_limited'])
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(1)
    expect(headers.get('ratelimit')).toMatch(/"openai";r=0;t=\d+/)
    expect(asked).toHaveLength(1)
    expect(await isBalanced()).toBe(true)
  })

  test('dearer than it may be is never sent', async () => {
    const { status, body: answer } = await chat({ max_tokens: 16_000 }, { 'x-switchyard-max-cost-usd': '0.000001' })
    expect([status, answer.error.code]).toEqual([402, 'budget_exceeded'])
    expect(asked).toEqual([])
  })

  test('of a provider without a credential says so', async () => {
    await must(204, site.send('DELETE', '/providers/openai/credentials/main'))
    const { status, body: answer } = await chat()
    expect([status, answer.error.code]).toEqual([400, 'no_provider'])
  })

  test('of a key that may only read is forbidden', async () => {
    const { key } = await site.makeKey({ name: 'reader', role: 'user', scopes: ['read'] })
    const answer = await site.send('POST', '/chat/completions', { key, json: body() })
    expect(answer.status).toBe(403)
    expect(asked).toEqual([])
  })
})

test('embeddings are booked like chats', async () => {
  replies.push(() =>
    Response.json({
      object: 'list',
      model: 'text-embedding-3-small',
      data: [{ object: 'embedding', index: 0, embedding: [0.5, 1] }],
      usage: { prompt_tokens: 1_000, total_tokens: 1_000 },
    }),
  )
  const { status, body: answer } = await site.send<{ usage: { cost_usd: number } }>('POST', '/embeddings', {
    json: { model: 'text-embedding-3-small', input: 'a text' },
  })
  expect([status, answer.usage.cost_usd]).toEqual([200, 0.000_02])
  expect(await ended()).toMatchObject({ type: 'text.embed@1', status: 'succeeded', cost_usd: 0.000_02 })
  expect(await isBalanced()).toBe(true)
})
