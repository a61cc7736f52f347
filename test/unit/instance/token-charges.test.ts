import { expect, test } from 'vitest'
import { initialLoad, type Limiter, readyAt, underRules } from '../../../src/core/admission.ts'
import { TokenCharges } from '../../../src/instance/token-charges.ts'

const NOW = 1_790_000_000_000
const limiter = (limit: number): Limiter => ({
  name: 'provider',
  rules: { concurrency: null, rates: [{ id: 'tokens_per_minute', limit, windowMs: 60_000 }] },
  load: initialLoad(),
})

test('a call that began under another rate gives nothing back, whatever later calls are charged with', () => {
  const charges = new TokenCharges()
  for (const job of ['a', 'b', 'c']) charges.charge(job, limiter(10), NOW)
  charges.forgetLimiter('provider')
  charges.charge('d', limiter(1_000_000), NOW)
  // Ten tokens of the old rate lasted a minute; by the new one that minute would be a million.
  expect(charges.giveBack('c', 'provider', 10)).toBe(0)
  expect(charges.giveBack('d', 'provider', 10)).toBeGreaterThan(0)
})

test('a bucket in tokens that is raised is ready as soon as its debt in tokens allows', () => {
  const [low, high] = [limiter(60), limiter(6_000)]
  const load = underRules(
    { ...initialLoad(), fullAtMs: { tokens_per_minute: NOW + 60_000 } },
    low.rules,
    high.rules,
    NOW,
  )
  expect(readyAt({ ...high, load }, 10, NOW)).toBe(NOW)
})

test('a limiter that comes back under the name of one that was forgotten owes nothing for the calls of that one', () => {
  const [own, other] = [limiter(6_000), { ...limiter(6_000), name: 'other' }]
  const charges = new TokenCharges()
  charges.charge('before', own, NOW)
  charges.charge('untouched', other, NOW)
  charges.forgetLimiter('provider')
  charges.charge('after', own, NOW)
  expect(charges.giveBack('before', 'provider', 100)).toBe(0)
  expect(charges.giveBack('after', 'provider', 100)).toBeGreaterThan(0)
  expect(charges.giveBack('untouched', 'other', 100)).toBeGreaterThan(0)
})
