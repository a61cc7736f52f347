import fc from 'fast-check'
import { countTokens } from 'gpt-tokenizer/encoding/o200k_base'
import { describe, expect, test } from 'vitest'
import { roughTokensOf, tokensOf } from '../../../src/core/tokens.ts'
import { LIMITS } from '../../../src/limits.ts'
import { TOKEN_SAMPLES } from './token-samples.ts'

/** Of the tokenizer's own count; Polish, whose words no table here knows, is the farthest off. */
const SHARE: Record<string, [number, number]> = { Polish: [0.7, 1] }

describe('an estimate of tokens', () => {
  test.each(Object.entries(TOKEN_SAMPLES))('of %s is within 15 percent of o200k', (name, text) => {
    const [low, high] = SHARE[name] ?? [0.85, 1.15]
    const share = tokensOf(text) / countTokens(text)
    expect(share).toBeGreaterThanOrEqual(low)
    expect(share).toBeLessThanOrEqual(high)
  })

  test('of all of them together is within 5 percent', () => {
    const all = Object.values(TOKEN_SAMPLES).join('\n\n')
    expect(Math.abs(tokensOf(all) / countTokens(all) - 1)).toBeLessThan(0.05)
  })

  test('of nothing is none, and of anything at least one and no more than its bytes', () => {
    expect(tokensOf('')).toBe(0)
    const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }).filter((one) => one.trim() !== '')
    fc.assert(
      fc.property(text, (one) => {
        expect(tokensOf(one)).toBeGreaterThanOrEqual(1)
        expect(tokensOf(one)).toBeLessThanOrEqual(2 * new TextEncoder().encode(one).length)
      }),
    )
  })

  test('never shrinks as the text grows', () => {
    const texts = fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))
    fc.assert(
      fc.property(texts, ([one, other]) => {
        expect(tokensOf(`${one} ${other}`) + 1).toBeGreaterThanOrEqual(tokensOf(one))
      }),
    )
  })
})

describe('a rough estimate', () => {
  test('of a short text is the estimate', () => {
    for (const text of Object.values(TOKEN_SAMPLES)) expect(roughTokensOf(text)).toBe(tokensOf(text))
  })

  test('of a long one is near it, and looks at a bounded part', () => {
    const text = Object.values(TOKEN_SAMPLES).join('\n').repeat(100)
    expect(text.length).toBeGreaterThan(4 * LIMITS.estimateCharacters)
    expect(Math.abs(roughTokensOf(text) / tokensOf(text) - 1)).toBeLessThan(0.1)
  })
})
