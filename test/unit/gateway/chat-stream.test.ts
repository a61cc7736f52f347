import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import { LIMITS } from '../../../src/limits.ts'
import type { Fetch } from '../../../src/providers/http.ts'
import { fakeForeground } from './fake-foreground.ts'
import {
  answering,
  COMPLETION,
  chunk,
  DONE,
  ERROR,
  eventsIn,
  inTurn,
  RECORDED,
  serve,
  silent,
  streaming,
  usageChunk,
} from './served.ts'

const bytes = new TextEncoder().encode(RECORDED.join(''))
/** What a client that did not ask for usage gets of it. */
const EXPECTED = eventsIn(RECORDED.filter((event) => event !== usageChunk).join(''))
const TWO = { models: ['vllm/any'] }

/** The whole stream as the client reads it. */
const read = async (response: Promise<Response>): Promise<{ status: number; text: string; events: string[] }> => {
  const answer = await response
  const text = await answer.text()
  return { status: answer.status, text, events: eventsIn(text) }
}

const errorIn = (events: string[]): ErrorBody['error'] | null => {
  const last = JSON.parse(events.at(-1) === '[DONE]' ? '{}' : (events.at(-1) ?? '{}'))
  return last.error ?? null
}

describe('a stream', () => {
  test('goes on as the provider wrote it, and is closed once with the provider’s usage', async () => {
    const foreground = fakeForeground()
    const served = serve('stream', foreground, streaming(RECORDED).fetch)
    const { status, events } = await read(served.response)
    await served.settled()
    expect(status).toBe(200)
    expect(events).toEqual(EXPECTED)
    expect(foreground.closed).toEqual([
      {
        ref: { job: expect.any(String), attempt: 1 },
        end: expect.objectContaining({
          fault: null,
          delivered: true,
          abandoned: false,
          usage: expect.objectContaining({ inputTokens: 9, outputTokens: 5, estimated: false }),
        }),
      },
    ])
  })

  test('says before its body who serves it', async () => {
    const headers = {
      'x-request-id': 'req_provider',
      'x-ratelimit-remaining-requests': '3',
      'x-ratelimit-reset-requests': '1s',
    }
    const foreground = fakeForeground()
    const served = serve('stream', foreground, streaming(RECORDED, 'close', headers).fetch, { store: true, user: 'u' })
    const response = await served.response
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'x-switchyard-model': 'openai/gpt-5-mini',
      'x-switchyard-attempts': '1',
      'x-switchyard-overhead-ms': expect.stringMatching(/^\d+$/),
      ratelimit: '"queue";r=9',
    })
    await response.text()
    await served.settled()
    expect(foreground.closed[0]?.end).toMatchObject({
      providerRequestId: 'req_provider',
      rate: { requests: { remaining: 3, resetAfterMs: 1_000 }, tokens: null },
    })
  })

  test('ends with usage and cost where that was asked for', async () => {
    const more = { stream_options: { include_usage: true } }
    const { events } = await read(serve('stream', fakeForeground(), streaming(RECORDED).fetch, more).response)
    expect(events.at(-1)).toBe('[DONE]')
    expect(JSON.parse(events.at(-2) ?? '')).toMatchObject({
      object: 'chat.completion.chunk',
      id: 'chatcmpl-1',
      model: 'gpt-5-mini-2025-08-07',
      choices: [],
      usage: { prompt_tokens: 9, completion_tokens: 5, total_tokens: 14, cost_usd: 0.000_019 },
    })
  })

  test('without the provider’s usage has our own estimate, marked as such', async () => {
    const foreground = fakeForeground()
    const parts = RECORDED.filter((event) => event !== usageChunk)
    const served = serve('stream', foreground, streaming(parts).fetch, { stream_options: { include_usage: true } })
    const { events } = await read(served.response)
    await served.settled()
    const { usage } = JSON.parse(events.at(-2) ?? '')
    expect(usage).toMatchObject({ estimated: true, prompt_tokens: expect.any(Number) })
    expect(usage.completion_tokens).toBeGreaterThan(5)
    expect(foreground.closed[0]?.end.usage).toMatchObject({ estimated: true, outputTokens: usage.completion_tokens })
  })

  test('is made of a whole answer where the provider gives no stream', async () => {
    const foreground = fakeForeground()
    const served = serve('stream', foreground, answering(200, COMPLETION))
    const { events } = await read(served.response)
    await served.settled()
    const chunks = events.slice(0, -1).map((event) => JSON.parse(event))
    expect(chunks.map(({ choices }) => choices[0])).toMatchObject([
      { delta: { role: 'assistant', content: 'Hi!' }, finish_reason: null },
      { delta: {}, finish_reason: 'stop' },
    ])
    expect(events.at(-1)).toBe('[DONE]')
    expect(foreground.closed).toMatchObject([{ end: { fault: null, delivered: true, usage: { outputTokens: 5 } } }])
  })

  test('is the same however the network has split it', async () => {
    for (const size of [1, 2, 3, 5, 7, 64, bytes.length]) {
      const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
        bytes.subarray(at * size, (at + 1) * size),
      )
      const { events } = await read(serve('stream', fakeForeground(), streaming(parts).fetch).response)
      expect(events).toEqual(EXPECTED)
    }
  })
})

describe('a provider that fails', () => {
  const firstText = new TextEncoder().encode(RECORDED.slice(0, 2).join('')).length
  const terminated = bytes.length - 2
  const inOne = (part: Uint8Array) => [part]
  /** In pieces that cut characters and lines. */
  const dripped = (part: Uint8Array) =>
    Array.from({ length: Math.ceil(part.length / 7) }, (_, at) => part.subarray(7 * at, 7 * at + 7))

  test.each([
    ['closes the connection', 'close', inOne],
    ['breaks the connection', 'break', inOne],
    ['has dripped, and closes the connection', 'close', dripped],
    ['has dripped, and breaks the connection', 'break', dripped],
  ] as const)('and %s at any byte is told, and its call closed once', async (_what, ending, split) => {
    for (let at = 0; at <= bytes.length; at += 1) {
      const foreground = fakeForeground()
      const served = serve('stream', foreground, streaming(split(bytes.subarray(0, at)), ending).fetch)
      const { status, text, events } = await read(served.response)
      await served.settled()
      expect(foreground.closed, String(at)).toHaveLength(1)
      const end = foreground.closed[0]?.end
      if (at >= terminated) {
        expect(events, String(at)).toEqual(EXPECTED)
        expect(end?.fault).toBeNull()
        continue
      }
      expect(status, String(at)).toBe(at < firstText ? 502 : 200)
      expect(text).not.toContain('[DONE]')
      const error = status === 200 ? errorIn(events) : (JSON.parse(text) as ErrorBody).error
      expect(error, String(at)).toMatchObject({ code: 'outcome_unknown', type: 'job_error', request_id: 'req_1' })
      expect(end).toMatchObject({ fault: { code: 'outcome_unknown' }, delivered: status === 200 })
      if (status !== 200) continue
      expect(events.slice(0, -1)).toEqual(EXPECTED.slice(0, events.length - 1))
      expect(end?.usage?.inputTokens).toBeGreaterThan(0)
      expect(end?.usage?.outputTokens).toBeGreaterThan(0)
    }
  })

  test.each([
    ['a chunk that is no JSON', 'data: {"choices":[{"del\n\n', 'provider_protocol_error'],
    ['an error event', `data: ${JSON.stringify(ERROR('server_error'))}\n\n`, 'provider_unavailable'],
  ])('with %s in its first events is followed by the next model', async (_what, event, code) => {
    const foreground = fakeForeground({ baseUrls: { vllm: 'https://vllm.example/v1' } })
    const bad = streaming([RECORDED[0] ?? '', event])
    // The first is tried twice, as its fault allows, before the second model is asked.
    const fetch = inTurn(bad.fetch, bad.fetch, streaming(RECORDED).fetch)
    const served = serve('stream', foreground, fetch, TWO)
    const response = await served.response
    expect(response.headers.get('x-switchyard-model')).toBe('vllm/any')
    expect(eventsIn(await response.text())).toEqual(EXPECTED)
    await served.settled()
    expect(foreground.closed.map(({ end }) => end.fault?.code ?? null)).toEqual([code, code, null])
    expect(foreground.closed.map(({ end }) => end.delivered)).toEqual([false, false, true])
  })

  test.each([
    ['a chunk that is no JSON', 'data: {"choices":[{"del\n\n', 'provider_protocol_error'],
    ['an error event', `data: ${JSON.stringify(ERROR('server_error'))}\n\n`, 'provider_unavailable'],
  ])('with %s behind its first text is followed by nothing', async (_what, event, code) => {
    const foreground = fakeForeground()
    const served = serve('stream', foreground, streaming([...RECORDED.slice(0, 3), event]).fetch, TWO)
    const { status, events } = await read(served.response)
    await served.settled()
    expect(status).toBe(200)
    expect(errorIn(events)).toMatchObject({ code })
    expect(foreground.closed).toMatchObject([{ end: { fault: { code }, delivered: true, usage: { estimated: true } } }])
  })

  test('with a status is followed by the next model, and the last one’s is the answer', async () => {
    const foreground = fakeForeground()
    const busy = answering(503, ERROR('server_error'))
    const served = serve('stream', foreground, busy, TWO)
    const response = await served.response
    expect(response.status).toBe(502)
    expect((await response.json()) as ErrorBody).toMatchObject({ error: { code: 'provider_unavailable' } })
    expect(response.headers.get('x-switchyard-attempts')).toBe('3')
    expect(new Set(foreground.attempts.map(({ model }) => model))).toEqual(new Set(['openai/gpt-5-mini', 'vllm/any']))
    expect(foreground.closed).toHaveLength(3)
  })
})

describe('silence', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  test('before the first text is answered with keep-alives, then with an error: the model may have to be paid', async () => {
    const foreground = fakeForeground({ maxAttempts: 1 })
    const stalled = streaming(RECORDED.slice(0, 1), 'hang')
    const served = serve('stream', foreground, stalled.fetch)
    await vi.advanceTimersByTimeAsync(LIMITS.sseKeepAliveMs + 1)
    const response = await served.response
    expect(response.status).toBe(200)
    expect(response.headers.get('x-switchyard-model')).toBeNull()
    const text = response.text()
    await vi.advanceTimersByTimeAsync(LIMITS.firstTextStallMs)
    const all = await text
    expect(all.startsWith(': keep-alive\n\n')).toBe(true)
    expect(errorIn(eventsIn(all))).toMatchObject({ code: 'provider_timeout' })
    expect(all).not.toContain('[DONE]')
    await served.settled()
    expect(stalled.aborted()).toBe(true)
    expect(foreground.closed).toMatchObject([{ end: { fault: { code: 'provider_timeout' }, delivered: false } }])
  })

  test('is never longer than the time between two keep-alives, wherever it begins', async () => {
    const heardAfterMs = async (fetch: Fetch): Promise<number[]> => {
      const served = serve('stream', fakeForeground({ timeoutMs: 4 * LIMITS.sseKeepAliveMs }), fetch)
      const heardAtMs: number[] = []
      void served.response.then(async (response) => {
        // A client that needs a moment before it reads.
        await new Promise((resolve) => setTimeout(resolve, 1))
        heardAtMs.push(Date.now())
        const reader = response.body?.getReader()
        while (!(await reader?.read())?.done) heardAtMs.push(Date.now())
      })
      await vi.advanceTimersByTimeAsync(5 * LIMITS.sseKeepAliveMs)
      await served.settled()
      return heardAtMs.slice(1).map((atMs, index) => atMs - (heardAtMs[index] ?? 0))
    }
    for (const fetch of [silent, streaming(RECORDED.slice(0, 3), 'hang').fetch]) {
      const pauses = await heardAfterMs(fetch)
      expect(pauses.length).toBeGreaterThan(2)
      expect(Math.max(...pauses)).toBe(LIMITS.sseKeepAliveMs)
    }
  })

  test('behind the first text ends the stream after its limit', async () => {
    const foreground = fakeForeground()
    const stalled = streaming(RECORDED.slice(0, 3), 'hang')
    const served = serve('stream', foreground, stalled.fetch)
    const text = served.response.then((response) => response.text())
    await vi.advanceTimersByTimeAsync(LIMITS.nextTextStallMs + LIMITS.sseKeepAliveMs)
    const events = eventsIn(await text)
    expect(events.slice(0, -1)).toEqual(EXPECTED.slice(0, 3))
    expect(errorIn(events)).toMatchObject({ code: 'provider_timeout' })
    await served.settled()
    expect(stalled.aborted()).toBe(true)
    expect(foreground.closed).toMatchObject([{ end: { delivered: true, usage: { estimated: true } } }])
  })

  test('of the client is not the provider’s', async () => {
    const served = serve('stream', fakeForeground(), streaming(RECORDED).fetch)
    const response = await served.response
    const reader = response.body?.getReader()
    await reader?.read()
    await vi.advanceTimersByTimeAsync(2 * LIMITS.nextTextStallMs)
    let text = ''
    for (let step = await reader?.read(); step && !step.done; step = await reader?.read())
      text += new TextDecoder().decode(step.value)
    expect(eventsIn(text).at(-1)).toBe('[DONE]')
  })

  test('of the client is not the provider’s either where the first text was late', async () => {
    const provider = streaming(RECORDED)
    const lateMs = LIMITS.firstTextStallMs - 1_000
    const late: Fetch = async (url, init) => {
      const { body, headers } = await provider.fetch(url, init)
      const start = () => new Promise<void>((resolve) => setTimeout(resolve, lateMs))
      return new Response(body?.pipeThrough(new TransformStream({ start })) ?? null, { headers })
    }
    const served = serve('stream', fakeForeground(), late)
    await vi.advanceTimersByTimeAsync(LIMITS.sseKeepAliveMs)
    const reader = (await served.response).body?.getReader()
    let text = ''
    const take = async () => {
      const step = await reader?.read()
      text += new TextDecoder().decode(step?.value)
      return step?.done ?? true
    }
    const first = (async () => {
      while (!text.includes('data: ')) await take()
    })()
    await vi.advanceTimersByTimeAsync(lateMs)
    await first
    await vi.advanceTimersByTimeAsync(2_000)
    while (!(await take()));
    expect(eventsIn(text).at(-1)).toBe('[DONE]')
  })

  test('before any header ends with the provider’s limit', async () => {
    const foreground = fakeForeground({ timeoutMs: 5_000 })
    const served = serve('stream', foreground, silent)
    await vi.advanceTimersByTimeAsync(5_001)
    expect((await served.response).status).toBe(502)
    expect(foreground.closed).toMatchObject([{ end: { fault: { code: 'provider_timeout' } } }])
  })

  test('beyond the deadline is the deadline’s', async () => {
    const foreground = fakeForeground({ deadlineMs: 10_000 })
    const served = serve('stream', foreground, streaming(RECORDED.slice(0, 2), 'hang').fetch)
    const text = served.response.then((response) => response.text())
    await vi.advanceTimersByTimeAsync(10_001)
    expect(errorIn(eventsIn(await text))).toMatchObject({ code: 'deadline_exceeded' })
  })

  test('keeps the lease of its call', async () => {
    const foreground = fakeForeground()
    const served = serve('stream', foreground, streaming(RECORDED.slice(0, 2), 'hang').fetch)
    const response = await served.response
    void response.text()
    await vi.advanceTimersByTimeAsync(3 * LIMITS.callRenewMs + 1)
    expect(foreground.renewed).toHaveLength(3)
    expect(foreground.renewed[0]).toMatchObject([{ job: foreground.attempts[0]?.job, attempt: 1 }])
    served.leave()
    await vi.advanceTimersByTimeAsync(2 * LIMITS.callRenewMs)
    await served.settled()
    expect(foreground.renewed).toHaveLength(3)
  })

  test('that the Instance has canceled stops its provider, and ends with the reason', async () => {
    const foreground = fakeForeground()
    const provider = streaming(RECORDED.slice(0, 2), 'hang')
    const served = serve('stream', foreground, provider.fetch)
    const text = served.response.then((response) => response.text())
    await vi.advanceTimersByTimeAsync(1)
    foreground.over.push({ job: foreground.attempts[0]?.job ?? '', attempt: 1 })
    await vi.advanceTimersByTimeAsync(LIMITS.callRenewMs)
    expect(errorIn(eventsIn(await text))).toMatchObject({ code: 'canceled' })
    await served.settled()
    expect(provider.aborted()).toBe(true)
    expect(foreground.closed).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(3 * LIMITS.callRenewMs)
    expect(foreground.renewed).toHaveLength(1)
  })

  test('that the Instance has canceled stops its provider also while its reader pauses', async () => {
    const foreground = fakeForeground()
    const provider = streaming(RECORDED.slice(0, 2), 'hang')
    const served = serve('stream', foreground, provider.fetch)
    const reader = (await served.response).body?.getReader()
    await reader?.read()
    foreground.over.push({ job: foreground.attempts[0]?.job ?? '', attempt: 1 })
    await vi.advanceTimersByTimeAsync(LIMITS.callRenewMs + LIMITS.sseKeepAliveMs)
    await served.settled()
    expect(provider.aborted()).toBe(true)
    expect(foreground.closed).toHaveLength(1)
    const { value } = (await reader?.read()) ?? {}
    expect(errorIn(eventsIn(new TextDecoder().decode(value)))).toMatchObject({ code: 'canceled' })
    expect(await reader?.read()).toMatchObject({ done: true })
  })

  test('that its client leaves at the very moment of its first text is closed all the same', async () => {
    for (let turns = 0; turns < 40; turns += 1) {
      const foreground = fakeForeground()
      let begin: (response: Response) => void = () => {}
      const provider = streaming(RECORDED.slice(0, 2), 'hang')
      const late: Fetch = async (url, init) => {
        const response = await provider.fetch(url, init)
        await new Promise<Response>((resolve) => {
          begin = resolve
        })
        return response
      }
      const served = serve('stream', foreground, late)
      await vi.advanceTimersByTimeAsync(LIMITS.sseKeepAliveMs)
      const { body } = await served.response
      begin(new Response())
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve()
      await body?.cancel()
      await vi.advanceTimersByTimeAsync(LIMITS.sseKeepAliveMs)
      expect(foreground.closed, `after ${turns} turns`).toHaveLength(1)
      expect(foreground.closed[0]?.end).toMatchObject({ abandoned: true })
    }
  })
})

describe('a call that is cancelled elsewhere', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  test('stops its provider when its lease is to be renewed, and says so', async () => {
    const over = new Set<string>()
    const foreground = fakeForeground({ over })
    const provider = streaming(RECORDED.slice(0, 2), 'hang')
    const served = serve('stream', foreground, provider.fetch)
    const text = served.response.then((response) => response.text())
    await vi.advanceTimersByTimeAsync(LIMITS.callRenewMs + 1)
    expect(provider.aborted()).toBe(false)
    over.add(foreground.attempts[0]?.job ?? '')
    await vi.advanceTimersByTimeAsync(LIMITS.callRenewMs)
    expect(errorIn(eventsIn(await text))).toMatchObject({ code: 'canceled' })
    await served.settled()
    expect(provider.aborted()).toBe(true)
    expect(foreground.closed).toHaveLength(1)
  })
})

describe('a client that leaves', () => {
  test('after any piece stops the provider and has what was made until then closed once', async () => {
    for (let reads = 0; reads < RECORDED.length; reads += 1) {
      const foreground = fakeForeground()
      const provider = streaming(RECORDED, 'hang')
      const served = serve('stream', foreground, provider.fetch)
      const reader = (await served.response).body?.getReader()
      let text = ''
      for (let at = 0; at < reads; at += 1) {
        const step = await reader?.read()
        text += new TextDecoder().decode(step?.value)
      }
      await reader?.cancel()
      await served.settled()
      expect(foreground.closed, String(reads)).toHaveLength(1)
      const end = foreground.closed[0]?.end
      expect(end?.usage?.inputTokens).toBeGreaterThan(0)
      if (text.includes('[DONE]')) expect(end).toMatchObject({ fault: null, abandoned: false })
      else {
        expect(end, String(reads)).toMatchObject({ fault: { code: 'canceled' }, abandoned: true, delivered: true })
        expect(provider.aborted()).toBe(true)
      }
    }
  })

  test('is booked the prompt as the provider told it, where that came before the first text', async () => {
    const told = (event: object) => `data: ${JSON.stringify(event)}\n\n`
    const input = { input_tokens: 3, cache_read_input_tokens: 5_000, cache_creation_input_tokens: 400 }
    const parts = [
      told({ type: 'message_start', message: { id: 'msg_1', usage: { ...input, output_tokens: 1 } } }),
      told({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
      told({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Grüße from the sea' } }),
    ]
    const foreground = fakeForeground()
    const more = { model: 'anthropic/claude-opus-5-5' }
    const served = serve('stream', foreground, streaming(parts, 'hang').fetch, more)
    const reader = (await served.response).body?.getReader()
    await reader?.read()
    await reader?.cancel()
    await served.settled()
    expect(foreground.closed[0]?.end.usage).toMatchObject({
      inputTokens: 5_403,
      cachedInputTokens: 5_000,
      cacheWrite5mTokens: 400,
      outputTokens: expect.toSatisfy((tokens: number) => tokens > 1),
      estimated: true,
    })
  })

  test('while nothing comes stops the provider', async () => {
    const foreground = fakeForeground()
    const provider = streaming(RECORDED.slice(0, 2), 'hang')
    const served = serve('stream', foreground, provider.fetch)
    const reader = (await served.response).body?.getReader()
    await reader?.read()
    const waiting = reader?.read()
    await reader?.cancel()
    await waiting
    await served.settled()
    expect(provider.aborted()).toBe(true)
    expect(foreground.closed).toMatchObject([
      { end: { fault: { code: 'canceled' }, abandoned: true, usage: { estimated: true } } },
    ])
  })

  test('is heard by its signal too', async () => {
    const foreground = fakeForeground()
    const provider = streaming(RECORDED.slice(0, 2), 'hang')
    const served = serve('stream', foreground, provider.fetch)
    const text = (await served.response).text()
    served.leave()
    await text
    await served.settled()
    expect(provider.aborted()).toBe(true)
    expect(foreground.closed).toMatchObject([{ end: { fault: { code: 'canceled' }, abandoned: true } }])
  })

  test('before the first text stops the provider, and no other is asked', async () => {
    const foreground = fakeForeground()
    const provider = streaming(RECORDED.slice(0, 1), 'hang')
    const served = serve('stream', foreground, provider.fetch, TWO)
    await vi.waitFor(() => expect(provider.pulled()).toBe(1))
    served.leave()
    await served.response
    await served.settled()
    expect(provider.aborted()).toBe(true)
    expect(foreground.closed).toMatchObject([
      { end: { fault: { code: 'canceled' }, abandoned: true, delivered: false, usage: { estimated: true } } },
    ])
  })

  test('before the headers stops the provider', async () => {
    const foreground = fakeForeground()
    const served = serve('stream', foreground, silent)
    await vi.waitFor(() => expect(foreground.attempts).toHaveLength(1))
    served.leave()
    await served.response
    expect(foreground.closed).toMatchObject([{ end: { fault: { code: 'canceled' }, abandoned: true } }])
  })

  test('while a retry waits for its turn has nothing sent, and nothing used', async () => {
    const foreground = fakeForeground({ delayMs: 60_000 })
    const served = serve('stream', foreground, answering(503, ERROR('server_error')))
    await vi.waitFor(() => expect(foreground.attempts).toHaveLength(2))
    served.leave()
    await served.response
    expect(foreground.closed).toHaveLength(2)
    expect(foreground.closed[1]?.end).toMatchObject({
      fault: { code: 'canceled' },
      usage: { inputTokens: 0, outputTokens: 0, estimated: false },
    })
  })
})

test('pieces without text are held, but not for ever', async () => {
  function* empty() {
    for (;;) yield RECORDED[0] ?? ''
  }
  const provider = streaming(empty())
  const served = serve('stream', fakeForeground(), provider.fetch)
  const response = await served.response
  expect(response.status).toBe(200)
  expect(provider.pulled()).toBe(LIMITS.heldPieces)
  await response.body?.cancel()
  await served.settled()
})

describe('backpressure', () => {
  test('a client that does not read stops the provider', async () => {
    function* endless() {
      yield RECORDED[0] ?? ''
      for (;;) yield chunk({ content: 'more ' })
    }
    const provider = streaming(endless())
    const served = serve('stream', fakeForeground(), provider.fetch)
    const reader = (await served.response).body?.getReader()
    for (let at = 0; at < 10; at += 1) await reader?.read()
    // As many turns as would carry a thousand chunks, if anything carried them.
    for (let turn = 0; turn < 5_000; turn += 1) await Promise.resolve()
    await new Promise((resolve) => setImmediate(resolve))
    expect(provider.pulled()).toBeLessThan(16)
    await reader?.cancel()
    await served.settled()
    expect(provider.aborted()).toBe(true)
  })
})

test('a stream whose provider lingers behind [DONE] is over for the client', async () => {
  const foreground = fakeForeground()
  const served = serve('stream', foreground, streaming(RECORDED, 'hang').fetch)
  const { events } = await read(served.response)
  expect(events.at(-1)).toBe(DONE.slice(6, -2))
  await served.settled()
  expect(foreground.closed).toMatchObject([{ end: { fault: null } }])
})
