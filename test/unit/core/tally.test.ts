import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ATTEMPT_FAULT_CODES } from '../../../src/contract/fault.ts'
import { quantile } from '../../../src/core/sketch.ts'
import {
  type EndedAttempt,
  type EndedJob,
  emptyTally,
  mergeTally,
  type Tally,
  tallyAttempt,
  tallyJob,
} from '../../../src/core/tally.ts'
import { LIMITS } from '../../../src/limits.ts'

type End = { attempt: EndedAttempt } | { job: EndedJob }

const attempt = (more: Partial<EndedAttempt> = {}): EndedAttempt => ({
  outcome: 'done',
  costMicros: 60_000,
  providerMs: 1_000,
  images: 1,
  tokens: {},
  ...more,
})

const tallyOf = (ends: readonly End[]): Tally => {
  const tally = emptyTally()
  for (const end of ends) {
    if ('attempt' in end) tallyAttempt(tally, end.attempt)
    else tallyJob(tally, end.job)
  }
  return tally
}

/** Maps compare by content, but a merge may have met the keys in another order, and so may the bins of a sketch. */
const plain = (tally: Tally): unknown =>
  JSON.parse(
    JSON.stringify(tally, (_key, value) =>
      value instanceof Map ? [...value].sort(([a], [b]) => (a < b ? -1 : 1)) : value,
    ),
  )

const ms = fc.integer({ min: 0, max: 600_000 })
const anyEnd: fc.Arbitrary<End> = fc.oneof(
  fc.record({
    attempt: fc.record({
      outcome: fc.constantFrom('done' as const, ...ATTEMPT_FAULT_CODES),
      costMicros: fc.option(fc.integer({ min: 0, max: 1_000_000 })),
      providerMs: ms,
      images: fc.integer({ min: 0, max: 8 }),
      tokens: fc.dictionary(fc.constantFrom('input', 'output', 'cached'), fc.integer({ min: 1, max: 100_000 })),
    }),
  }),
  fc.record({
    job: fc.record({
      status: fc.constantFrom('succeeded' as const, 'failed' as const, 'canceled' as const),
      queueMs: fc.option(ms),
      totalMs: ms,
    }),
  }),
)

describe('a tally', () => {
  test('of parts adds up to that of the whole, wherever it is cut', () => {
    fc.assert(
      fc.property(fc.array(anyEnd), fc.nat(), (ends, cut) => {
        const at = cut % (ends.length + 1)
        const first = tallyOf(ends.slice(0, at))
        mergeTally(first, tallyOf(ends.slice(at)))
        expect(plain(first)).toEqual(plain(tallyOf(ends)))
      }),
    )
  })

  test('accounts for every attempt: it ended well, or with a code', () => {
    fc.assert(
      fc.property(fc.array(anyEnd), (ends) => {
        const tally = tallyOf(ends)
        const attempts = ends.flatMap((end) => ('attempt' in end ? [end.attempt] : []))
        const errors = [...tally.errors.values()].reduce((sum, count) => sum + count, 0)
        expect(tally.attempts).toBe(attempts.length)
        expect(tally.attempts - errors).toBe(attempts.filter(({ outcome }) => outcome === 'done').length)
        expect(tally.unknownCosts).toBe(attempts.filter(({ costMicros }) => costMicros === null).length)
      }),
    )
  })

  test('tells an unknown cost from none', () => {
    const tally = tallyOf([{ attempt: attempt({ costMicros: null }) }, { attempt: attempt({ costMicros: 0 }) }])
    expect([tally.costMicros, tally.unknownCosts]).toEqual([0, 1])
  })

  test('takes no time of failures for that of the provider', () => {
    const tally = tallyOf([
      { attempt: attempt({ providerMs: 1_000 }) },
      { attempt: attempt({ outcome: 'provider_timeout', providerMs: 600_000 }) },
      // Stored what an earlier attempt had made.
      { attempt: attempt({ providerMs: 0 }) },
    ])
    expect(Math.round((quantile(tally.providerMs, 0) ?? 0) / 100)).toBe(10)
    expect(Math.round((quantile(tally.providerMs, 1) ?? 0) / 100)).toBe(10)
  })

  test('takes no wait of a job that was never begun, and no length of one that did not succeed', () => {
    const tally = tallyOf([
      { job: { status: 'canceled', queueMs: null, totalMs: 9_000 } },
      { job: { status: 'failed', queueMs: 5, totalMs: 9_000 } },
    ])
    expect([quantile(tally.totalMs, 1), Math.round(quantile(tally.queueMs, 0) ?? 0)]).toEqual([null, 5])
  })

  test('keeps a bounded number of kinds of tokens, and only counts that are counts', () => {
    const kinds = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`kind-${i}`, 1]))
    const tally = tallyOf([{ attempt: attempt({ tokens: kinds }) }])
    expect(tally.tokens.size).toBe(LIMITS.tokenKinds)
    const strange = { a: -1, b: Number.NaN, c: 1.5, d: Number.POSITIVE_INFINITY, e: 0 }
    expect(tallyOf([{ attempt: attempt({ tokens: strange }) }]).tokens.size).toBe(0)
  })
})
