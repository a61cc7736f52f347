import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type CredentialUse, initialUse, recordBegin, recordEnd } from '../../../src/core/credential-use.ts'

test('counts what was begun, what failed and what is known of the cost', () => {
  const began = recordBegin(recordBegin(initialUse(), 1_000), 2_000)
  const failed = recordEnd(began, 'provider_unavailable', 0, 3_000)
  expect(recordEnd(failed, null, 60_000, 4_000)).toEqual({
    attempts: 2,
    errors: 1,
    costMicros: 60_000,
    lastUsedAtMs: 2_000,
    lastError: { code: 'provider_unavailable', atMs: 3_000 },
  })
})

test('an unknown cost adds nothing, and a good end leaves the last error to be seen', () => {
  const failed = recordEnd(initialUse(), 'outcome_unknown', null, 1_000)
  const good = recordEnd(failed, null, null, 2_000)
  expect([good.costMicros, good.lastError]).toEqual([0, { code: 'outcome_unknown', atMs: 1_000 }])
})

test('errors are never more than ends, and attempts never fewer than what was begun', () => {
  const end = fc.record({
    code: fc.constantFrom(null, 'provider_unavailable' as const, 'provider_auth_failed' as const),
    costMicros: fc.option(fc.nat(1_000_000)),
  })
  fc.assert(
    fc.property(fc.array(end), (ends) => {
      let use: CredentialUse = initialUse()
      for (const [i, { code, costMicros }] of ends.entries()) use = recordEnd(recordBegin(use, i), code, costMicros, i)
      expect(use.attempts).toBe(ends.length)
      expect(use.errors).toBe(ends.filter(({ code }) => code !== null).length)
      expect(use.costMicros).toBe(ends.reduce((sum, { costMicros }) => sum + (costMicros ?? 0), 0))
    }),
  )
})
