import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Completion } from '../../../src/contract/completion.ts'
import type { EmbeddingList } from '../../../src/contract/embedding.ts'
import { type ErrorBody, fault } from '../../../src/contract/fault.ts'
import { LIMITS } from '../../../src/limits.ts'
import { toBase64 } from '../../../src/providers/openai-embeddings.ts'
import { fakeForeground } from './fake-foreground.ts'
import { answering, COMPLETION, ERROR, inTurn, RECORDED, SEALED_FOR_EVER, serve, silent, streaming } from './served.ts'

const TWO = { models: ['vllm/any'] }
const EMBEDDED = { object: 'list', model: 'm', data: [{ object: 'embedding', index: 0, embedding: [0.5, 1] }] }
const bodyOf = async <T>(response: Promise<Response>): Promise<T> => (await (await response).json()) as T

describe('a chat without a stream', () => {
  test('is answered with usage and cost, and closed behind the answer', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const foreground = fakeForeground({ onClose: () => held })
    const served = serve('chat', foreground, answering(200, COMPLETION, { 'x-request-id': 'req_p' }), { user: 'u' })
    // The close does not end before the answer has come.
    const response = await served.response
    expect(foreground.closed).toHaveLength(0)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'x-switchyard-model': 'openai/gpt-5-mini',
      'x-switchyard-attempts': '1',
      'x-switchyard-cost-usd': '0.000019',
    })
    expect((await response.json()) as Completion).toMatchObject({
      ...COMPLETION,
      usage: { ...COMPLETION.usage, cost_usd: 0.000_019 },
    })
    release()
    await served.settled()
    expect(foreground.closed).toMatchObject([
      { end: { fault: null, delivered: true, providerRequestId: 'req_p', usage: { inputTokens: 9 } } },
    ])
  })

  test('without the provider’s usage has an estimate', async () => {
    const { usage: _, ...rest } = COMPLETION
    const { usage } = await bodyOf<Completion>(serve('chat', fakeForeground(), answering(200, rest)).response)
    expect(usage).toMatchObject({ estimated: true, prompt_tokens: expect.any(Number) })
    expect(usage?.completion_tokens).toBeGreaterThan(0)
  })

  test('tells which fields the provider was not', async () => {
    const served = serve('chat', fakeForeground(), answering(200, COMPLETION), { model: 'vllm/any', store: true })
    expect((await served.response).headers.get('x-switchyard-dropped')).toBe('store')
  })

  test('sends the provider its own words, and none that were for us', async () => {
    const provider = streaming(RECORDED)
    const own = { project: 'p', metadata: { a: 'b' }, prefer: 'cost', max_cost_usd: 1, deadline_s: 9, fallback: false }
    const foreground = fakeForeground()
    const served = serve('stream', foreground, provider.fetch, { ...own, temperature: 0.5, models: ['vllm/any'] })
    await (await served.response).text()
    const [sent] = provider.requests
    expect(sent?.url).toBe('https://provider.example/v1/chat/completions')
    expect(sent?.headers.get('authorization')).toBe('Bearer sk-secret')
    expect(Object.keys(sent?.body ?? {}).sort()).toEqual(['messages', 'model', 'stream', 'stream_options'])
    expect(foreground.opened).toMatchObject([
      {
        type: 'text.generate@1',
        candidates: [{ model: 'openai/gpt-5-mini' }, { model: 'vllm/any' }],
        project: 'p',
        metadata: { a: 'b' },
        prefer: 'cost',
        maxCostMicros: 1_000_000,
        deadlineS: 9,
        waitMs: 9_000,
        fallback: false,
      },
    ])
  })

  test.each([
    ['refused by its limits', fault('rate_limited', 'Too fast.', { retryAfterMs: 2_000 }), 429, '2'],
    ['beyond its budget', fault('budget_exceeded', 'No money.'), 402, null],
  ])('%s is not sent', async (_what, refuse, status, retryAfter) => {
    const foreground = fakeForeground({ refuse })
    const served = serve('chat', foreground, () => Promise.reject(new Error('sent')))
    const response = await served.response
    expect([response.status, response.headers.get('retry-after')]).toEqual([status, retryAfter])
    expect(foreground.closed).toEqual([])
  })

  test.each([
    [401, ERROR('invalid_api_key'), 'provider_auth_failed', 'false'],
    [400, ERROR('invalid_request_error'), 'provider_rejected', 'false'],
    [400, ERROR('content_policy_violation'), 'content_rejected', 'false'],
    [503, ERROR('server_error'), 'provider_unavailable', null],
    [200, 'no json', 'provider_protocol_error', 'false'],
    [429, ERROR('insufficient_quota'), 'provider_quota_exhausted', 'false'],
  ])('that fails with %s is %s', async (status, body, code, shouldRetry) => {
    const foreground = fakeForeground({ maxAttempts: 1 })
    const response = await serve('chat', foreground, answering(status, body)).response
    expect(response.status).toBe(502)
    expect(response.headers.get('x-should-retry')).toBe(shouldRetry)
    expect((await response.json()) as ErrorBody).toMatchObject({ error: { code, source: 'provider' } })
    expect(foreground.closed).toHaveLength(1)
  })

  test('falls back to the next model, and tells how often it tried', async () => {
    const foreground = fakeForeground({ secret: null })
    const fetch = inTurn(answering(401, ERROR('invalid_api_key')), answering(200, COMPLETION))
    const served = serve('chat', foreground, fetch, TWO)
    const response = await served.response
    await served.settled()
    expect(response.headers.get('x-switchyard-model')).toBe('vllm/any')
    expect(response.headers.get('x-switchyard-attempts')).toBe('2')
    expect(foreground.closed.map(({ end }) => end.fault?.code ?? null)).toEqual(['provider_auth_failed', null])
  })

  test('whose answer is lost is not repeated', async () => {
    const foreground = fakeForeground()
    const lost = vi.fn(() => Promise.reject(new TypeError('Network connection lost.')))
    const response = await serve('chat', foreground, lost, TWO).response
    expect(lost).toHaveBeenCalledTimes(1)
    expect(response.headers.get('x-should-retry')).toBe('false')
    expect((await response.json()) as ErrorBody).toMatchObject({ error: { code: 'outcome_unknown' } })
  })

  test('whose provider is not there goes to the next model, with nothing used', async () => {
    const foreground = fakeForeground()
    const cause = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
    const refused = () => Promise.reject(new TypeError('fetch failed', { cause }))
    const response = await serve('chat', foreground, inTurn(refused, refused, answering(200, COMPLETION)), TWO).response
    expect(response.status).toBe(200)
    expect(foreground.closed[0]?.end).toMatchObject({
      fault: { code: 'provider_unavailable' },
      usage: { inputTokens: 0, estimated: false },
    })
  })

  test('whose client leaves stops the provider', async () => {
    const foreground = fakeForeground()
    const provider = vi.fn(silent)
    const served = serve('chat', foreground, provider)
    await vi.waitFor(() => expect(provider).toHaveBeenCalled())
    served.leave()
    expect((await served.response).status).toBe(409)
    // What a model made before it was stopped nobody can tell, where nothing of it was streamed.
    expect(foreground.closed).toMatchObject([{ end: { fault: { code: 'canceled' }, abandoned: true, usage: null } }])
  })

  test('whose secret cannot be opened is not sent', async () => {
    const foreground = fakeForeground({ secret: SEALED_FOR_EVER })
    const sent = vi.fn(answering(200, COMPLETION))
    const response = await serve('chat', foreground, sent).response
    expect((await response.json()) as ErrorBody).toMatchObject({ error: { code: 'no_provider', source: 'switchyard' } })
    expect(sent).not.toHaveBeenCalled()
    expect(foreground.closed).toMatchObject([{ end: { usage: { inputTokens: 0, estimated: false } } }])
  })

  test('that the Instance cannot be told of is answered all the same', async () => {
    const told = vi.spyOn(console, 'error').mockImplementation(() => {})
    const foreground = fakeForeground({ onClose: () => Promise.reject(new Error('gone')) })
    const served = serve('chat', foreground, answering(200, COMPLETION))
    expect((await served.response).status).toBe(200)
    await served.settled()
    expect(told.mock.calls.flat().join()).toContain('call.close_failed')
    told.mockRestore()
  })
})

describe('time', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  test('runs out for a provider that does not answer', async () => {
    const foreground = fakeForeground({ timeoutMs: 1_000 })
    const served = serve('chat', foreground, silent)
    await vi.advanceTimersByTimeAsync(1_001)
    expect(await bodyOf(served.response)).toMatchObject({ error: { code: 'provider_timeout' } })
  })

  test('is the deadline’s where that comes first', async () => {
    const foreground = fakeForeground({ timeoutMs: 60_000, deadlineMs: 1_000 })
    const served = serve('chat', foreground, silent)
    await vi.advanceTimersByTimeAsync(1_001)
    const response = await served.response
    expect(response.status).toBe(504)
  })

  test('that a call takes is covered by its lease', async () => {
    const foreground = fakeForeground({ timeoutMs: 100_000 })
    const served = serve('chat', foreground, silent)
    await vi.advanceTimersByTimeAsync(2 * LIMITS.callRenewMs + 1)
    expect(foreground.renewed).toHaveLength(2)
    served.leave()
    await served.response
  })

  test.each(['chat', 'stream', 'embeddings'] as const)('until a next turn does not cancel a call: %s', async (kind) => {
    const busy = answering(429, ERROR('rate_limit_exceeded'), { 'retry-after': '20' })
    const fetch = inTurn(
      busy,
      kind === 'stream' ? streaming(RECORDED).fetch : answering(200, kind === 'chat' ? COMPLETION : EMBEDDED),
    )
    const wait = () => new Promise<void>((resolve) => setTimeout(resolve, 2 * LIMITS.callRenewMs))
    const foreground = fakeForeground({ onClose: ({ fault }) => (fault ? wait() : undefined) })
    const served = serve(kind, foreground, fetch)
    await vi.advanceTimersByTimeAsync(5 * LIMITS.callRenewMs)
    const response = await served.response
    expect(response.status).toBe(200)
    expect(await response.text()).not.toContain('"error"')
    expect(foreground.closed.map(({ end }) => end.fault?.code ?? null)).toEqual(['provider_rate_limited', null])
  })
})

describe('which model', () => {
  const asked = async (more: object): Promise<{ status: number; body: ErrorBody }> => {
    const response = await serve('chat', fakeForeground(), answering(200, COMPLETION), more).response
    return { status: response.status, body: (await response.json()) as ErrorBody }
  }

  test('may be named alone where one provider lists it', async () => {
    const foreground = fakeForeground()
    await serve('chat', foreground, answering(200, COMPLETION), { model: 'gpt-4o-mini' }).response
    expect(foreground.opened[0]?.candidates[0]?.model).toBe('openai/gpt-4o-mini')
  })

  test.each([
    [{ model: 'none' }, 'model'],
    [{ model: 'openai/none' }, 'model'],
    [{ model: 'openai/gpt-4o', models: ['openai/none'] }, 'models.0'],
  ])('%j is not there', async (more, param) => {
    const { status, body } = await asked(more)
    expect([status, body.error.param]).toEqual([404, param])
  })

  test('that cannot do what is asked is skipped where another can, with the reason', async () => {
    const foreground = fakeForeground()
    const more = { model: 'ollama/any', models: ['openai/gpt-4o'], n: 2 }
    await serve('chat', foreground, answering(200, COMPLETION), more).response
    expect(foreground.opened[0]?.candidates.map(({ model }) => model)).toEqual(['openai/gpt-4o'])
    expect(foreground.opened[0]?.skipped).toMatchObject([
      { model: 'ollama/any', reason: expect.stringMatching(/^n: /) },
    ])
  })

  test.each(['chat', 'stream', 'embeddings'] as const)(
    'is not asked with options of a misspelt provider: %s',
    async (kind) => {
      const foreground = fakeForeground()
      const ask = (provider_options: object) =>
        serve(kind, foreground, answering(400, ERROR('bad')), { provider_options }).response
      const response = await ask({ anthropc: { cache_control: { type: 'ephemeral' } } })
      const { error } = (await response.json()) as ErrorBody
      expect([response.status, error.code, error.param]).toEqual([400, 'invalid_request', 'provider_options'])
      expect(foreground.opened).toEqual([])
      // Of one that is there, but not asked, they are for another time.
      await ask({ anthropic: { cache_control: { type: 'ephemeral' } } })
      expect(foreground.opened).toHaveLength(1)
    },
  )

  test('that cannot do what is asked is refused with the field where no other can', async () => {
    const { status, body } = await asked({ model: 'ollama/any', n: 2 })
    expect([status, body.error.code, body.error.param]).toEqual([400, 'invalid_request', 'n'])
  })
})

describe('embeddings', () => {
  test.each(['float', 'base64'] as const)(
    'of thousands of texts are written as they are read, never as one text: %s',
    async (encoding_format) => {
      const many = Array.from({ length: 2_048 }, (_, at) =>
        Float32Array.from({ length: 256 }, (_, place) => at / 7 + place),
      )
      const provider = {
        object: 'list',
        model: 'text-embedding-3-small',
        data: many.map((vector, index) => ({ object: 'embedding', index, embedding: toBase64(vector) })),
        usage: { prompt_tokens: 2_048, total_tokens: 2_048 },
      }
      const asked = {
        model: 'openai/text-embedding-3-small',
        input: many.map(() => 'a'),
        dimensions: 256,
        encoding_format,
      }
      const served = serve('embeddings', fakeForeground(), answering(200, provider), asked)
      const { body } = await served.response
      const decoder = new TextDecoder()
      let text = ''
      let longest = 0
      for await (const bytes of body ?? []) {
        longest = Math.max(longest, bytes.length)
        text += decoder.decode(bytes, { stream: true })
      }
      expect(longest).toBeLessThan(256 * 1024)
      const { data, usage } = JSON.parse(text) as EmbeddingList
      expect(usage.prompt_tokens).toBe(2_048)
      const written = encoding_format === 'base64' ? toBase64 : (vector: Float32Array) => Array.from(vector)
      expect(data).toEqual(many.map((vector, index) => ({ object: 'embedding', index, embedding: written(vector) })))
      await served.settled()
    },
  )

  const vectors = [Float32Array.of(0.5, -0.25), Float32Array.of(1, 0)]
  const answer = (usage: object | null = { prompt_tokens: 4, total_tokens: 4 }) => ({
    object: 'list',
    model: 'text-embedding-3-small',
    data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: toBase64(vector) })),
    ...(usage ? { usage } : {}),
  })

  test.each([
    ['as numbers', {}, vectors.map((vector) => Array.from(vector))],
    ['as base64', { encoding_format: 'base64' }, vectors.map(toBase64)],
  ])('come %s', async (_what, more, expected) => {
    const foreground = fakeForeground()
    const served = serve('embeddings', foreground, answering(200, answer()), { input: ['a', 'b'], ...more })
    const body = await bodyOf<EmbeddingList>(served.response)
    expect(body.data.map(({ embedding }) => embedding)).toEqual(expected)
    expect(body.usage).toEqual({ prompt_tokens: 4, total_tokens: 4, cost_usd: 0.000_004 })
    await served.settled()
    expect(foreground.opened).toMatchObject([{ type: 'text.embed@1' }])
    expect(foreground.closed).toMatchObject([{ end: { fault: null, delivered: true, usage: { inputTokens: 4 } } }])
  })

  test('without usage are estimated', async () => {
    const served = serve('embeddings', fakeForeground(), answering(200, answer(null)), { input: ['a', 'b'] })
    expect((await bodyOf<EmbeddingList>(served.response)).usage).toMatchObject({ estimated: true, prompt_tokens: 2 })
  })

  test('of another number than asked for are an error', async () => {
    const foreground = fakeForeground({ maxAttempts: 1 })
    const served = serve('embeddings', foreground, answering(200, answer()), { input: ['a', 'b', 'c'] })
    expect(await bodyOf(served.response)).toMatchObject({ error: { code: 'provider_protocol_error' } })
  })
})
