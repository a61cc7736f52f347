import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createHttp, type Http } from '../../../src/providers/http.ts'
import type { Call, Outcome } from '../../../src/providers/provider.ts'
import { replicate } from '../../../src/providers/replicate.ts'
import { reconcile } from '../../../src/providers/replicate-reconcile.ts'
import { type ReplicateEmulator, startReplicate } from '../../emulators/replicate.ts'
import { withListedPrice } from './listed-cost.ts'

const SECRET = 'r8_replicate-secret-1'
const SCHNELL = 'black-forest-labs/flux-schnell'
/** Later than a create may take to be listed. */
const LATER_MS = 31_000

describe('A create whose answer was lost', () => {
  let emulator: ReplicateEmulator
  let sinceMs: number
  beforeAll(async () => {
    emulator = await startReplicate({ apiKeys: [SECRET], draw: false })
    sinceMs = Date.now()
  })
  afterEach(() => emulator.reset())
  afterAll(() => emulator.close())

  const http = createHttp({ timeoutMs: 5_000, allowPrivate: true })
  /** Does not wait for an answer that never comes. */
  const hasty = createHttp({ timeoutMs: 300, allowPrivate: true })
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
      nowMs: sinceMs,
      ...more,
    })
  const seek = (lost: Call, afterMs = LATER_MS) => reconcile({ ...lost, nowMs: sinceMs + afterMs }, http, sinceMs)
  const finish = async (lost: Call, outcome: Outcome | null) => {
    if (outcome?.kind !== 'wait') throw new Error(`expected wait, got ${JSON.stringify(outcome)}`)
    return replicate.poll(lost, outcome.checkpoint, http)
  }
  const others = async (count: number, input: Call['input'] = { prompt: 'a cat' }) => {
    for (let at = 0; at < count; at += 1) await replicate.start(call('', { job: `job_other_${at}`, input }), http)
  }

  it.each(['cut_after', 'stall', 'garbage', 'malformed', 'truncated'])(
    'by %s is found again and finished, and bought once',
    async (directive) => {
      await others(3)
      const lost = call(`a cat [[${directive}]]`)
      expect(await replicate.start(lost, hasty)).toMatchObject({ kind: 'fault' })
      await others(3)
      const { accepted, predictions } = emulator.stats()
      const found = await seek(lost, 0)
      expect(found).toMatchObject({ kind: 'wait', providerRequestId: predictions[3]?.id })
      expect(await finish(lost, found)).toMatchObject({ kind: 'done', costMicros: 3_000 })
      expect(emulator.stats().accepted).toBe(accepted)
    },
  )

  it('before it was accepted is surely absent, once the list has had time', async () => {
    await others(3)
    const lost = call('a cat [[cut_before]]')
    expect(await replicate.start(lost, http)).toMatchObject({ kind: 'fault', code: 'outcome_unknown' })
    expect(await seek(lost, 10_000)).toMatchObject({ code: 'outcome_unknown', retryAfterMs: 20_000 })
    expect(await seek(lost)).toBeNull()
  })

  it('is found where the list lags behind, by asking again', async () => {
    const lost = call('a cat [[cut_after]]')
    await replicate.start(lost, http)
    emulator.control({ listLagMs: 60_000 })
    expect(await seek(lost, 1_000)).toMatchObject({ code: 'outcome_unknown', retryAfterMs: 29_000 })
    emulator.control({ listLagMs: 0 })
    expect(await seek(lost, 30_000)).toMatchObject({ kind: 'wait' })
  })

  it('is found on a later page, and its secret follows no foreign link', async () => {
    const lost = call('a cat [[cut_after]]')
    await replicate.start(lost, http)
    await others(7)
    emulator.control({ pageSize: 3 })
    const asked: string[] = []
    const foreign: Http = {
      send: async (request) => {
        asked.push(new URL(request.url).origin)
        const result = await http.send(request)
        const body =
          'body' in result ? result.body.replaceAll(`"next":"${emulator.url}`, '"next":"https://evil.example') : ''
        return result.kind === 'answered' ? { ...result, body } : result
      },
    }
    expect(await reconcile(lost, foreign, sinceMs)).toMatchObject({ kind: 'wait' })
    expect(asked).toEqual([emulator.url, emulator.url, emulator.url])
  })

  it('of another attempt of the same job is not taken for it', async () => {
    await replicate.start(call('a cat [[cut_after]]', { attempt: 2 }), http)
    expect(await seek(call('a cat [[cut_after]]'))).toBeNull()
  })

  it('that asked for nothing the model takes was never sent', async () => {
    expect(await seek(call('a cat', { input: { prompt: 'a cat', count: 9 } }))).toBeNull()
    expect(emulator.stats().lists).toBe(0)
  })

  describe("with the user's own seed", () => {
    const seeded = { prompt: 'a cat [[cut_after]]', seed: 7 }

    it('cannot be told from the same input of another job', async () => {
      emulator.control({ showWebhook: false })
      const lost = call('', { input: seeded })
      await replicate.start({ ...lost, job: 'job_02' }, http)
      expect(await seek(lost)).toMatchObject({ kind: 'fault', code: 'outcome_unknown' })
    })

    it('is told by its webhook, wherever that leads', async () => {
      const lost = call('', { input: seeded, webhookUrl: 'https://host.example/hook' })
      await replicate.start({ ...lost, job: 'job_02' }, http)
      expect(await seek(lost)).toBeNull()
      await replicate.start(lost, http)
      const moved = { ...lost, webhookUrl: 'https://moved.example/hook' }
      expect(await seek(moved)).toMatchObject({ kind: 'wait', providerRequestId: emulator.stats().predictions[1]?.id })
    })

    it('is absent where no prediction has that seed, or none with it that prompt', async () => {
      await others(2)
      await others(1, { prompt: 'a dog', seed: 7 })
      expect(await seek(call('', { input: seeded }))).toBeNull()
    })
  })

  it('cannot be told where a prediction of that time has lost its input', async () => {
    await others(1)
    emulator.control({ clockOffsetMs: 3_600_001 })
    expect(await seek(call('a cat'))).toMatchObject({ kind: 'fault', code: 'outcome_unknown' })
  })

  it('is not mistaken for what another client of the account makes without a seed, which we never do', async () => {
    const theirs = { id: 'p1', status: 'succeeded', model: SCHNELL, input: { prompt: 'a cat' }, output: null }
    const body = JSON.stringify({ results: [theirs], next: null })
    const shared: Http = { send: async () => ({ kind: 'answered', status: 200, headers: new Headers(), body }) }
    const seekThere = (input: Call['input']) =>
      reconcile({ ...call('', { input }), nowMs: sinceMs + LATER_MS }, shared, sinceMs)
    expect(await seekThere({ prompt: 'a cat' })).toBeNull()
    expect(await seekThere({ prompt: 'a cat', seed: 7 })).toBeNull()
  })

  it('cannot be told while the list fails, and never calls for buying anew', async () => {
    emulator.control({ listFailures: 1 })
    const lost = call('a cat [[cut_after]]')
    await replicate.start(lost, http)
    expect(await seek(lost)).toMatchObject({ code: 'outcome_unknown', retryAfterMs: 5_000 })
    expect(await seek({ ...lost, secret: 'wrong' })).toMatchObject({ code: 'outcome_unknown' })
    expect(await seek({ ...lost, baseUrl: 'http://127.0.0.1:1' })).toMatchObject({ code: 'outcome_unknown' })
    for (const body of ['x', '{"results":[{"id":1}]}', '{"results":[],"next":"no url"}']) {
      const broken: Http = { send: async () => ({ kind: 'answered', status: 200, headers: new Headers(), body }) }
      expect(await reconcile(lost, broken, sinceMs - LATER_MS)).toMatchObject({ code: 'outcome_unknown' })
    }
    expect(await seek(lost)).toMatchObject({ kind: 'wait' })
  })

  it('cannot be told from a list without an end', async () => {
    const endless: Http = {
      send: async ({ url }) => {
        const body = JSON.stringify({ results: [], next: url })
        return { kind: 'answered', status: 200, headers: new Headers(), body }
      },
    }
    expect(await reconcile(call('a cat'), endless, 0)).toMatchObject({ code: 'outcome_unknown' })
  })
})
