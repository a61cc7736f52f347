import { expect, test } from 'vitest'
import { initialLoad, type Limiter } from '../../../src/core/admission.ts'
import { TokenCharges } from '../../../src/instance/token-charges.ts'

const NOW = 1_790_000_000_000
const PACE: Limiter = {
  name: 'pace',
  rules: { concurrency: null, rates: [{ id: 'tokens_per_minute', limit: 6_000, windowMs: 60_000 }] },
  load: initialLoad(),
}

test('a limiter that comes back under the name of one that was forgotten owes nothing for the calls of that one', () => {
  const charges = new TokenCharges()
  charges.charge('before', PACE, NOW)
  charges.charge('untouched', { ...PACE, name: 'other' }, NOW)
  charges.forgetLimiter('pace')
  charges.charge('after', PACE, NOW)
  expect(charges.giveBack('before', 'pace', 100)).toBe(0)
  expect(charges.giveBack('after', 'pace', 100)).toBeGreaterThan(0)
  expect(charges.giveBack('untouched', 'other', 100)).toBeGreaterThan(0)
})
