import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Candidate, type Preference, rankCandidates, reasonOf } from '../../../src/core/choice.ts'

const NOW = 1_790_000_000_000

const candidate = (model: string, more: Partial<Candidate> = {}): Candidate => ({
  model,
  readyAtMs: NOW,
  priceMicros: 40_000,
  durationMs: 8_000,
  successRate: 1,
  qualityRank: 50,
  ...more,
})

type Case = { name: string; candidates: Candidate[]; order: string }

const CASES: Record<'cost' | 'speed' | 'quality' | 'none', Case[]> = {
  cost: [
    {
      name: 'the cheapest is first',
      candidates: [
        candidate('a', { priceMicros: 3 }),
        candidate('b', { priceMicros: 1 }),
        candidate('c', { priceMicros: 2 }),
      ],
      order: 'b c a',
    },
    {
      name: 'an unknown price is last, never counted as zero',
      candidates: [candidate('a', { priceMicros: null }), candidate('b', { priceMicros: 9_000_000 })],
      order: 'b a',
    },
    {
      name: 'a price of zero is a price',
      candidates: [candidate('a', { priceMicros: 1 }), candidate('b', { priceMicros: 0 })],
      order: 'b a',
    },
    {
      name: 'of two at one price, the faster is first',
      candidates: [candidate('a', { durationMs: 9_000 }), candidate('b', { durationMs: 3_000 })],
      order: 'b a',
    },
    {
      name: 'of two whose price is unknown, the faster is first',
      candidates: [
        candidate('a', { priceMicros: null, durationMs: 9_000 }),
        candidate('b', { priceMicros: null, durationMs: 3_000 }),
      ],
      order: 'b a',
    },
    {
      name: 'an unknown price that is available comes before a known one that is not',
      candidates: [candidate('a', { readyAtMs: NOW + 60_000 }), candidate('b', { priceMicros: null })],
      order: 'b a',
    },
  ],
  speed: [
    {
      name: 'the one that ends first is first, its short wait included',
      candidates: [
        candidate('a', { durationMs: 5_000 }),
        candidate('b', { durationMs: 4_500, readyAtMs: NOW + 900 }),
        candidate('c', { durationMs: 4_000, readyAtMs: NOW + 900 }),
      ],
      order: 'c a b',
    },
    {
      name: 'one that fails every other time takes twice as long',
      candidates: [candidate('a', { durationMs: 5_000, successRate: 0.5 }), candidate('b', { durationMs: 9_000 })],
      order: 'b a',
    },
    {
      name: 'of two as fast, the cheaper is first, and an unknown price last',
      candidates: [
        candidate('a', { priceMicros: null }),
        candidate('b', { priceMicros: 2 }),
        candidate('c', { priceMicros: 1 }),
      ],
      order: 'c b a',
    },
  ],
  quality: [
    {
      name: 'the highest rank is first, at any price',
      candidates: [
        candidate('a', { qualityRank: 60 }),
        candidate('b', { qualityRank: 90, priceMicros: null, durationMs: 90_000 }),
      ],
      order: 'b a',
    },
    {
      name: 'of two as good, the more reliable is first',
      candidates: [candidate('a', { successRate: 0.8 }), candidate('b', { successRate: 0.9, priceMicros: 99_000 })],
      order: 'b a',
    },
    {
      name: 'of two as good and reliable, the cheaper is first, and an unknown price last',
      candidates: [candidate('a', { priceMicros: null }), candidate('b', { priceMicros: 2 })],
      order: 'b a',
    },
  ],
  none: [
    {
      name: 'the order asked for stands',
      candidates: [
        candidate('b', { priceMicros: 9, qualityRank: 1 }),
        candidate('a', { priceMicros: 1 }),
        candidate('c'),
      ],
      order: 'b a c',
    },
    {
      name: 'a wait of up to a second is not worth another model, a longer one is',
      candidates: [
        candidate('a', { readyAtMs: NOW + 1_001 }),
        candidate('b', { readyAtMs: NOW + 1_000 }),
        candidate('c'),
      ],
      order: 'b c a',
    },
  ],
}

const rank = (candidates: Candidate[], prefer: Preference): string =>
  rankCandidates(candidates, prefer, NOW)
    .map(({ model }) => model)
    .join(' ')

describe.each(Object.entries(CASES))('prefer %s', (name, cases) => {
  const prefer = name === 'none' ? null : (name as Exclude<Preference, null>)

  test.each(cases)('$name', ({ candidates, order }) => expect(rank(candidates, prefer)).toBe(order))

  test('what cannot start now comes after what can, and what never can comes last', () => {
    const best = { priceMicros: 1, durationMs: 1, qualityRank: 100 }
    const candidates = [
      candidate('never', { ...best, readyAtMs: null }),
      candidate('later', { ...best, readyAtMs: NOW + 30_000 }),
      candidate('now'),
    ]
    expect(rank(candidates, prefer)).toBe('now later never')
  })

  test('equals keep the order asked for', () => {
    expect(rank([candidate('b'), candidate('a'), candidate('c')], prefer)).toBe('b a c')
  })
})

const anyCandidate = fc.record({
  model: fc.constantFrom('a', 'b', 'c', 'd'),
  readyAtMs: fc.option(fc.integer({ min: NOW - 5_000, max: NOW + 5_000 })),
  priceMicros: fc.option(fc.nat({ max: 3 })),
  durationMs: fc.nat({ max: 3_000 }),
  successRate: fc.double({ min: 0, max: 1, noNaN: true }),
  qualityRank: fc.nat({ max: 3 }),
})
const anyPreference = fc.constantFrom<Preference>('cost', 'speed', 'quality', null)

test('nothing is added, dropped or changed by ranking, whatever the candidates', () => {
  fc.assert(
    fc.property(fc.array(anyCandidate, { maxLength: 8 }), anyPreference, (candidates, prefer) => {
      const ranked = rankCandidates(candidates, prefer, NOW)
      expect(new Set(ranked)).toEqual(new Set(candidates))
      expect(ranked).toHaveLength(candidates.length)
    }),
  )
})

test('the first choice does not depend on the order asked for, where a preference tells the candidates apart', () => {
  fc.assert(
    fc.property(fc.array(anyCandidate, { minLength: 1, maxLength: 8 }), (candidates) => {
      const prices = candidates.map((item, i) => ({ ...item, priceMicros: i, readyAtMs: NOW }))
      expect(rankCandidates([...prices].reverse(), 'cost', NOW)).toEqual(rankCandidates(prices, 'cost', NOW))
    }),
  )
})

test.each([
  ['cost', true, 'cheapest that is available'],
  ['speed', false, 'fastest that is available'],
  ['quality', true, 'best that is available'],
  [null, true, 'first choice'],
  [null, false, 'first choice that is available'],
] as const)('the reason for preference %s (first: %s) reads "%s"', (prefer, isFirst, reason) =>
  expect(reasonOf(prefer, isFirst)).toBe(reason),
)
