import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import type { Json } from '../../../src/contract/fields.ts'
import type { ImageInput } from '../../../src/contract/image.ts'
import { type FetchedFile, fetchFile } from '../../../src/providers/fetch-file.ts'
import { createHttp, type HttpOptions } from '../../../src/providers/http.ts'
import type { Call, Outcome, Provider } from '../../../src/providers/provider.ts'

/** A stand-in for the provider. `accepted` counts the generations it took, which is to say billed. */
export type Stand = {
  baseUrl: string
  secret: string
  stats(): { accepted: number }
  close(): Promise<void>
}

/** Prompts that make the stand-in behave in one way each. Every provider must be able to meet all of these. */
export type Prompts = {
  ok: string
  /** Refused before acceptance, for the reason named. */
  rejected: string
  badInput: string
  rateLimited: string
  quotaExhausted: string
  unavailable: string
  /** The connection ends before, or after, the request was accepted. */
  cutBefore: string
  cutAfter: string
  /** Accepted, and the answer is of no use. */
  garbage: string
  malformed: string
  truncated: string
  stall: string
  unsafe: string
}

export type Subject = {
  provider: Provider
  /** Bare names of the models to run; the first is used where one is enough. */
  models: [string, ...string[]]
  /** The most images that one call makes, where that is fewer than three. */
  countMax?: number
  start(): Promise<Stand>
  prompts: Prompts
}

const http = (options: Partial<HttpOptions> = {}) => createHttp({ timeoutMs: 5_000, allowPrivate: true, ...options })

/** Runs a call to its end, polling at once; fails after a thousand polls. */
export const drive = async (provider: Provider, call: Call, options: Partial<HttpOptions> = {}): Promise<Outcome> => {
  let outcome = await provider.start(call, http(options))
  for (let polls = 0; outcome.kind === 'wait' && polls < 1_000; polls += 1) {
    outcome = await provider.poll(call, outcome.checkpoint, http(options))
  }
  return outcome
}

/** The suite every provider passes unchanged. */
export const describeProvider = ({ provider, models, countMax = 3, start, prompts }: Subject): void => {
  describe(`${provider.id}, as every provider,`, () => {
    let stand: Stand
    const secret = () => stand.secret
    beforeAll(async () => {
      stand = await start()
    })
    afterAll(() => stand.close())

    const call = (prompt: string, more: Partial<Call> = {}, input: Partial<ImageInput> = {}): Call => ({
      job: 'job_01',
      attempt: 1,
      type: 'image.generate@1',
      model: models[0],
      input: { prompt, ...input },
      baseUrl: stand.baseUrl,
      secret: secret(),
      maxCostMicros: null,
      nowMs: Date.now(),
      ...more,
    })
    /** How many generations a piece of work bought. */
    const bought = async <T>(work: () => Promise<T>): Promise<{ value: T; accepted: number }> => {
      const before = stand.stats().accepted
      const value = await work()
      return { value, accepted: stand.stats().accepted - before }
    }
    const expectFault = (outcome: Outcome, code: AttemptFaultCode, prompt: string) => {
      expect(outcome).toMatchObject({ kind: 'fault', code })
      if (outcome.kind !== 'fault') return
      expect(outcome.message.length).toBeLessThan(400)
      expect(outcome.message).not.toContain(prompt)
      expect(outcome.message).not.toContain(secret())
      expect(outcome.message).not.toMatch(/[?&]\w+=/)
    }

    it('describes itself and its models', () => {
      expect(provider.id).toMatch(/^[a-z0-9-]+$/)
      expect(new URL(provider.defaultBaseUrl).protocol).toBe('https:')
      expect(provider.defaultLimits.concurrency).toBeGreaterThan(0)
      expect(new Set(provider.models.map(({ model }) => model)).size).toBe(provider.models.length)
      for (const { types, qualityRank, typicalMs } of provider.models) {
        expect(types.length).toBeGreaterThan(0)
        expect([1, 2, 3, 4, 5]).toContain(qualityRank)
        expect(typicalMs).toBeGreaterThan(0)
      }
    })

    it.each(models)('makes an image with %s, once, and says where it is', async (model) => {
      const { value, accepted } = await bought(() => drive(provider, call(prompts.ok, { model })))
      expect(accepted).toBe(1)
      expect(value).toMatchObject({ kind: 'done', images: [{ safe: true }] })
      if (value.kind !== 'done') return
      expect(value.costMicros === null || value.costMicros > 0).toBe(true)
      const [image] = value.images
      if (!image?.source || !('url' in image.source)) return
      const file = await fetchFile(image.source.url, { allowPrivate: true, timeoutMs: 5_000 })
      expect(file).toMatchObject({ kind: 'file' })
      if (file.kind === 'file') expect((await bytesOf(file)).length).toBeGreaterThan(50)
    })

    it('makes as many images as are asked for', async () => {
      const outcome = await drive(provider, call(prompts.ok, {}, { count: countMax }))
      expect(outcome.kind === 'done' && outcome.images.length).toBe(countMax)
      if (countMax < 3) expect(provider.refuses(models[0], { prompt: prompts.ok, count: 3 })).not.toBeNull()
    })

    it('expects to use what it is asked for, under a name that a list may have, or cannot tell', () => {
      for (const { model } of provider.models) {
        const expected = provider.expects(model, { prompt: prompts.ok, count: Math.min(2, countMax) })
        if (expected === null) continue
        expect(expected.price).toMatch(/^@?[A-Za-z0-9][A-Za-z0-9._:@/-]*$/)
        expect(expected.usage).toMatchObject({ images: Math.min(2, countMax) })
      }
    })

    it.each<[keyof Prompts, AttemptFaultCode]>([
      ['rejected', 'content_rejected'],
      ['badInput', 'provider_rejected'],
      ['rateLimited', 'provider_rate_limited'],
      ['quotaExhausted', 'provider_quota_exhausted'],
      ['unavailable', 'provider_unavailable'],
      ['cutBefore', 'outcome_unknown'],
    ])('that refuses (%s) is %s, and nothing is bought', async (name, code) => {
      const { value, accepted } = await bought(() => drive(provider, call(prompts[name])))
      expectFault(value, code, prompts[name])
      expect(accepted).toBe(0)
    })

    it.each<[keyof Prompts, AttemptFaultCode]>([
      ['cutAfter', 'outcome_unknown'],
      ['garbage', 'outcome_unknown'],
      ['malformed', 'outcome_unknown'],
      ['truncated', 'outcome_unknown'],
      ['stall', 'provider_timeout'],
      ['unsafe', 'content_rejected'],
    ])('that accepts and then fails (%s) is %s, and is asked only once', async (name, code) => {
      const { value, accepted } = await bought(() => drive(provider, call(prompts[name]), { timeoutMs: 300 }))
      expectFault(value, code, prompts[name])
      expect(accepted).toBe(1)
    })

    it('tells a wrong secret', async () => {
      const { value, accepted } = await bought(() => drive(provider, call(prompts.ok, { secret: 'a-wrong-secret' })))
      expectFault(value, 'provider_auth_failed', prompts.ok)
      expect(accepted).toBe(0)
      expect(JSON.stringify(value)).not.toContain('a-wrong-secret')
    })

    it('is unavailable where nobody listens', async () => {
      const server = createServer()
      const port = await new Promise<number>((resolve) =>
        server.listen(0, '127.0.0.1', () => {
          const address = server.address()
          resolve(typeof address === 'object' && address ? address.port : 0)
        }),
      )
      await new Promise((resolve) => server.close(resolve))
      const outcome = await drive(provider, call(prompts.ok, { baseUrl: `http://127.0.0.1:${port}` }))
      expectFault(outcome, 'provider_unavailable', prompts.ok)
    })

    it('is not called at an address the guard refuses', async () => {
      const { value, accepted } = await bought(() => drive(provider, call(prompts.ok), { allowPrivate: false }))
      expectFault(value, 'provider_rejected', prompts.ok)
      expect(accepted).toBe(0)
    })

    it('ends with its caller', async () => {
      const outcome = await drive(provider, call(prompts.stall), { signal: AbortSignal.timeout(50) })
      expectFault(outcome, 'canceled', prompts.stall)
    })

    it('goes on from a checkpoint that went through storage, as often as one likes', async () => {
      const first = call(prompts.ok)
      const { value, accepted } = await bought(async () => {
        const started = await provider.start(first, http())
        if (started.kind !== 'wait') return []
        const text = JSON.stringify(started.checkpoint)
        expect(text.length).toBeLessThan(1_024)
        expect(text).not.toContain(secret())
        expect(started.pollAfterMs).toBeGreaterThan(0)
        const again = async (): Promise<Outcome> => {
          let outcome: Outcome = started
          for (let polls = 0; outcome.kind === 'wait' && polls < 1_000; polls += 1) {
            const kept: Json = polls === 0 ? JSON.parse(text) : outcome.checkpoint
            outcome = await provider.poll(call(prompts.ok, { attempt: 2 }), kept, http())
          }
          return outcome
        }
        return [await again(), await again()]
      })
      expect(accepted).toBe(1)
      expect(value[0]).toEqual(value[1])
      for (const outcome of value) expect(outcome.kind).toBe('done')
    })

    it.each<[string, Json]>([
      ['null', null],
      ['text', 'x'],
      ['another shape', { a: 1 }],
      ['a list', []],
    ])('answers a checkpoint that is %s with a fault', async (_what, checkpoint) => {
      expect(await provider.poll(call(prompts.ok), checkpoint, http())).toMatchObject({ kind: 'fault' })
    })

    it('refuses a model it does not have, and buys nothing for it', async () => {
      const unknown = call(prompts.ok, { model: 'no-such-model' })
      expect(provider.refuses('no-such-model', unknown.input)).toMatchObject({ message: expect.any(String) })
      expect(provider.expects('no-such-model', unknown.input)).toBeNull()
      const { value, accepted } = await bought(() => drive(provider, unknown))
      expectFault(value, 'provider_rejected', prompts.ok)
      expect(accepted).toBe(0)
    })
  })
}

const bytesOf = async (file: Extract<FetchedFile, { kind: 'file' }>): Promise<Uint8Array> =>
  'bytes' in file ? file.bytes : new Response(file.body).bytes()
