import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { createHttp, type Fetch, type Http } from '../../../src/providers/http.ts'
import type { Call, Outcome, Wait } from '../../../src/providers/provider.ts'
import { replicate } from '../../../src/providers/replicate.ts'
import { type ReplicateEmulator, startReplicate } from '../../emulators/replicate.ts'
import { describeProvider, drive } from './contract-suite.ts'
import { withListedPrice } from './listed-cost.ts'

const SECRET = 'r8_replicate-secret-1'
const SCHNELL = 'black-forest-labs/flux-schnell'
const start = () => startReplicate({ apiKeys: [SECRET], draw: false })

for (const mode of ['asynchronous', 'wait, as recorded', 'wait, final'] as const) {
  describe(mode, () => {
    describeProvider({
      provider: mode === 'asynchronous' ? replicate : waiting(),
      models: [
        SCHNELL,
        'black-forest-labs/flux-dev',
        'black-forest-labs/flux-1.1-pro',
        'black-forest-labs/flux-1.1-pro-ultra',
        'ideogram-ai/ideogram-v3-turbo',
      ],
      start: async () => {
        const emulator = await start()
        emulator.control({ waitAnswer: mode === 'wait, final' ? 'final' : 'recorded' })
        return {
          baseUrl: `${emulator.url}/v1`,
          secret: SECRET,
          stats: () => emulator.stats(),
          close: () => emulator.close(),
        }
      },
      prompts: {
        ok: 'a lighthouse at dawn',
        rejected: 'a lighthouse at dawn [[reject]]',
        badInput: 'a lighthouse at dawn [[fail:422]]',
        rateLimited: 'a lighthouse at dawn [[fail:429]]',
        quotaExhausted: 'a lighthouse at dawn [[fail:402]]',
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
  })
}

/** The same adapter, every job asking to be held until the result. */
function waiting(): typeof replicate {
  const held = (call: Call): Call => ({
    ...call,
    input: { ...call.input, provider_options: { replicate: { wait: 5 } } },
  })
  return { ...replicate, start: (call, http) => replicate.start(held(call), http) }
}

describe('Replicate', () => {
  let emulator: ReplicateEmulator
  beforeAll(async () => {
    emulator = await start()
  })
  afterEach(() => emulator.reset())
  afterAll(() => emulator.close())

  const http = createHttp({ timeoutMs: 5_000, allowPrivate: true })
  const call = (prompt: string, more: Partial<Call> = {}): Call =>
    withListedPrice('replicate', {
      job: 'job_01',
      attempt: 1,
      type: 'image.generate@1',
      model: SCHNELL,
      input: { prompt },
      baseUrl: `${emulator.url}/v1`,
      secret: SECRET,
      maxCostMicros: null,
      nowMs: Date.now(),
      ...more,
    })
  const optioned = (prompt: string, options: Record<string, string | number>): Call =>
    call(prompt, { input: { prompt, provider_options: { replicate: options } } })
  const waitOf = (outcome: Outcome): Wait => {
    if (outcome.kind !== 'wait') throw new Error(`expected wait, got ${JSON.stringify(outcome)}`)
    return outcome
  }
  /** A transport that answers without a network, and remembers what it was sent. */
  const answering = (status: number, body: unknown, headers: Record<string, string> = {}, cut?: 'too_long') => {
    const sent: Parameters<Http['send']>[0][] = []
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const send: Http['send'] = async (request) => {
      sent.push(request)
      return { kind: 'answered', status, headers: new Headers(headers), body: text, ...(cut ? { cut } : {}) }
    }
    return { sent, send }
  }
  const checkpoint = { prediction_id: 'p1', seed: 7, micros_per_image: 3_000, polls: 0, poll_errors: 0 }
  const prediction = (more: object) => ({
    id: 'p1',
    status: 'succeeded',
    output: ['https://replicate.delivery/a'],
    ...more,
  })

  it('is asked for without waiting, and known by its id at once', async () => {
    const transport = answering(201, prediction({ status: 'starting', output: null }))
    const started = waitOf(await replicate.start(call('a cat'), transport))
    expect(transport.sent).toMatchObject([{ headers: { authorization: `Bearer ${SECRET}` } }])
    expect(transport.sent[0]?.headers).not.toHaveProperty('prefer')
    expect(transport.sent[0]?.json).not.toHaveProperty('webhook')
    expect(started).toMatchObject({ providerRequestId: 'p1', checkpoint: { prediction_id: 'p1' } })
  })

  it('costs what the list says for each image that came', async () => {
    const done = await drive(replicate, call('a cat', { input: { prompt: 'a cat', count: 3 } }))
    expect(done).toMatchObject({ kind: 'done', costMicros: 9_000 })
    const fewer = answering(
      200,
      prediction({ output: ['https://replicate.delivery/a', 'https://replicate.delivery/b'] }),
    )
    expect(await replicate.poll(call('a cat'), checkpoint, fewer)).toMatchObject({ kind: 'done', costMicros: 6_000 })
    const unlisted = call('a cat', { costOf: () => null })
    expect(await replicate.poll(unlisted, checkpoint, answering(200, prediction({})))).toMatchObject({
      kind: 'done',
      costMicros: null,
    })
  })

  it('names the seed its images were made with: the given one, or one of its own for every attempt', async () => {
    const seeds = async (more: Partial<Call>) => {
      const done = await drive(replicate, call('a cat', more))
      return done.kind === 'done' ? done.images[0]?.seed : null
    }
    expect(await seeds({ input: { prompt: 'a cat', seed: 7 } })).toBe(7)
    const [first, again, second, other] = [
      await seeds({}),
      await seeds({}),
      await seeds({ attempt: 2 }),
      await seeds({ job: 'job_02' }),
    ]
    expect(first).toBe(again)
    expect(new Set([first, second, other]).size).toBe(3)
  })

  it('works behind a base URL with a path and a slash at its end', async () => {
    const transport = answering(201, prediction({ status: 'starting' }))
    await replicate.start(call('a cat', { baseUrl: 'https://proxy.example/replicate/v1//' }), transport)
    expect(transport.sent[0]?.url).toBe(`https://proxy.example/replicate/v1/models/${SCHNELL}/predictions`)
  })

  it('gives its webhook, marked with the job and attempt, and is then polled less often', async () => {
    const transport = answering(201, prediction({ status: 'starting' }))
    const hooked = call('a cat', { webhookUrl: 'https://host.example/hooks/replicate?x=1' })
    const wait = waitOf(await replicate.start(hooked, transport))
    expect(transport.sent[0]?.json).toMatchObject({
      webhook: 'https://host.example/hooks/replicate?x=1&job=job_01&attempt=1',
      webhook_events_filter: ['completed'],
    })
    expect(wait.pollAfterMs).toBe(2_000)
  })

  it.each([
    [2_999, 3_000],
    [8_999, 9_000],
  ])('buys nothing for %i micros and its images for %i', async (less, enough) => {
    const input = { prompt: 'a cat', count: enough / 3_000 }
    const refused = await drive(replicate, call('a cat', { input, maxCostMicros: less }))
    expect(refused).toMatchObject({ kind: 'fault', code: 'budget_exceeded' })
    expect(emulator.stats().created).toBe(0)
    expect(await drive(replicate, call('a cat', { input, maxCostMicros: enough }))).toMatchObject({ kind: 'done' })
  })

  describe('held until the result', () => {
    it('takes an answer that is still "processing" but holds the whole output', async () => {
      const transport = answering(201, prediction({ status: 'processing', output: ['data:image/png;base64,AAAA'] }))
      expect(await replicate.start(optioned('a cat', { wait: 60 }), transport)).toMatchObject({
        kind: 'done',
        images: [{ source: { base64: 'AAAA' } }],
      })
      expect(transport.sent[0]?.headers).toMatchObject({ prefer: 'wait=60' })
    })

    it('waits on where the output is not whole, or the time is up', async () => {
      const two = { prompt: 'a cat', count: 2, provider_options: { replicate: { wait: 1 } } }
      const one = answering(201, prediction({ status: 'processing' }))
      waitOf(await replicate.start(call('a cat', { input: two }), one))
      const slow = await replicate.start(optioned('a cat [[slow:60000]]', { wait: 1 }), http)
      expect(waitOf(slow).checkpoint).toMatchObject({ polls: 0 })
    })

    it('goes on with the id where the answer was too long to be read', async () => {
      const cut = answering(201, '{"id":"p9","output":["data:image/png;base64,AAAA', {}, 'too_long')
      expect(waitOf(await replicate.start(optioned('a cat', { wait: 5 }), cut)).providerRequestId).toBe('p9')
    })
  })

  describe('refusing a request', () => {
    it.each<[number, AttemptFaultCode]>([
      [302, 'provider_protocol_error'],
      [400, 'provider_rejected'],
      [401, 'provider_auth_failed'],
      [402, 'provider_quota_exhausted'],
      [403, 'provider_auth_failed'],
      [404, 'provider_rejected'],
      [408, 'provider_timeout'],
      [413, 'provider_rejected'],
      [422, 'provider_rejected'],
      [429, 'provider_rate_limited'],
      [500, 'provider_unavailable'],
      [502, 'provider_unavailable'],
      [503, 'provider_unavailable'],
      [520, 'outcome_unknown'],
      [521, 'provider_unavailable'],
      [524, 'outcome_unknown'],
    ])('with a status of %i is %s', async (status, code) => {
      expect(await replicate.start(call('a cat'), answering(status, 'no'))).toMatchObject({ kind: 'fault', code })
    })

    it.each<[string, Record<string, string>, object, number]>([
      ['the header', { 'retry-after': '4', 'ratelimit-reset': '9' }, { retry_after: 8 }, 4_000],
      ['the body', { 'ratelimit-reset': '9' }, { retry_after: 8 }, 8_000],
      ['the rate limit', { 'ratelimit-reset': '9' }, {}, 9_000],
    ])('asks for the wait that %s names', async (_what, headers, body, retryAfterMs) => {
      expect(await replicate.start(call('a cat'), answering(429, body, headers))).toMatchObject({ retryAfterMs })
    })

    it('asks for the wait that its real limit needs', async () => {
      emulator.control({ createsPerMinute: 6, createsBurst: 1 })
      await replicate.start(call('a cat'), http)
      const limited = await replicate.start(call('a cat'), http)
      expect(limited).toMatchObject({ code: 'provider_rate_limited', retryAfterMs: 10_000 })
    })

    it("passes the provider's words on only where they do not echo the prompt", async () => {
      const say = (detail: string) => replicate.start(call('a lighthouse at dawn'), answering(422, { detail }))
      expect(await say('- input.seed: too large')).toMatchObject({ message: expect.stringContaining('too large') })
      for (const echo of ['bad: a lighthouse at dawn', `bad key ${SECRET}`]) {
        expect(await say(echo)).toMatchObject({ message: 'Replicate refused the request (status 422).' })
      }
    })
  })

  describe('while it runs', () => {
    it('is polled soon, then every two seconds', async () => {
      let wait = waitOf(await replicate.start(call('a cat [[slow:60000]]'), http))
      const pace = [wait.pollAfterMs]
      for (let polls = 0; polls < 5; polls += 1) {
        wait = waitOf(await replicate.poll(call('a cat'), wait.checkpoint, http))
        pace.push(wait.pollAfterMs)
      }
      expect(pace).toEqual([500, 500, 1_000, 1_000, 2_000, 2_000])
    })

    it.each(['poll_fail:500:3', 'poll_fail:503:9', 'poll_fail:429:2', 'poll_cut:5'])(
      'survives %s',
      async (directive) => {
        expect(await drive(replicate, call(`a cat [[${directive}]]`))).toMatchObject({
          kind: 'done',
          costMicros: 3_000,
        })
        expect(emulator.stats().accepted).toBe(1)
      },
    )

    it('gives up after ten failed polls in a row, keeps the checkpoint, and goes on from it', async () => {
      const outcome = await drive(replicate, call('a cat [[poll_fail:500:10]]'))
      expect(outcome).toMatchObject({ kind: 'fault', code: 'provider_unavailable', checkpoint: { poll_errors: 0 } })
      if (outcome.kind !== 'fault' || outcome.checkpoint === undefined) throw new Error('no checkpoint')
      expect(await replicate.poll(call('a cat'), outcome.checkpoint, http)).toMatchObject({ kind: 'done' })
    })

    it.each<[string, unknown]>([
      ['garbage', '<!doctype html>'],
      ['another prediction', prediction({ id: 'p2' })],
      ['an unknown status', prediction({ status: 'dreaming' })],
    ])('asks again where a poll brings %s', async (_what, body) => {
      const wait = waitOf(await replicate.poll(call('a cat'), checkpoint, answering(200, body)))
      expect(wait.checkpoint).toMatchObject({ poll_errors: 1 })
    })

    it.each<[number, AttemptFaultCode]>([
      [401, 'provider_auth_failed'],
      [404, 'provider_protocol_error'],
    ])('faults with its checkpoint where a poll is answered with %i', async (status, code) => {
      const outcome = await replicate.poll(call('a cat'), checkpoint, answering(status, {}))
      expect(outcome).toMatchObject({ kind: 'fault', code, checkpoint })
    })

    it.each<[string, object, AttemptFaultCode]>([
      [
        'flagged',
        { status: 'failed', error: 'The input or output was flagged as sensitive. (E005)' },
        'content_rejected',
      ],
      ['NSFW', { status: 'failed', error: 'NSFW content detected. Try a different prompt.' }, 'content_rejected'],
      ['bad input', { status: 'failed', error: 'The input was invalid. (E006)' }, 'provider_rejected'],
      ['anything else', { status: 'failed', error: { code: 'E1001' } }, 'provider_unavailable'],
      ['no reason', { status: 'failed', error: null }, 'provider_unavailable'],
      ['cancelled by others', { status: 'canceled' }, 'canceled'],
      ['aborted', { status: 'aborted' }, 'provider_unavailable'],
      ['removed', { output: null, data_removed: true }, 'outcome_unknown'],
      ['empty', { output: [] }, 'outcome_unknown'],
      ['unreadable', { output: { image: 'x' } }, 'outcome_unknown'],
    ])('ending as %s is a fault without a checkpoint', async (_what, more, code) => {
      const outcome = await replicate.poll(call('a cat'), checkpoint, answering(200, prediction({ ...more })))
      expect(outcome).toMatchObject({ kind: 'fault', code, providerRequestId: 'p1' })
      expect(outcome).not.toHaveProperty('checkpoint')
    })

    it.each(['The input or output was flagged as sensitive. (E005)', 'NSFW content detected. Try a different prompt.'])(
      'that made nothing and says "%s" cost nothing',
      async (error) => {
        const outcome = await replicate.poll(
          call('a cat'),
          checkpoint,
          answering(200, prediction({ status: 'failed', error })),
        )
        expect(outcome).toMatchObject({ code: 'content_rejected', costMicros: 0 })
      },
    )

    it('is canceled when asked, and makes nothing', async () => {
      const { checkpoint: running } = waitOf(await replicate.start(call('a cat [[slow:60000]]'), http))
      await replicate.cancel?.(call('a cat'), running, http)
      expect(emulator.stats()).toMatchObject({ canceled: 1, inflight: 0, billed_usd_micros: 0 })
      expect(await replicate.poll(call('a cat'), running, http)).toMatchObject({ code: 'canceled' })
    })

    it.each<[string, number, boolean]>([
      ['a checkpoint it cannot read', 200, false],
      ['a prediction that is gone', 404, true],
    ])('takes a cancel with %s in silence', async (_what, status, known) => {
      const transport = answering(status, {})
      await replicate.cancel?.(call('a cat'), known ? checkpoint : 'x', transport)
      expect(transport.sent).toHaveLength(known ? 1 : 0)
    })
  })

  it('sends its secret in one header, and nowhere else', async () => {
    const seen: string[] = []
    const fetch: Fetch = async (url, init) => {
      const { headers, ...rest } = init
      expect(new Headers(headers).get('authorization')).toBe(`Bearer ${SECRET}`)
      seen.push(url, JSON.stringify(rest))
      return globalThis.fetch(url, init)
    }
    await drive(replicate, call('a cat'), { fetch })
    expect(seen.join()).not.toContain(SECRET)
  })
})
