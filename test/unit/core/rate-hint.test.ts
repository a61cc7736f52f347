import { expect, test } from 'vitest'
import { tellingRate } from '../../../src/core/rate-hint.ts'

const left = (remaining: number) => ({ remaining, resetAfterMs: 1_000 })

test.each([
  ['nothing where nothing was said', null, null, null],
  ['requests where only they were', left(3), null, left(3)],
  ['tokens where only they were', null, left(40), left(40)],
  ['tokens where both have some left', left(3), left(40), left(40)],
  ['tokens where they are used up', left(3), left(0), left(0)],
  ['requests where they are used up', left(0), left(40), left(0)],
])('of a provider that tells of its limits, %s', (_what, requests, tokens, told) => {
  expect(tellingRate({ requests, tokens })).toEqual(told)
})
