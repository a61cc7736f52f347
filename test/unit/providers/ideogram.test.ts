import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createHttp, type Fetch, type Http } from '../../../src/providers/http.ts'
import { ideogram } from '../../../src/providers/ideogram.ts'
import type { Call, Outcome, Wait } from '../../../src/providers/provider.ts'
import { type IdeogramEmulator, startIdeogram } from '../../emulators/ideogram.ts'
import { describeProvider, drive } from './contract-suite.ts'
import { withListedPrice } from './listed-cost.ts'

const SECRET = 'ideogram-secret-1'
const start = () => startIdeogram({ apiKeys: [SECRET], draw: false })

for (const mode of ['async', 'sync'] as const) {
  const subject = mode === 'async' ? ideogram : synchronous()
  describeProvider({
    provider: subject,
    models: ['ideogram-3', 'ideogram-4', 'ideogram-4-5', 'auto'],
    start: async () => {
      const emulator = await start()
      return { baseUrl: emulator.url, secret: SECRET, stats: () => emulator.stats(), close: () => emulator.close() }
    },
    prompts: {
      ok: 'a lighthouse at dawn',
      rejected: 'a lighthouse at dawn [[reject]]',
      badInput: 'a lighthouse at dawn [[fail:400]]',
      rateLimited: 'a lighthouse at dawn [[fail:429:inflight_limit]]',
      quotaExhausted: 'a lighthouse at dawn [[fail:402:insufficient_funds]]',
      unavailable: 'a lighthouse at dawn [[fail:503]]',
      cutBefore: 'a lighthouse at dawn [[cut_before]]',
      cutAfter: 'a lighthouse at dawn [[cut_after]]',
      garbage: 'a lighthouse at dawn [[garbage]]',
      malformed: 'a lighthouse at dawn [[malformed]]',
      truncated: 'a lighthouse at dawn [[truncated]]',
      stall: 'a lighthouse at dawn [[stall]]',
      unsafe: 'a lighthouse at dawn [[unsafe]]',
    },
  })
}

/** The same adapter, every job asking for the synchronous way. */
function synchronous(): typeof ideogram {
  const sync = (call: Call): Call => ({
    ...call,
    input: { ...call.input, provider_options: { ideogram: { mode: 'sync' } } },
  })
  return { ...ideogram, start: (call, http) => ideogram.start(sync(call), http) }
}

describe('Ideogram', () => {
  let emulator: IdeogramEmulator
  beforeAll(async () => {
    emulator = await start()
  })
  afterAll(() => emulator.close())

  const http = createHttp({ timeoutMs: 5_000, allowPrivate: true })
  const call = (prompt: string, more: Partial<Call> = {}): Call =>
    withListedPrice('ideogram', {
      job: 'job_01',
      attempt: 1,
      type: 'image.generate@1',
      model: 'ideogram-3',
      input: { prompt },
      baseUrl: emulator.url,
      secret: SECRET,
      maxCostMicros: null,
      nowMs: Date.now(),
      ...more,
    })
  const optioned = (prompt: string, options: Record<string, string>, more: Partial<Call> = {}): Call =>
    call(prompt, { ...more, input: { prompt, provider_options: { ideogram: options } } })
  const waitOf = (outcome: Outcome): Wait => {
    if (outcome.kind !== 'wait') throw new Error(`expected wait, got ${JSON.stringify(outcome)}`)
    return outcome
  }
  /** A transport that answers without a network, and remembers what it was sent. */
  const answering = (status: number, body: unknown, headers: Record<string, string> = {}) => {
    const sent: { url: string; json: unknown }[] = []
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const send: Http['send'] = async ({ url, json }) => {
      sent.push({ url, json })
      return { kind: 'answered', status, headers: new Headers(headers), body: text }
    }
    return { sent, send }
  }
  const checkpoint = { generation_id: 'g1', quoted_micros: 60_000, polls: 0, poll_errors: 0 }

  it('bills a finished job by what the provider says it used', async () => {
    const done = await drive(ideogram, call('a cat', { input: { prompt: 'a cat', count: 2, quality: 'high' } }))
    expect(done).toMatchObject({ kind: 'done', costMicros: 180_000, providerRequestId: expect.any(String) })
  })

  it('takes the listed price for the cost of a synchronous job, and the quote where none is listed', async () => {
    expect(await drive(ideogram, optioned('a cat', { mode: 'sync' }))).toMatchObject({ costMicros: 60_000 })
    const low = optioned('a cat', { mode: 'sync', quality: 'low' }, { model: 'ideogram-4-5' })
    expect(await drive(ideogram, low)).toMatchObject({ costMicros: 30_000 })
  })

  it('speaks v1 where a job asks for it', async () => {
    const done = await drive(ideogram, optioned('a cat', { api: 'v1', rendering_speed: 'turbo', magic_prompt: 'off' }))
    expect(done).toMatchObject({ kind: 'done', costMicros: 30_000, providerRequestId: null })
    expect(emulator.stats().generations.at(-1)).toMatchObject({ api: 'v1', async: false })
  })

  it('works behind a base URL with a path and a slash at its end', async () => {
    const transport = answering(200, { generation_id: 'g1' })
    await ideogram.start(call('a cat', { baseUrl: 'https://proxy.example/ideogram//' }), transport)
    expect(transport.sent[0]?.url).toBe('https://proxy.example/ideogram/v2/image/generate/ideogram-3')
  })

  describe('with a limit on cost', () => {
    it.each<[string, number, number]>([
      ['ideogram-3', 59_999, 60_000],
      ['ideogram-4-5', 99_999, 100_000],
      // An estimate: its upper bound counts.
      ['auto', 29_999, 30_000],
    ])('buys with %s nothing for %i micros and an image for %i', async (model, less, enough) => {
      const before = emulator.stats().accepted
      const refused = await drive(ideogram, call('a cat', { model, maxCostMicros: less }))
      expect(refused).toMatchObject({ kind: 'fault', code: 'budget_exceeded' })
      expect(emulator.stats().accepted).toBe(before)
      expect(await drive(ideogram, call('a cat', { model, maxCostMicros: enough }))).toMatchObject({ kind: 'done' })
    })

    it('buys nothing where the price cannot be learned', async () => {
      const before = emulator.stats().accepted
      for (const [fault, code] of [
        ['[[quote_fail:503]]', 'provider_unavailable'],
        ['[[quote_fail:401]]', 'provider_auth_failed'],
        ['[[quote_fail:429]]', 'provider_rate_limited'],
      ]) {
        const outcome = await drive(ideogram, call(`a cat ${fault}`, { maxCostMicros: 1_000_000 }))
        expect(outcome).toMatchObject({ kind: 'fault', code })
      }
      const v1 = optioned('a cat', { api: 'v1', rendering_speed: 'flash' }, { maxCostMicros: 1_000_000 })
      expect(await drive(ideogram, v1)).toMatchObject({ kind: 'fault', code: 'budget_exceeded' })
      expect(emulator.stats().accepted).toBe(before)
    })

    it('calls a lost quote unavailable, since nothing was bought', async () => {
      const lost: Http = { send: async () => ({ kind: 'lost', message: 'x' }) }
      expect(await ideogram.start(call('a cat', { maxCostMicros: 1 }), lost)).toMatchObject({
        code: 'provider_unavailable',
      })
      const late: Http = { send: async () => ({ kind: 'timeout', message: 'x' }) }
      expect(await ideogram.start(call('a cat', { maxCostMicros: 1 }), late)).toMatchObject({
        code: 'provider_unavailable',
      })
    })
  })

  it('buys without a limit even where the quote fails', async () => {
    const auto = call('a cat [[quote_fail:503]]', { model: 'auto' })
    expect(await drive(ideogram, auto)).toMatchObject({ kind: 'done' })
  })

  it('asks for no quote where the list knows the price and no limit stands', async () => {
    const before = emulator.stats().quotes
    await drive(ideogram, call('a cat'))
    expect(emulator.stats().quotes).toBe(before)
  })

  describe('refusing a request', () => {
    it.each<[string, AttemptFaultCode]>([
      ['fail:400', 'provider_rejected'],
      ['fail:401', 'provider_auth_failed'],
      ['fail:403', 'provider_auth_failed'],
      ['fail:422', 'content_rejected'],
      ['fail:402', 'provider_quota_exhausted'],
      ['fail:429', 'provider_rate_limited'],
      ['fail:402:inflight_limit', 'provider_rate_limited'],
      ['fail:429:inflight_limit', 'provider_rate_limited'],
      ['fail:429:insufficient_funds', 'provider_quota_exhausted'],
      ['fail:429:subscription_required', 'provider_quota_exhausted'],
      ['fail:429:daily_limit', 'provider_quota_exhausted'],
      ['fail:429:priority_credit_required', 'provider_quota_exhausted'],
      ['fail:402:feature_limit', 'provider_quota_exhausted'],
      ['fail:500', 'provider_unavailable'],
      ['fail:503', 'provider_unavailable'],
    ])('with %s is %s', async (directive, code) => {
      expect(await drive(ideogram, call(`a cat [[${directive}]]`))).toMatchObject({ kind: 'fault', code })
    })

    it.each<[number, AttemptFaultCode]>([
      [302, 'provider_protocol_error'],
      [404, 'provider_rejected'],
      [408, 'provider_timeout'],
      [413, 'provider_rejected'],
      [502, 'provider_unavailable'],
      [504, 'provider_unavailable'],
      [520, 'outcome_unknown'],
      [521, 'provider_unavailable'],
      [524, 'outcome_unknown'],
    ])('with a status of %i is %s', async (status, code) => {
      expect(await ideogram.start(call('a cat'), answering(status, 'no'))).toMatchObject({ kind: 'fault', code })
    })

    it('waits a second for a place in flight, or as long as it is told', async () => {
      const inflight = { error: 'x', reject_reason: 'inflight_limit' }
      const start = (body: unknown, headers = {}) =>
        ideogram.start(call('a cat', { nowMs: 0 }), answering(429, body, headers))
      expect(await start(inflight)).toMatchObject({ retryAfterMs: 1_000 })
      expect(await start(inflight, { 'retry-after': '4' })).toMatchObject({ retryAfterMs: 4_000 })
      expect(await start('', { 'retry-after': '7' })).toMatchObject({ retryAfterMs: 7_000 })
      expect(await start('', { 'retry-after': '9999999' })).toMatchObject({ retryAfterMs: LIMITS.retryAfterMaxMs })
      expect(await start('')).not.toHaveProperty('retryAfterMs')
    })

    it("passes the provider's words on only where they do not echo the prompt", async () => {
      const say = (error: string) => ideogram.start(call('a lighthouse at dawn'), answering(400, { error }))
      expect(await say('seed is too large')).toMatchObject({ message: expect.stringContaining('seed is too large') })
      for (const echo of ['bad: a lighthouse at dawn', 'bad: "LIGHTHOUSE AT DAWN"', `bad key ${SECRET}`]) {
        expect(await say(echo)).toMatchObject({ message: 'Ideogram refused the request (status 400).' })
      }
    })
  })

  describe('while it generates', () => {
    it('is polled soon, then every two seconds', async () => {
      let wait = waitOf(await ideogram.start(call('a cat [[slow:60000]]'), http))
      const pace = [wait.pollAfterMs]
      for (let polls = 0; polls < 6; polls += 1) {
        wait = waitOf(await ideogram.poll(call('a cat'), wait.checkpoint, http))
        pace.push(wait.pollAfterMs)
      }
      expect(pace).toEqual([500, 500, 1_000, 1_000, 2_000, 2_000, 2_000])
    })

    it.each(['poll_fail:500:3', 'poll_fail:503:9', 'poll_fail:429:2', 'poll_cut:5'])(
      'survives %s',
      async (directive) => {
        const before = emulator.stats().accepted
        expect(await drive(ideogram, call(`a cat [[${directive}]]`))).toMatchObject({
          kind: 'done',
          costMicros: 60_000,
        })
        expect(emulator.stats().accepted).toBe(before + 1)
      },
    )

    it('gives up after ten failed polls in a row, with longer waits between, and keeps the checkpoint', async () => {
      let outcome: Outcome = await ideogram.start(call('a cat [[poll_fail:500:10]]'), http)
      const waits: number[] = []
      while (outcome.kind === 'wait') {
        waits.push(outcome.pollAfterMs)
        outcome = await ideogram.poll(call('a cat'), outcome.checkpoint, http)
      }
      expect(waits.slice(1)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
      expect(outcome).toMatchObject({ kind: 'fault', code: 'provider_unavailable', checkpoint: { poll_errors: 0 } })
      if (outcome.kind !== 'fault' || outcome.checkpoint === undefined) throw new Error('no checkpoint')
      expect(await ideogram.poll(call('a cat'), outcome.checkpoint, http)).toMatchObject({ kind: 'done' })
    })

    it('counts failed polls anew after one that was answered', async () => {
      const pending = answering(200, { generation_id: 'g1', status: 'pending' })
      const wait = waitOf(await ideogram.poll(call('a cat'), { ...checkpoint, poll_errors: 9 }, pending))
      expect(wait.checkpoint).toMatchObject({ poll_errors: 0, polls: 1 })
    })

    it.each<[string, unknown]>([
      ['garbage', '<!doctype html>'],
      ['another generation', { generation_id: 'g2', status: 'pending' }],
      ['an unknown status', { generation_id: 'g1', status: 'dreaming' }],
      ['no images', { generation_id: 'g1', status: 'completed', data: [] }],
      ['a negative cost', { generation_id: 'g1', status: 'completed', usage_cost_usd_micros: -1, data: [] }],
    ])('asks again where a poll brings %s', async (_what, body) => {
      const wait = waitOf(await ideogram.poll(call('a cat'), checkpoint, answering(200, body)))
      expect(wait.checkpoint).toMatchObject({ poll_errors: 1 })
    })

    it.each<[number, AttemptFaultCode]>([
      [401, 'provider_auth_failed'],
      [404, 'provider_protocol_error'],
    ])('faults with its checkpoint where a poll is answered with %i', async (status, code) => {
      const outcome = await ideogram.poll(call('a cat'), checkpoint, answering(status, {}))
      expect(outcome).toMatchObject({ kind: 'fault', code, checkpoint })
    })

    it('keeps its checkpoint when it is canceled', async () => {
      const ended: Http = { send: async () => ({ kind: 'aborted', message: 'x' }) }
      expect(await ideogram.poll(call('a cat'), checkpoint, ended)).toMatchObject({ code: 'canceled', checkpoint })
    })

    it.each<[string, AttemptFaultCode]>([
      ['safety_check_failed', 'content_rejected'],
      ['Prohibited content', 'content_rejected'],
      ['internal', 'provider_unavailable'],
    ])('failing with the reason %s is %s, without a checkpoint', async (reason, code) => {
      const outcome = await drive(ideogram, call(`a cat [[async_fail:${reason}]]`))
      expect(outcome).toMatchObject({ kind: 'fault', code })
      expect(outcome).not.toHaveProperty('checkpoint')
    })

    it('is not bought again blindly where it failed after it was billed', async () => {
      const body = { generation_id: 'g1', status: 'failed', failure_reason: 'internal', usage_cost_usd_micros: 60_000 }
      const outcome = await ideogram.poll(call('a cat'), checkpoint, answering(200, body))
      expect(outcome).toMatchObject({ code: 'outcome_unknown', costMicros: 60_000 })
    })

    it('lists the images it withholds beside those it gives', async () => {
      const image = { url: 'https://ideogram.ai/a.png', prompt: 'p', resolution: '1x1', is_image_safe: true, seed: 1 }
      const data = [
        { ...image, is_image_safe: false, url: null },
        image,
        { ...image, url: '' },
        { ...image, is_image_safe: false },
      ]
      const body = { generation_id: 'g1', status: 'completed', data }
      expect(await ideogram.poll(call('a cat'), checkpoint, answering(200, body))).toEqual({
        kind: 'done',
        images: [
          { safe: false, source: null, seed: 1 },
          { safe: true, source: { url: 'https://ideogram.ai/a.png' }, seed: 1 },
          { safe: false, source: null, seed: 1 },
          { safe: false, source: null, seed: 1 },
        ],
        providerRequestId: 'g1',
        costMicros: 60_000,
      })
    })
  })

  it('sends its secret in one header, and nowhere else', async () => {
    const seen: string[] = []
    const fetch: Fetch = async (url, init) => {
      const { headers, ...rest } = init
      expect(new Headers(headers).get('api-key')).toBe(SECRET)
      seen.push(url, JSON.stringify(rest), typeof init.body === 'string' ? init.body : '')
      return globalThis.fetch(url, init)
    }
    await drive(ideogram, call('a cat', { maxCostMicros: 60_000 }), { fetch })
    expect(seen.join()).not.toContain(SECRET)
  })
})
