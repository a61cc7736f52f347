import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { EmbedInput, EmbedRequest, inputsOf } from '../../../src/contract/embedding.ts'
import { LIMITS } from '../../../src/limits.ts'
import { expectAccepted, expectRefused, type RefusedRow, type Row } from './issues.ts'

const ask = (input: unknown, more: object = {}) => ({ model: 'openai/text-embedding-3-small', input, ...more })
const many = (length: number, value: unknown) => Array.from({ length }, () => value)

const taken: Row[] = [
  ['a text', ask('a')],
  ['texts', ask(['a', 'b'])],
  ['tokens', ask([1, 2])],
  ['lists of tokens', ask([[1, 2], [3]])],
  ['as many as there may be', ask(many(LIMITS.embeddingInputs, 'a'))],
  [
    'all its fields',
    ask('a', { encoding_format: 'base64', dimensions: 256, user: 'u', project: 'p', max_cost_usd: 1 }),
  ],
  ['nulls', ask('a', { dimensions: null, user: null, encoding_format: null })],
]

const refused: RefusedRow[] = [
  ['nothing', { model: 'm' }, 'input'],
  ['an empty text', ask(''), 'input'],
  ['an empty list', ask([]), 'input'],
  ['an empty text among others', ask(['a', '']), 'input.1'],
  ['a number among texts', ask(['a', 1]), 'input.1'],
  ['a text among tokens', ask([1, 'a']), 'input.1'],
  ['an empty list of tokens', ask([[1], []]), 'input.1'],
  ['half a token', ask([[1], [0.5]]), 'input.1.0'],
  ['too many inputs', ask(many(LIMITS.embeddingInputs + 1, 'a')), 'input'],
  ['too many tokens', ask(many(LIMITS.embeddingTokens + 1, 1)), 'input'],
  ['an object', ask({ text: 'a' }), 'input'],
  ['no dimensions', ask('a', { dimensions: 0 }), 'dimensions'],
  ['a format nobody has', ask('a', { encoding_format: 'int8' }), 'encoding_format'],
  ['a misspelt field', ask('a', { dimension: 5 }), 'dimension'],
]

describe('an embedding request', () => {
  it.each(taken)('with %s is taken', (_what, value) => expectAccepted(EmbedRequest, value))
  it.each(refused)('with %s is refused', (_what, value, path) => expectRefused(EmbedRequest, value, path))

  it('is as many inputs as there will be vectors', () => {
    const read = (input: unknown) => inputsOf(v.parse(EmbedInput, { input }).input)
    expect(read('a')).toEqual(['a'])
    expect(read(['a', 'b'])).toEqual(['a', 'b'])
    expect(read([1, 2])).toEqual([[1, 2]])
    expect(read([[1], [2]])).toEqual([[1], [2]])
  })
})
