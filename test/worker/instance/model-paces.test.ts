import { evictDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import { fault } from '../../../src/contract/fault.ts'
import type { CallEnd, OpenCall } from '../../../src/contract/foreground-rpc.ts'
import type { ProviderView } from '../../../src/contract/instance.ts'
import type { Job } from '../../../src/contract/job.ts'
import { usageOf } from '../../../src/contract/usage.ts'
import { LIMITS } from '../../../src/limits.ts'
import { exec, letPass } from '../support/actor.ts'
import { instanceStub, must, openSite, rowsOf, type Site } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { failing as failingImage, fakeIdeogram } from '../support/fake-ideogram.ts'
import { chatJob, completion, EMBED, embedJob, type FakeTexts, failing, GPT, openTexts } from '../support/fake-texts.ts'
import { close, END, open, openLine } from '../support/line.ts'

/** Providers that count by model: what one model is told concerns that one, and the others go on. */

const OTHER = 'openai/gpt-4o-mini'
const NAME = 'instance:prod:provider:openai'
const PACE = `${NAME}:pace:gpt-5-mini`
const LIMITED = { error: { message: 'slow down', type: 'requests', code: 'rate_limit_exceeded' } }
const tooFast = (seconds: number) => failing(429, LIMITED, { 'retry-after': String(seconds) })

let site: Site
const providerView = async (id = 'openai') => (await must(200, site.send<ProviderView>('GET', `/providers/${id}`))).body
const limit = (limits: object, more: object = {}) =>
  must(200, site.send('PUT', '/providers/openai', { json: { limits, ...more } }))

describe('jobs of a provider that counts by model', () => {
  let provider: FakeTexts
  beforeEach(async () => {
    ;({ site, provider } = await openTexts())
  })

  const begin = async (...models: string[]): Promise<Job> =>
    (await must(202, site.send<Job>('POST', '/jobs', { json: chatJob({ models }) }))).body
  const run = async (...models: string[]): Promise<Job> => site.ended((await begin(...models)).id)
  const embed = async (): Promise<Job> =>
    site.ended((await must(202, site.send<Job>('POST', '/jobs', { json: embedJob() }))).body.id)
  const addSecond = () =>
    must(
      201,
      site.send('POST', '/providers/openai/credentials', { json: { name: 'second', secret: 'second-openai-secret' } }),
    )
  const turnedAway = (id: string) =>
    eventually('it is turned away', async () => (await site.job(id)).attempts.at(-1)?.outcome != null)

  test('of one model wait until it may be called again, and those of another begin at once', async () => {
    const clock = movableClock()
    const now = clock.freeze()
    provider.next.openai.push(tooFast(30))
    const refused = await begin(GPT)
    await turnedAway(refused.id)
    const behind = await begin(GPT)
    const until = new Date(now + 30_000).toISOString()
    expect((await site.job(behind.id)).queue).toEqual({
      position: 1,
      waiting_for: 'provider_rate',
      limit: PACE,
      estimated_start_at: until,
    })
    expect(await run(OTHER)).toMatchObject({ status: 'succeeded', model: OTHER })
    expect(await embed()).toMatchObject({ status: 'succeeded', model: EMBED })
    expect((await providerView()).adaptive).toMatchObject({
      share: 1,
      concurrency: 50,
      models: [
        {
          model: GPT,
          credential: null,
          limit: PACE,
          share: 0.5,
          running: 0,
          concurrency: 25,
          requests_per_minute: null,
          tokens_per_minute: null,
          next_request_at: until,
        },
      ],
    })
    await letPass(clock, 29_999)
    for (const { id } of [refused, behind]) expect((await site.job(id)).status).toBe('queued')
    await letPass(clock, 1)
    for (const { id } of [refused, behind]) expect((await site.ended(id)).status).toBe('succeeded')
  })

  test('fall back to another model of the same provider at once', async () => {
    movableClock().freeze()
    provider.next.openai.push(tooFast(30))
    const job = await run(GPT, OTHER)
    expect(job.attempts.map(({ model, outcome }) => [model, outcome])).toEqual([
      [GPT, 'provider_rate_limited'],
      [OTHER, 'done'],
    ])
    // And the next one is not sent there to be refused.
    expect((await run(GPT, OTHER)).attempts.map(({ model }) => model)).toEqual([OTHER])
  })

  test('of a model with nothing left wait for its reset at the pace it had, and nobody else does', async () => {
    const clock = movableClock()
    clock.freeze()
    const told = { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '9s' }
    provider.next.openai.push(() => Response.json(completion('the last'), { headers: told }))
    await run(GPT)
    const next = await begin(GPT)
    expect((await site.job(next.id)).queue).toMatchObject({ waiting_for: 'provider_rate', limit: PACE })
    expect((await run(OTHER)).status).toBe('succeeded')
    expect((await providerView()).adaptive.models).toMatchObject([{ model: GPT, share: 1 }])
    await letPass(clock, 9_000)
    expect((await site.ended(next.id)).status).toBe('succeeded')
    expect((await providerView()).adaptive.models).toEqual([])
    expect(await rowsOf('prod', "SELECT name FROM limiters WHERE name LIKE '%:pace:%'")).toEqual([])
  })

  test('of several credentials go on with the one that was not told so, and with the other at other models', async () => {
    movableClock().freeze()
    await addSecond()
    provider.next.openai.push(tooFast(600))
    const job = await run(GPT)
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_rate_limited', 'done'])
    const secrets = provider.asked.map(({ headers }) => headers.get('authorization'))
    for (let i = 0; i < 8; i += 1) await run(GPT)
    expect(new Set(provider.asked.slice(1).map(({ headers }) => headers.get('authorization')))).toEqual(
      new Set([secrets[1]]),
    )
    const before = provider.asked.length
    for (let i = 0; i < 24; i += 1) await run(OTHER)
    expect(new Set(provider.asked.slice(before).map(({ headers }) => headers.get('authorization'))).size).toBe(2)
    const silent = secrets[0]?.includes('second') ? 'second' : 'main'
    expect((await providerView()).adaptive.models).toMatchObject([
      { model: GPT, credential: silent, limit: `${NAME}:credential:${silent}:pace:gpt-5-mini`, share: 0.5 },
    ])
  })

  test('wait for the first of several credentials, and hold up no other model behind them', async () => {
    const clock = movableClock()
    const now = clock.freeze()
    await addSecond()
    provider.next.openai.push(tooFast(600), tooFast(40))
    const refused = await begin(GPT)
    await eventually('both have refused it', () => provider.asked.length === 2)
    await eventually('it waits', async () => (await site.job(refused.id)).status === 'queued')
    const waiting = await begin(GPT)
    expect((await site.job(waiting.id)).queue).toMatchObject({
      waiting_for: 'provider_rate',
      limit: expect.stringMatching(/:credential:(main|second):pace:gpt-5-mini$/),
      estimated_start_at: new Date(now + 40_000).toISOString(),
    })
    expect((await run(OTHER)).status).toBe('succeeded')
    expect((await site.job(waiting.id)).status).toBe('queued')
    await letPass(clock, 40_000)
    expect((await site.ended(waiting.id)).status).toBe('succeeded')
  })

  test('still wait after a restart of the actor', async () => {
    const clock = movableClock()
    clock.freeze()
    provider.next.openai.push(tooFast(30))
    await turnedAway((await begin(GPT)).id)
    await evictDurableObject(instanceStub('prod'))
    const waiting = await begin(GPT)
    expect((await site.job(waiting.id)).queue).toMatchObject({ waiting_for: 'provider_rate', limit: PACE })
    expect((await run(OTHER)).status).toBe('succeeded')
    await letPass(clock, 30_000)
    expect((await site.ended(waiting.id)).status).toBe('succeeded')
  })

  test('whose account has no quota left wait whatever their model is', async () => {
    movableClock().freeze()
    const empty = { error: { message: 'no money', type: 'insufficient_quota', code: 'insufficient_quota' } }
    provider.next.openai.push(failing(429, empty))
    await run(GPT)
    expect((await site.job((await begin(OTHER)).id)).queue).toMatchObject({ waiting_for: 'breaker' })
    expect((await providerView()).adaptive.models).toEqual([])
  })
})

test('where a provider counts by account, what one model is told holds for all of them', async () => {
  movableClock().freeze()
  const provider = fakeIdeogram()
  site = await openSite('prod')
  provider.next.generate.push(failingImage(429, { reject_reason: 'inflight_limit' }, { 'retry-after': '30' }))
  const refused = await site.begin({ models: ['ideogram/ideogram-4'] })
  await eventually('it is turned away', async () => (await site.job(refused.id)).attempts.at(-1)?.outcome != null)
  const other = await site.begin({ models: ['ideogram/ideogram-3'] })
  expect((await site.job(other.id)).queue).toMatchObject({
    waiting_for: 'provider_rate',
    limit: 'instance:prod:provider:ideogram',
  })
  expect((await providerView('ideogram')).adaptive).toMatchObject({ share: 0.5, concurrency: 5, models: [] })
})

describe('the pace of a model', () => {
  const of = (model: string): Partial<OpenCall> => ({
    candidates: [{ model, expected: { inputTokens: 100, outputTokens: 100 } }],
    waitMs: 1,
  })
  const told = (remaining: number, resetAfterMs: number): CallEnd => ({
    ...END,
    rate: { requests: { remaining, resetAfterMs }, tokens: null },
  })
  const refusedFor = (ms: number): CallEnd => ({
    ...END,
    fault: fault('provider_rate_limited', 'Slow down.', { source: 'provider', retryAfterMs: ms }),
    waitMs: 0,
  })
  const serve = async (model: string, end = END) => close(await open(of(model)), end)
  const cannotBegin = (model: string) => expect(open(of(model))).rejects.toThrow('limits')

  beforeEach(async () => {
    site = await openLine()
  })

  test('is its own cap within the limits of its provider, of which the others keep the rest', async () => {
    const clock = movableClock()
    clock.freeze()
    await limit({ requests_per_minute: 100 })
    await serve(GPT, told(10, 60_000))
    expect((await providerView()).adaptive).toMatchObject({
      share: 1,
      requests_per_minute: 100,
      models: [{ model: GPT, share: 0.1, requests_per_minute: 10 }],
    })
    await letPass(clock, 60_000)
    await serve(GPT, { ...refusedFor(0), fault: fault('provider_rejected', 'no', { source: 'provider' }) })
    await cannotBegin(GPT)
    for (let i = 0; i < 9; i += 1) await serve(OTHER)
    // The bucket of the provider: ten at once.
    await cannotBegin(OTHER)
  })

  test('is measured against the limit of the model where that is the tighter one', async () => {
    await limit({ requests_per_minute: 100 }, { models: { 'gpt-5-mini': { limits: { requests_per_minute: 20 } } } })
    await serve(GPT, told(10, 60_000))
    expect((await providerView()).adaptive.models).toMatchObject([{ model: GPT, share: 0.5, requests_per_minute: 10 }])
    await limit({ requests_per_minute: 10 })
    expect((await providerView()).adaptive.models).toMatchObject([{ share: 0.5, requests_per_minute: 5 }])
  })

  test('owes as many calls as before when the limits are raised, not as much time', async () => {
    const clock = movableClock()
    clock.freeze()
    await limit({ requests_per_minute: 10 })
    await serve(GPT, told(1, 60_000))
    await letPass(clock, 120_000)
    const rejected = { ...END, fault: fault('provider_rejected', 'no', { source: 'provider' }) }
    await serve(GPT, rejected)
    await cannotBegin(GPT)
    await limit({ requests_per_minute: 1_000 })
    await serve(GPT, rejected)
  })

  test('in tokens lets out what is expected to fit, and gives back what was not used', async () => {
    movableClock().freeze()
    await limit({ tokens_per_minute: 12_000 })
    const tokens = { remaining: 3_000, resetAfterMs: 60_000 }
    await serve(GPT, { ...END, usage: usageOf({ inputTokens: 200 }), rate: { requests: null, tokens } })
    expect((await providerView()).adaptive.models).toMatchObject([{ share: 0.25, tokens_per_minute: 3_000 }])
    // 300 at once: one call of 200, and more of them only where they come back.
    const rejected = { ...END, fault: fault('provider_rejected', 'no', { source: 'provider' }), usage: usageOf({}) }
    for (let i = 0; i < 5; i += 1) await serve(GPT, rejected)
    await close(await open(of(GPT)), { ...rejected, usage: usageOf({ inputTokens: 200 }) })
    await cannotBegin(GPT)
    await serve(OTHER)
  })

  test('counts the calls that are under way when it is learned', async () => {
    const clock = movableClock()
    clock.freeze()
    await limit({ concurrency: 4 })
    const calls = [await open(of(GPT)), await open(of(GPT)), await open(of(GPT))]
    const [refused, ...others] = calls
    if (refused) await close(refused, refusedFor(1_000))
    expect((await providerView()).adaptive.models).toMatchObject([{ running: 2, concurrency: 2 }])
    await letPass(clock, 1_000)
    await cannotBegin(GPT)
    const other = await open(of(OTHER))
    await close(other, END)
    await evictDurableObject(instanceStub('prod'))
    await cannotBegin(GPT)
    for (const call of others) await close(call, END)
    await close(await open(of(GPT)), END)
    expect((await providerView()).adaptive.models).toMatchObject([{ running: 0 }])
  })

  test('widens with its own successes only, and is forgotten when nothing is left of it', async () => {
    const clock = movableClock()
    clock.freeze()
    await serve(GPT, refusedFor(1))
    await letPass(clock, 1)
    await serve(OTHER)
    expect((await providerView()).adaptive.models).toMatchObject([{ model: GPT, share: 0.5 }])
    for (let share = 0.5; share < 0.99; share += LIMITS.adaptiveStep) await serve(GPT)
    expect((await providerView()).adaptive.models).toEqual([])
    expect(await rowsOf('prod', "SELECT name FROM limiters WHERE name LIKE '%:pace:%'")).toEqual([])
    const lines = await rowsOf('prod', "SELECT event, data FROM log WHERE event LIKE 'limits.%' ORDER BY seq, number")
    expect(lines.map(({ event, data }) => [event, JSON.parse(String(data))])).toEqual([
      ['limits.narrowed', { provider: 'openai', model: GPT, share: 0.5 }],
      ['limits.restored', { provider: 'openai', model: GPT }],
    ])
  })

  test('costs a call no row where nothing was learned', async () => {
    await limit({ requests_per_minute: 600 })
    await serve(GPT, told(50_000, 60_000))
    expect(await rowsOf('prod', 'SELECT name FROM limiters')).toEqual([{ name: NAME }])
  })

  test('is forgotten with its credential', async () => {
    movableClock().freeze()
    const second = { name: 'second', secret: 'sk-second-of-the-tests-0123456789' }
    await must(201, site.send('POST', '/providers/openai/credentials', { json: second }))
    await serve(GPT, refusedFor(600_000))
    const [pace] = (await providerView()).adaptive.models
    await must(204, site.send('DELETE', `/providers/openai/credentials/${pace?.credential}`))
    await serve(OTHER)
    expect((await providerView()).adaptive.models).toEqual([])
    expect(await rowsOf('prod', "SELECT name FROM limiters WHERE name LIKE '%:pace:%'")).toEqual([])
  })

  test('is kept of so many models and no more: the oldest are forgotten', async () => {
    movableClock().freeze()
    await exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${LIMITS.pacesRemembered})
      INSERT INTO limiters (name, load) SELECT '${NAME}:pace:model-' || i,
      '{"running":0,"blockedUntilMs":0,"fullAtMs":{},"adaptive":{"share":0.5,"narrowedAtMs":1}}' FROM n`)
    await evictDurableObject(instanceStub('prod'))
    await serve(GPT, refusedFor(1_000))
    const names = (await rowsOf('prod', "SELECT name FROM limiters WHERE name LIKE '%:pace:%'")).map(({ name }) => name)
    expect(names).toHaveLength(LIMITS.pacesRemembered)
    expect(names).toContain(PACE)
  })
})
