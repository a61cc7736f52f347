import { beforeEach, describe, expect, test, vi } from 'vitest'
import { fault } from '../../../src/contract/fault.ts'
import type { CallEnd, OpenCall } from '../../../src/contract/foreground-rpc.ts'
import type { Job } from '../../../src/contract/job.ts'
import { type Caller, fromWire, toWire } from '../../../src/contract/rpc.ts'
import { usageOf } from '../../../src/contract/usage.ts'
import { Instance } from '../../../src/instance/instance.ts'
import { instanceStub, must, openSite, type Site } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { expectRest, ledgerOf, setBudget } from '../support/money.ts'

/** Calls on the line as the Instance books them, over HTTP and over its RPC. */

const MODEL = 'openai/gpt-5-mini'
const chatOf = (more: object = {}) => ({ model: MODEL, messages: [{ role: 'user', content: 'Hello' }], ...more })

let site: Site
beforeEach(async () => {
  site = await openSite('prod')
  const json = { name: 'main', secret: 'sk-secret-of-the-tests-0123456789' }
  await must(201, site.send('POST', '/providers/openai/credentials', { json }))
})

const providerAnswers = (status: number, body: object) =>
  vi.spyOn(globalThis, 'fetch').mockImplementation(async () => Response.json(body, { status }))

const COMPLETION = {
  id: 'c',
  model: 'gpt-5-mini',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hi', refusal: null }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1000, completion_tokens: 1000, total_tokens: 2000 },
}

const root: Caller = { auth: { kind: 'root' }, requestId: 'req_1' }
const rpc = () => instanceStub('prod')

const CALL: OpenCall = {
  type: 'text.generate@1',
  candidates: [{ model: MODEL, expected: { inputTokens: 100, outputTokens: 100 } }],
  skipped: [],
  prefer: null,
  fallback: true,
  project: null,
  metadata: {},
  maxCostMicros: null,
  deadlineS: 600,
  waitMs: 10_000,
}

const open = async (more: Partial<OpenCall> = {}) => {
  const opened = await rpc().openCall(root, toWire({ ...CALL, ...more }))
  if (!opened.ok) throw new Error(opened.fault.message)
  const { job, attempt } = fromWire(opened.value.opening)
  return { job, attempt }
}

const END: CallEnd = {
  fault: null,
  usage: null,
  delivered: false,
  abandoned: false,
  serviceTier: null,
  providerRequestId: null,
  providerMs: 1,
  rate: { requests: null, tokens: null },
}

describe('what a call cost', () => {
  test.each([
    ['default', { settled: true }],
    ['priority', { settled: false }],
  ])('is booked as its client is told where it was billed at the tier "%s"', async (service_tier, { settled }) => {
    providerAnswers(200, { ...COMPLETION, service_tier })
    const answer = await must(
      200,
      site.send<{ usage: { cost_usd: number | null } }>('POST', '/chat/completions', { json: chatOf() }),
    )
    const ledger = await eventually('the call is closed', async () => {
      const seen = await ledgerOf(site)
      return seen.attempts === 1 && seen
    })
    const told = answer.body.usage.cost_usd
    expect(told === null).toBe(!settled)
    expect(ledger.settled_usd).toBe(told ?? 0)
    expect(ledger.presumed_usd > 0).toBe(!settled)
    await expectRest(site, {})
  })

  test('of which nothing was sent is nothing, also where each call has a price', async () => {
    const json = { rates: { input_per_mtok: 1, output_per_mtok: 1, per_request_usd: 0.5 } }
    await must(200, site.send('PUT', '/prices/openai/gpt-5-mini', { json }))
    const unsent = { ...END, fault: fault('no_provider', 'It cannot be opened.'), usage: usageOf({}) }
    await rpc().closeCall(await open(), toWire(unsent))
    await expectRest(site, { settled_usd: 0, presumed_usd: 0, attempts: 0 })
  })

  test('of which nothing was sent is nothing, also where no price is known', async () => {
    const ofOurs = { model: 'vllm/any', expected: { inputTokens: 1, outputTokens: 1 } }
    await must(200, site.send('PUT', '/providers/vllm', { json: { base_url: 'https://vllm.example/v1' } }))
    const json = { name: 'main', secret: 'none-of-the-tests' }
    await must(201, site.send('POST', '/providers/vllm/credentials', { json }))
    const unsent = { ...END, fault: fault('no_provider', 'It cannot be opened.'), usage: usageOf({}) }
    await rpc().closeCall(await open({ candidates: [ofOurs] }), toWire(unsent))
    await expectRest(site, { attempts: 0, unpriced_attempts: 0 })
  })
})

describe('calls that were answered', () => {
  const answered = { ...END, delivered: true, usage: usageOf({ inputTokens: 1000, outputTokens: 1000 }) }

  test('are settled together, each once, however often that is told', async () => {
    const refs = await Promise.all(Array.from({ length: 5 }, () => open()))
    const told = toWire([...refs, ...refs].map((ref) => ({ ref, end: answered })))
    await Promise.all([rpc().settleCalls(told), rpc().settleCalls(told)])
    await rpc().settleCalls(told)
    const ledger = await ledgerOf(site)
    const one = ledger.settled_usd / 5
    expect(ledger).toMatchObject({ attempts: 5, held_usd: 0 })
    expect(one).toBeGreaterThan(0)
    const { body } = await site.send<{ data: Job[] }>('GET', '/jobs?status=succeeded')
    expect(body.data.map(({ cost_usd }) => cost_usd)).toEqual(Array.from({ length: 5 }, () => one))
  })

  test('are settled one by one by an Instance of a version that takes no message of several', async () => {
    const missing = vi.spyOn(Instance.prototype, 'settleCalls').mockRejectedValue(new TypeError('no such method'))
    try {
      providerAnswers(200, COMPLETION)
      const chats = Array.from({ length: 8 }, () =>
        must(200, site.send('POST', '/chat/completions', { json: chatOf() })),
      )
      await Promise.all(chats)
      await eventually('all are closed', async () => {
        const { attempts, held_usd } = await ledgerOf(site)
        return attempts === 8 && held_usd === 0
      })
      expect(missing).toHaveBeenCalled()
    } finally {
      missing.mockRestore()
    }
    await expectRest(site, {})
  })
})

describe('a chat that failed', () => {
  test('and whose next turn does not come in time is not told that somebody canceled it', async () => {
    const down = { ...END, fault: fault('provider_unavailable', 'It is down.'), usage: null, waitMs: 0 }
    const next = fromWire(await rpc().closeCall(await open(), toWire(down)))
    expect(next).toMatchObject({ next: 'end', fault: null })
    await expectRest(site, { attempts: 0 })
  })

  test('is not replayed, for nobody kept what it asked, and says so', async () => {
    providerAnswers(400, { error: { message: 'no', type: 'invalid_request_error', code: 'bad' } })
    expect((await site.send('POST', '/chat/completions', { json: chatOf() })).status).toBe(502)
    const { body } = await site.send<{ data: Job[] }>('GET', '/jobs?status=failed')
    const [job] = body.data
    const replayed = await site.send('POST', `/jobs/${job?.id}/replay`)
    expect([replayed.status, replayed.body.error.code]).toEqual([409, 'conflict'])
    expect(replayed.body.error.message).toContain('was not kept')
  })
})

describe('a call over budget', () => {
  test('is refused with the whole reason also where jobs would wait', async () => {
    await must(200, site.send('PATCH', '', { json: { config: { budget: { over: 'wait' } } } }))
    await setBudget(site, 'instance', 0.01)
    await open({ candidates: [{ model: MODEL, expected: { inputTokens: 0, outputTokens: 4_000 } }] })
    const refused = await site.send('POST', '/chat/completions', { json: chatOf({ max_tokens: 4_000 }) })
    expect([refused.status, refused.body.error.code]).toEqual([402, 'budget_exceeded'])
    expect(refused.body.error.details).toMatchObject({ reason: 'limit', limit_usd: 0.01, held_usd: 0.008 })
  })
})
