import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DURABLE_EVENTS, endsJob } from '../../../src/contract/event.ts'
import { microsToUsd, usdToMicros } from '../../../src/contract/fields.ts'
import { fromWire, refText, toWire } from '../../../src/contract/rpc.ts'
import { LIMITS } from '../../../src/limits.ts'

describe('money', () => {
  test('of six decimals comes back as it was, up to the highest cost', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: LIMITS.maxCostUsd * 1_000_000 }), (micros) => {
        expect(usdToMicros(microsToUsd(micros))).toBe(micros)
      }),
    )
  })

  test.each([
    [0.06, 60_000],
    [0.1 + 0.2, 300_000],
    [1.000_001, 1_000_001],
    [0, 0],
  ])('%d US dollars are %d millionths', (usd, micros) => expect(usdToMicros(usd)).toBe(micros))
})

test('what is sent over the wire is what arrives', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(JSON.stringify(fromWire(toWire(value)))).toBe(JSON.stringify(value))
    }),
  )
})

test('attempts of one job and of another are never taken for each other', () => {
  expect(refText({ job: 'job_A', attempt: 12 })).not.toBe(refText({ job: 'job_A', attempt: 1 }))
  expect(refText({ job: 'job_A', attempt: 1 })).not.toBe(refText({ job: 'job_B', attempt: 1 }))
})

test('three events end a job, and all of them are durable', () => {
  expect(DURABLE_EVENTS.filter(endsJob)).toEqual(['job.succeeded', 'job.failed', 'job.canceled'])
  expect([endsJob('job.progress'), endsJob('stream.gap')]).toEqual([false, false])
})
