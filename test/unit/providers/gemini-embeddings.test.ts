import fc from 'fast-check'
import * as v from 'valibot'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { EmbedInput } from '../../../src/contract/embedding.ts'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { geminiText } from '../../../src/providers/gemini-text.ts'
import { shortened } from '../../emulators/gemini/embeddings.ts'
import { problemWith, requests } from '../../emulators/gemini/spec.ts'
import { type GeminiEmulator, startGemini } from '../../emulators/gemini.ts'
import { embed, NOW_MS } from './text-call.ts'

let gemini: GeminiEmulator
const at = (model = 'gemini-embedding-001') => ({ baseUrl: gemini.url, secret: 'AIza-good', model })
const dialect = geminiText.embed
const card = geminiText.embedModels[0]
if (!dialect || !card) throw new Error('Gemini embeds')

beforeAll(async () => {
  gemini = await startGemini({ apiKeys: ['AIza-good'] })
})
afterEach(() => gemini.reset())
afterAll(() => gemini.close())

describe('an embedding', () => {
  it('is the provider’s vector to the last bit, in the order of the inputs', async () => {
    const texts = ['a lamp', 'the sea', 'a lamp']
    const { outcome, dropped } = await embed(geminiText, at(), { input: texts, user: 'ann' })
    if (outcome.kind !== 'completed') throw new Error(outcome.message)
    expect(outcome.vectors).toEqual(texts.map((text) => shortened(text, 3_072)))
    expect(outcome).toMatchObject({ model: 'gemini-embedding-001', usage: { outputTokens: 0 } })
    expect(outcome.usage?.inputTokens).toBe(gemini.stats().tokens.prompt)
    expect(dropped).toEqual(['user'])
  })

  it.each([1, 2, 100])('comes for each of %i inputs', async (count) => {
    const input = Array.from({ length: count }, (_, number) => `text ${number}`)
    const { outcome } = await embed(geminiText, at(), { input: count === 1 ? (input[0] ?? '') : input })
    expect(outcome.kind === 'completed' && outcome.vectors.length).toBe(count)
    expect(gemini.stats().accepted).toBe(1)
  })

  it('that is shortened still has a length of one, and its direction', async () => {
    const { outcome } = await embed(geminiText, at('gemini-embedding-2'), { input: 'a lamp', dimensions: 256 })
    const [vector] = outcome.kind === 'completed' ? outcome.vectors : []
    const cut = shortened('a lamp', 256)
    expect(vector?.length).toBe(256)
    expect(Math.hypot(...(vector ?? []))).toBeCloseTo(1, 5)
    expect(Math.hypot(...cut)).toBeLessThan(0.5)
    const ratio = (vector?.[0] ?? 0) / (cut[0] ?? 1)
    for (const [place, value] of (vector ?? []).entries()) expect(value).toBeCloseTo((cut[place] ?? 0) * ratio, 5)
  })

  it('is asked for with the provider’s own options', async () => {
    const options = { google: { taskType: 'RETRIEVAL_DOCUMENT', title: 'lamps' } }
    const { body, outcome } = await embed(geminiText, at(), { input: 'a lamp', provider_options: options })
    expect(body['requests']).toMatchObject([{ taskType: 'RETRIEVAL_DOCUMENT', title: 'lamps' }])
    expect(outcome.kind).toBe('completed')
  })

  it.each<[string, AttemptFaultCode]>([
    ['[[fail:400]] [[reason:API_KEY_INVALID]]', 'provider_auth_failed'],
    ['[[fail:429]] [[retry:2s]]', 'provider_rate_limited'],
    ['[[fail:429]] [[quota:EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier]]', 'provider_quota_exhausted'],
  ])('that fails with %s is %s', async (directive, code) => {
    const { outcome } = await embed(geminiText, at(), { input: `a private text ${directive}` })
    expect(outcome).toMatchObject({ kind: 'fault', code })
    expect(JSON.stringify(outcome)).not.toMatch(/private text|AIza-good/)
  })

  it.each<[string, unknown]>([
    ['too few', { embeddings: [{ values: [1, 2] }] }],
    ['too many', { embeddings: [{ values: [1] }, { values: [1] }, { values: [1] }] }],
    ['of unlike lengths', { embeddings: [{ values: [1, 2] }, { values: [1] }] }],
    ['empty', { embeddings: [{ values: [] }, { values: [] }] }],
    ['no numbers', { embeddings: [{ values: [1] }, { values: ['1'] }] }],
    ['missing', { embeddings: [null, null] }],
  ])('in an answer whose vectors are %s cannot be read', (_what, body) => {
    const call = { card, input: { input: ['a', 'b'] }, baseUrl: '', secret: 's', nowMs: NOW_MS }
    const answer = { kind: 'answered' as const, status: 200, headers: new Headers(), body: JSON.stringify(body) }
    expect(dialect.decode(call, answer)).toMatchObject({ kind: 'fault', code: 'provider_protocol_error' })
  })
})

describe('a request to embed', () => {
  it.each<[EmbedInput, string]>([
    [{ input: [1, 2] }, 'input'],
    [{ input: [[1], [2]] }, 'input'],
    [{ input: Array.from({ length: 101 }, () => 'x') }, 'input'],
    [{ input: 'x', dimensions: 3_073 }, 'dimensions'],
    [{ input: 'x', provider_options: { google: { model: 'y' } } }, 'provider_options.google.model'],
    [{ input: 'x', provider_options: { google: { taskType: 'SING' } } }, 'provider_options.google.taskType'],
  ])('%j is refused at %s', (input, param) => {
    expect(dialect.refuses(card, input)).toMatchObject({ param })
  })

  it('is refused or one that the reference knows', () => {
    const text = fc.string({ minLength: 1, maxLength: 20 })
    const raw = fc.record(
      {
        input: fc.oneof(text, fc.array(text, { minLength: 1, maxLength: 120 }), fc.array(fc.nat(), { minLength: 1 })),
        dimensions: fc.integer({ min: 1, max: 4_000 }),
        user: text,
      },
      { requiredKeys: ['input'] },
    )
    let sent = 0
    fc.assert(
      fc.property(raw, (given) => {
        const input = v.parse(EmbedInput, given)
        if (dialect.refuses(card, input)) return
        sent += 1
        const { body } = dialect.encode({ card, input, baseUrl: 'https://x', secret: 's', nowMs: 0 })
        expect(problemWith(requests.batchEmbedContents, body)).toBeUndefined()
      }),
      { numRuns: 500 },
    )
    expect(sent).toBeGreaterThan(100)
  })
})
