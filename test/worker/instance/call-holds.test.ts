import { beforeEach, describe, expect, test } from 'vitest'
import type { Completion } from '../../../src/contract/completion.ts'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import { must, rowsOf, type Site } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { CLAUDE, chatJob, completion, type FakeTexts, GPT, openTexts } from '../support/fake-texts.ts'
import { expectRest, ledgerOf, setBudget } from '../support/money.ts'

/** Calls of text that come to all that they can: no budget is exceeded by any of them, and none is held for below its cost. */

let site: Site
let provider: FakeTexts
beforeEach(async () => {
  ;({ site, provider } = await openTexts())
})

/** A prompt of some 180 tokens. */
const PROMPT = 'The light of the tower is seen from afar. '.repeat(20)
const WRITTEN = 190

const chat = (more: Record<string, unknown> = {}) =>
  site.send<Completion & ErrorBody>('POST', '/chat/completions', {
    json: { model: GPT, messages: [{ role: 'user', content: PROMPT }], ...more },
  })

/** So many at once, and once all are booked: those that were let in. */
const together = async (count: number, more: Record<string, unknown>) => {
  const answers = await Promise.all(Array.from({ length: count }, () => chat(more)))
  const letIn = answers.filter(({ status }) => status === 200)
  for (const { status } of answers) expect([200, 402]).toContain(status)
  await eventually('all is booked', async () => {
    const { attempts, held_usd } = await ledgerOf(site)
    return attempts === letIn.length && held_usd === 0
  })
  return { in: letIn.length, out: count - letIn.length, answers: letIn }
}

const expectWithin = async (limit: number) => {
  const ledger = await expectRest(site, { over_hold_usd: 0 })
  expect(ledger.settled_usd + ledger.presumed_usd).toBeLessThanOrEqual(limit)
  return ledger
}

const setPrice = (model: string, rates: Record<string, number>) =>
  must(200, site.send('PUT', `/prices/${model}`, { json: { rates } }))

describe('a prompt that is written to the cache', () => {
  const rates = { input_per_mtok: 400, output_per_mtok: 11 }
  const written = (ttl: '5m' | '1h') => ({
    input_tokens: 0,
    output_tokens: 50,
    cache_creation_input_tokens: WRITTEN,
    cache_creation: {
      ephemeral_5m_input_tokens: ttl === '5m' ? WRITTEN : 0,
      ephemeral_1h_input_tokens: ttl === '1h' ? WRITTEN : 0,
    },
  })
  const answering = (ttl: '5m' | '1h') => () =>
    Response.json({
      ...{ id: 'msg_1', type: 'message', role: 'assistant', model: 'claude-sonnet-4-5', stop_reason: 'end_turn' },
      content: [{ type: 'text', text: 'Yes' }],
      usage: written(ttl),
    })

  test.each([
    ['five minutes', '5m' as const, { ...rates, cache_write_per_mtok: 500, cache_write_1h_per_mtok: 800 }, 'settled'],
    ['an hour', '1h' as const, { ...rates, cache_write_per_mtok: 500, cache_write_1h_per_mtok: 800 }, 'settled'],
    ['an hour, at a price that says nothing of it', '1h' as const, rates, 'presumed'],
  ])('for %s is held for at what writing costs', async (_what, ttl, price, booked) => {
    await setPrice(CLAUDE, price)
    await setBudget(site, 'instance', 1)
    provider.next.anthropic.push(...Array.from({ length: 30 }, () => answering(ttl)))
    const options = { anthropic: { cache_control: { type: 'ephemeral', ttl } } }
    const calls = await together(30, { model: CLAUDE, max_completion_tokens: 50, provider_options: options })
    expect(calls.in).toBeGreaterThan(2)
    expect(calls.out).toBeGreaterThan(2)
    const ledger = await expectWithin(1)
    const each = (WRITTEN * (ttl === '5m' ? 500 : 800) + 50 * 11) / 1_000_000
    expect(booked === 'settled' ? ledger.settled_usd : ledger.presumed_usd).toBeCloseTo(calls.in * each, 6)
  })
})

describe('a tier that costs more', () => {
  test('is held for and presumed by the factor that its provider publishes', async () => {
    await setBudget(site, 'instance', 0.05)
    const usage = { prompt_tokens: 200, completion_tokens: 1_000 }
    const reply = () => Response.json(completion('Yes', { usage, service_tier: 'priority' }))
    provider.next.openai.push(...Array.from({ length: 12 }, () => reply))
    const calls = await together(12, { service_tier: 'priority', max_completion_tokens: 1_000 })
    expect(calls.in).toBeGreaterThan(1)
    expect(calls.out).toBeGreaterThan(2)
    for (const { body } of calls.answers) expect(body.usage?.cost_usd).toBeNull()
    const ledger = await expectWithin(0.05)
    // 200 tokens at 3 micros and 1,000 at 5, two and a half times.
    expect(ledger.presumed_usd).toBeCloseTo(calls.in * 0.014, 6)
    expect(ledger.settled_usd).toBe(0)
  })

  test('of a job is presumed by its use too', async () => {
    const usage = { prompt_tokens: 11, completion_tokens: 7 }
    provider.next.openai.push(() => Response.json(completion('Yes', { usage, service_tier: 'priority' })))
    const { body } = await must(
      202,
      site.send<{ id: string }>('POST', '/jobs', { json: chatJob({}, { service_tier: 'priority' }) }),
    )
    expect(await site.ended(body.id)).toMatchObject({ status: 'succeeded', cost_usd: null })
    await expectRest(site, { presumed_usd: 0.000_17, settled_usd: 0, over_hold_usd: 0 })
  })
})

describe('an answer without a limit', () => {
  /** Writes as much as it is let, or all that the model can. */
  const writesAll = (times: number, promptTokens = 200) =>
    provider.next.openai.push(
      ...Array.from(
        { length: times },
        () =>
          ({ body }: { body: Record<string, unknown> }) =>
            Response.json(
              completion('Yes', {
                usage: { prompt_tokens: promptTokens, completion_tokens: body['max_completion_tokens'] ?? 128_000 },
              }),
            ),
      ),
    )
  const limits = () => provider.asked.map(({ body }) => body['max_completion_tokens'])

  test('is asked for as it stands where no budget bounds it, or one that can pay for all of it', async () => {
    writesAll(2)
    expect((await chat()).headers.get('x-switchyard-output-limit')).toBeNull()
    await setBudget(site, 'instance', 100)
    expect((await chat()).headers.get('x-switchyard-output-limit')).toBeNull()
    expect(limits()).toEqual([undefined, undefined])
  })

  test('gets a limit that a share of the budget buys, which the client is told of, and many at once exceed nothing', async () => {
    await setBudget(site, 'instance', 1)
    writesAll(60)
    const calls = await together(60, {})
    // 64 cents buy all that one can write, and the budget is a dollar: it lets in many all the same.
    expect(calls.in).toBeGreaterThan(15)
    const told = calls.answers.map(({ headers }) => Number(headers.get('x-switchyard-output-limit')))
    expect([...told].sort()).toEqual([...limits()].map(Number).sort())
    for (const limit of told) expect(limit).toBeGreaterThanOrEqual(4_096)
    expect(Math.max(...told)).toBeGreaterThan(12_000)
    await expectWithin(1)
  })

  test('gets a limit that max_cost_usd buys', async () => {
    writesAll(1)
    const { body, headers } = await chat({ max_cost_usd: 0.1 })
    expect(Number(headers.get('x-switchyard-output-limit'))).toBeGreaterThan(19_000)
    expect(body.usage?.cost_usd).toBeLessThanOrEqual(0.1)
    expect(body.usage?.cost_usd).toBeGreaterThan(0.095)
  })

  test('of a client that sets its own limit is never given another', async () => {
    await setBudget(site, 'instance', 1)
    writesAll(1)
    const { headers } = await chat({ max_completion_tokens: 30_000 })
    expect(headers.get('x-switchyard-output-limit')).toBeNull()
    expect(limits()).toEqual([30_000])
    await expectWithin(1)
  })

  test('of a job is limited when it begins, which its event tells, and holds little while it waits', async () => {
    await setBudget(site, 'instance', 1)
    writesAll(1, 8)
    const job = chatJob(
      { not_before: new Date(Date.now() + 86_400_000).toISOString(), deadline_s: 200_000 },
      {
        max_completion_tokens: undefined,
      },
    )
    const waiting = await must(202, site.send<{ held_usd: number }>('POST', '/jobs', { json: job }))
    expect(waiting.body.held_usd).toBeLessThan(0.021)
    const begun = await must(
      202,
      site.send<{ id: string }>('POST', '/jobs', { json: chatJob({}, { max_completion_tokens: undefined }) }),
    )
    await site.ended(begun.body.id)
    const [limit] = limits()
    expect(limit).toBeGreaterThan(12_000)
    const [started] = await rowsOf('prod', "SELECT data FROM events WHERE type = 'job.started'")
    expect(JSON.parse(String(started?.['data'] ?? '{}'))).toMatchObject({ output_limit: limit })
    const ledger = await ledgerOf(site)
    expect(ledger).toMatchObject({ held_usd: waiting.body.held_usd, over_hold_usd: 0, difference_usd: 0 })
  })

  test('that is canceled is presumed at what an answer needs, not at all that was kept free for it', async () => {
    await setBudget(site, 'instance', 1)
    provider.hold()
    const json = chatJob({}, { max_completion_tokens: undefined })
    const { body: job } = await must(202, site.send<{ id: string }>('POST', '/jobs', { json }))
    await eventually('the call hangs', () => provider.open === 1)
    const grown = (await ledgerOf(site)).held_usd
    await must(200, site.send('POST', `/jobs/${job.id}/cancel`))
    provider.release()
    const { presumed_usd } = await expectWithin(1)
    expect(grown).toBeGreaterThan(0.06)
    expect(presumed_usd).toBeGreaterThan(0)
    expect(presumed_usd).toBeLessThan(0.021)
  })

  test('that failed on one model is limited anew on the next', async () => {
    await setBudget(site, 'instance', 1)
    provider.next.openai.push(() => Response.json({ error: { message: 'no', type: 'x' } }, { status: 400 }))
    const { status, headers } = await chat({ models: [CLAUDE] })
    expect([status, headers.get('x-switchyard-model')]).toEqual([200, CLAUDE])
    const asked = provider.asked.find(({ kind }) => kind === 'anthropic')?.body['max_tokens']
    expect(asked).toBe(Number(headers.get('x-switchyard-output-limit')))
    expect(Number(asked)).toBeLessThan(10_000)
    await eventually('it is booked', async () => (await ledgerOf(site)).held_usd === 0)
    await expectWithin(1)
  })
})
