import { abortAllDurableObjects } from 'cloudflare:test'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { fault } from '../../../src/contract/fault.ts'
import type { Job } from '../../../src/contract/job.ts'
import { toWire } from '../../../src/contract/rpc.ts'
import { usageOf } from '../../../src/contract/usage.ts'
import { Instance } from '../../../src/instance/instance.ts'
import { instanceStub, must, rowsOf, type Site } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { close, DOWN, dial, END, MODEL, open, openLine } from '../support/line.ts'
import { expectRest, ledgerOf, setBudget } from '../support/money.ts'

/** Calls on the line as the Instance books them, over HTTP and over its RPC. */

const chatOf = (more: object = {}) => ({ model: MODEL, messages: [{ role: 'user', content: 'Hello' }], ...more })

let site: Site
beforeEach(async () => {
  site = await openLine()
})

const providerAnswers = (status: number, body: object) =>
  vi.spyOn(globalThis, 'fetch').mockImplementation(async () => Response.json(body, { status }))

const COMPLETION = {
  id: 'c',
  model: 'gpt-5-mini',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hi', refusal: null }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1000, completion_tokens: 1000, total_tokens: 2000 },
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
    await close(await open(), unsent)
    await expectRest(site, { settled_usd: 0, presumed_usd: 0, attempts: 0 })
  })

  test('of which nothing was sent is nothing, also where no price is known', async () => {
    const ofOurs = { model: 'vllm/any', expected: { inputTokens: 1, outputTokens: 1 } }
    await must(200, site.send('PUT', '/providers/vllm', { json: { base_url: 'https://vllm.example/v1' } }))
    const json = { name: 'main', secret: 'none-of-the-tests' }
    await must(201, site.send('POST', '/providers/vllm/credentials', { json }))
    const unsent = { ...END, fault: fault('no_provider', 'It cannot be opened.'), usage: usageOf({}) }
    await close(await open({ candidates: [ofOurs] }), unsent)
    await expectRest(site, { attempts: 0, unpriced_attempts: 0 })
  })
})

describe('calls that were answered', () => {
  const answered = { ...END, delivered: true, usage: usageOf({ inputTokens: 1000, outputTokens: 1000 }) }

  test('are settled together, each once, however often that is told', async () => {
    const refs = await Promise.all(Array.from({ length: 5 }, () => open()))
    const told = toWire([...refs, ...refs].map((ref) => ({ ref, end: answered })))
    await Promise.all([instanceStub('prod').settleCalls(told), instanceStub('prod').settleCalls(told)])
    await instanceStub('prod').settleCalls(told)
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
  test.each(['provider_timeout', 'outcome_unknown'] as const)(
    'and may have to be paid is asked of no other model: %s',
    async (code) => {
      await must(200, site.send('PUT', '/providers/vllm', { json: { base_url: 'https://vllm.example/v1' } }))
      const json = { name: 'main', secret: 'none-of-the-tests' }
      await must(201, site.send('POST', '/providers/vllm/credentials', { json }))
      const expected = { inputTokens: 1000, outputTokens: 1000 }
      const candidates = [MODEL, 'vllm/any'].map((model) => ({ model, expected }))
      const ended = await close(await open({ candidates }), { ...END, fault: fault(code, 'Nobody knows.') })
      expect(ended).toMatchObject({ next: 'end', fault: { code } })
      const { presumed_usd } = await ledgerOf(site)
      expect(presumed_usd).toBeGreaterThan(0)
      // What cost nothing is: so it was for the fault.
      let next = await close(await open({ candidates }), DOWN)
      for (let tries = 0; next.next === 'attempt' && next.opening.model === MODEL && tries < 3; tries += 1)
        next = await close(next.opening, DOWN)
      expect(next).toMatchObject({ next: 'attempt', opening: { model: 'vllm/any' } })
    },
  )

  test('and whose next turn does not come in time is not told that somebody canceled it', async () => {
    const next = await close(await open(), { ...DOWN, waitMs: 0 })
    expect(next).toMatchObject({ next: 'end', fault: null })
    await expectRest(site, { attempts: 0 })
  })

  test.each([
    ['', async () => {}],
    [', with a crash between', () => abortAllDurableObjects()],
  ])(
    'goes on with its next attempt also where that answer was lost and is asked for again%s',
    async (_what, between) => {
      const first = await open()
      const next = { next: 'attempt', opening: { job: first.job, attempt: 2 } }
      expect(await close(first, { ...DOWN, waitMs: 2_000 })).toMatchObject(next)
      await between()
      expect(await close(first, { ...DOWN, waitMs: 2_000 })).toMatchObject(next)
      expect((await site.job(first.job)).status).toBe('running')
      expect((await ledgerOf(site)).presumed_usd).toBe(0)
    },
  )

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

describe('a call that waits for its turn', () => {
  const waiting = async () => {
    await must(200, site.send('PUT', '/providers/openai', { json: { limits: { concurrency: 1 } } }))
    const first = await open()
    const opened = dial()
    const [row] = await eventually('it waits', async () => {
      const rows = await rowsOf('prod', "SELECT id FROM jobs WHERE status = 'queued'")
      return rows.length === 1 && rows
    })
    return { first, opened, id: String(row?.['id']) }
  }

  test('is told that its budget has no room where that is why it ended', async () => {
    const { first, opened } = await waiting()
    await setBudget(site, 'instance', 0.000001)
    await close(first, { ...END, delivered: true, usage: usageOf({ inputTokens: 1000, outputTokens: 1000 }) })
    expect(await opened).toMatchObject({ ok: false, fault: { code: 'budget_exceeded' } })
  })

  test('is told that it was canceled where somebody did', async () => {
    const { opened, id } = await waiting()
    await must(200, site.send('POST', `/jobs/${id}/cancel`))
    expect(await opened).toMatchObject({ ok: false, fault: { code: 'canceled' } })
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
