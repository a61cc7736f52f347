import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { classifyNetworkError } from '../../../src/providers/network-error.ts'
import { quotedText } from '../../../src/providers/quoted-text.ts'
import { findModel, modelsFor, PROVIDERS, providerOf } from '../../../src/providers/registry.ts'
import { retryAfterMs } from '../../../src/providers/retry-after.ts'

const coded = (code: string): Error => new TypeError('fetch failed', { cause: Object.assign(new Error(), { code }) })

describe('a network error', () => {
  it.each(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH'])(
    'with %s proves that nothing was sent',
    (code) => {
      expect(classifyNetworkError(coded(code))).toBe('unsent')
    },
  )

  it.each([
    coded('ECONNRESET'),
    coded('UND_ERR_SOCKET'),
    coded('ETIMEDOUT'),
    new Error('Network connection lost.'),
    Object.assign(new Error('Network connection lost.'), { retryable: true, remote: true }),
    new Error('internal error; reference = 5egoa37s0eg16gs646tkrub1'),
    'a string',
    undefined,
  ])('that leaves doubt is lost: %s', (error) => {
    expect(classifyNetworkError(error)).toBe('lost')
  })
})

describe('Retry-After', () => {
  const now = Date.parse('2026-11-20T12:00:00Z')
  it.each<[string, number | null]>([
    ['0', 0],
    ['7', 7_000],
    ['1.5', 1_500],
    [' 3 ', 3_000],
    ['Fri, 20 Nov 2026 12:00:30 GMT', 30_000],
    ['Fri, 20 Nov 2026 11:00:00 GMT', 0],
    ['99999999999', LIMITS.retryAfterMaxMs],
    ['Fri, 20 Nov 2099 12:00:00 GMT', LIMITS.retryAfterMaxMs],
    ['soon', null],
    ['', null],
  ])('%j asks for %s ms', (text, wait) => {
    expect(retryAfterMs(new Headers({ 'retry-after': text }), now)).toBe(wait)
  })

  it('is null where there is none', () => {
    expect(retryAfterMs(new Headers(), now)).toBeNull()
  })
})

describe("a provider's own words", () => {
  it.each<[string, string | null]>([
    ['Invalid seed.', 'Invalid seed.'],
    ['Invalid prompt: a lighthouse at dawn over the sea', null],
    ['Invalid prompt: "LIGHTHOUSE AT DAWN" is not allowed', null],
    ['Key sk-secret-1 is bad', null],
    ['see https://example.com/?sig=1 for help', 'see (a link) for help'],
    ['two\n\tlines\u0000', 'two lines'],
    ['', null],
  ])('%j becomes %j', (text, quoted) => {
    expect(quotedText(text, ['a lighthouse at dawn over the sea', undefined, 'sk-secret-1'])).toBe(quoted)
  })

  it('are kept short', () => {
    expect(quotedText('x'.repeat(5_000), [])?.length).toBe(200)
  })

  it('are told exactly where they share no run of twelve with a private text, wherever it lies', () => {
    const some = (letters: string, length: number) =>
      fc.string({ unit: fc.constantFrom(...letters), minLength: length, maxLength: 40 })
    let echoed = 0
    fc.assert(
      fc.property(some('abc', 0), some('abd', 13), fc.nat(28), fc.nat(28), (around, secret, from, length) => {
        const said = `-${around}${secret.slice(from, from + length)}${around}`
        const runs = Array.from({ length: Math.max(0, said.length - 11) }, (_, at) => said.slice(at, at + 12))
        const echoes = runs.some((run) => secret.includes(run))
        echoed += echoes ? 1 : 0
        expect(quotedText(said, [secret])).toBe(echoes ? null : said)
      }),
      { numRuns: 500 },
    )
    expect(echoed).toBeGreaterThan(20)
  })
})

describe('the registry', () => {
  it('finds every model it lists by its full name, and nothing else', () => {
    for (const provider of PROVIDERS) {
      expect(providerOf(provider.id)).toBe(provider)
      for (const card of provider.models) expect(findModel(`${provider.id}/${card.model}`)).toEqual({ provider, card })
    }
    for (const name of ['ideogram', 'ideogram/', '/ideogram-3', 'nobody/ideogram-3', 'ideogram/ideogram-9', '']) {
      expect(findModel(name)).toBeNull()
    }
  })

  it('lists the models of a node type', () => {
    expect(modelsFor('image.generate@1').length).toBeGreaterThan(0)
    expect(modelsFor('text.generate@1')).toEqual([])
  })
})
