import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { EmbedInput } from '../../../src/contract/embedding.ts'
import { toBase64 } from '../../../src/providers/openai-embeddings.ts'
import { openAiText } from '../../../src/providers/openai-text.ts'
import { workersAi } from '../../../src/providers/workers-ai.ts'
import { vectorOf } from '../../emulators/openai/embeddings.ts'
import { problemWith, requests } from '../../emulators/openai/spec.ts'

describe('an embedding', () => {
  it.each<[string, EmbedInput, string]>([
    ['text-embedding-ada-002', { input: 'a', dimensions: 100 }, 'dimensions'],
    ['text-embedding-3-small', { input: 'a', dimensions: 3_000 }, 'dimensions'],
    ['text-embedding-3-small', { input: 'a', provider_options: { openai: { x: 1 } } }, 'provider_options.openai.x'],
  ])('of %s with %j is refused at %s', (model, input, param) => {
    const card = openAiText.embedModels.find((known) => known.model === model)
    expect(card && openAiText.embed?.refuses(card, input)).toMatchObject({ param })
  })

  it('of tokens is refused by a model that reads text alone', () => {
    const card = workersAi.embedModels[0]
    expect(card && workersAi.embed?.refuses(card, { input: [1, 2] })).toMatchObject({ param: 'input' })
    const many = { input: Array.from({ length: 101 }, () => 'a') }
    expect(card && workersAi.embed?.refuses(card, many)).toMatchObject({ param: 'input' })
  })

  it('of more texts than one answer can bring back is refused before it is bought', () => {
    const texts = (count: number) => ({ input: Array.from({ length: count }, () => 'a') })
    const large = openAiText.embedModels.find(({ model }) => model === 'text-embedding-3-large')
    const refuses = (input: EmbedInput) => large && openAiText.embed?.refuses(large, input)
    expect(refuses(texts(2_048))).toMatchObject({
      param: 'input',
      message: expect.stringMatching(/at most 15\d\d inputs/),
    })
    expect([refuses(texts(1_500)), refuses({ ...texts(2_048), dimensions: 1_024 })]).toEqual([null, null])
  })

  it('that the contract takes is refused by a model or known to the reference', () => {
    const tokens = fc.array(fc.nat(100_000), { minLength: 1, maxLength: 5 })
    const texts = fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 5 })
    const raw = fc.record(
      {
        input: fc.oneof(fc.string({ minLength: 1 }), texts, tokens, fc.array(tokens, { minLength: 1, maxLength: 3 })),
        dimensions: fc.option(fc.integer({ min: 1, max: 4_000 }), { nil: null }),
        user: fc.option(fc.string(), { nil: null }),
      },
      { requiredKeys: ['input'] },
    )
    fc.assert(
      fc.property(raw, fc.constantFrom(...openAiText.embedModels), (value, card) => {
        const input = v.parse(EmbedInput, value)
        if (openAiText.embed?.refuses(card, input)) return
        const encoded = openAiText.embed?.encode({ card, input, baseUrl: '', secret: '', nowMs: 0 })
        const body = JSON.parse(JSON.stringify(encoded?.body))
        expect(problemWith(requests['/embeddings'], body)).toBeUndefined()
      }),
    )
  })

  it.each<[string, unknown]>([
    ['too few', [{ index: 0, embedding: [1] }]],
    [
      'one twice',
      [
        { index: 0, embedding: [1] },
        { index: 0, embedding: [1] },
      ],
    ],
    [
      'another length',
      [
        { index: 0, embedding: [1] },
        { index: 1, embedding: [1, 2] },
      ],
    ],
    [
      'words',
      [
        { index: 0, embedding: ['x'] },
        { index: 1, embedding: [1] },
      ],
    ],
    [
      'half a number',
      [
        { index: 0, embedding: 'AAA=' },
        { index: 1, embedding: [1] },
      ],
    ],
    [
      'no number',
      [
        { index: 0, embedding: 'AADAfw==' },
        { index: 1, embedding: [1] },
      ],
    ],
    ['nothing', []],
  ])('with %s is not taken for vectors', (_what, data) => {
    const card = openAiText.embedModels[0]
    if (!card) throw new Error('no card')
    const call = { card, input: { input: ['a', 'b'] }, baseUrl: '', secret: 'sk', nowMs: 0 }
    const body = JSON.stringify({ object: 'list', data, model: 'm' })
    const answer = { kind: 'answered' as const, status: 200, headers: new Headers(), body }
    expect(openAiText.embed?.decode(call, answer)).toMatchObject({ code: 'provider_protocol_error' })
  })

  it('goes to base64 as clients read it', () => {
    fc.assert(
      fc.property(fc.float32Array({ minLength: 1, noNaN: true }), (vector) => {
        const bytes = Buffer.from(toBase64(vector), 'base64')
        const read = Float32Array.from({ length: vector.length }, (_, at) => bytes.readFloatLE(at * 4))
        expect(read).toEqual(vector)
      }),
    )
    expect(Buffer.from(toBase64(vectorOf('long', 16_384)), 'base64').length).toBe(65_536)
  })
})
