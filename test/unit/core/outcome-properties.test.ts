import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ATTEMPT_FAULT_CODES } from '../../../src/contract/fault.ts'
import { decide } from '../../../src/core/outcome.ts'
import { LIMITS } from '../../../src/limits.ts'

const NOW = 1_790_000_000_000

const anyFault = fc.record({
  code: fc.constantFrom(...ATTEMPT_FAULT_CODES),
  idempotent: fc.boolean(),
  resumable: fc.boolean(),
  otherCredential: fc.boolean(),
  retryAfterMs: fc.option(fc.nat({ max: 2 * LIMITS.retryAfterMaxMs }), { nil: undefined }),
})
const anyJob = fc.record({
  attempts: fc.integer({ min: 0, max: 10 }),
  maxAttempts: fc.integer({ min: 1, max: 10 }),
  deadlineAtMs: fc.integer({ min: NOW - 1_000, max: NOW + 700_000 }),
  fallback: fc.boolean(),
  onContentRejected: fc.constantFrom('fail' as const, 'fallback' as const),
  onOutcomeUnknown: fc.constantFrom('fail' as const, 'retry' as const),
  earlier: fc.array(fc.constantFrom(...ATTEMPT_FAULT_CODES), { maxLength: 5 }),
})
const anyOthers = fc.array(
  fc.record({
    model: fc.constantFrom('a/1', 'b/2', 'c/3'),
    readyAtMs: fc.integer({ min: NOW, max: NOW + 900_000 }),
  }),
  { maxLength: 3 },
)
const anyJitter = fc.double({ min: 0, max: 1, noNaN: true })
const runs = { numRuns: 1_000 }

describe('every decision', () => {
  test('starts nothing at or after the deadline', () => {
    fc.assert(
      fc.property(anyJob, anyFault, anyOthers, anyJitter, (of, fault, others, jitter) => {
        const decision = decide(of, fault, others, NOW, jitter)
        if (decision.next !== 'fail') expect(decision.dueAtMs).toBeLessThan(of.deadlineAtMs)
      }),
      runs,
    )
  })

  test('is due at a whole millisecond, though rates are ready and providers ask for waits in between', () => {
    const between = fc.double({ min: 0, max: 900_000, noNaN: true })
    fc.assert(
      fc.property(
        anyJob,
        fc.tuple(anyFault, between).map(([fault, retryAfterMs]) => ({ ...fault, retryAfterMs })),
        fc.array(fc.record({ model: fc.constantFrom('a/1', 'b/2'), readyAtMs: between.map((ms) => NOW + ms) })),
        anyJitter,
        (of, fault, others, jitter) => {
          const decision = decide(of, fault, others, NOW, jitter)
          if (decision.next === 'fail') return
          expect(Number.isInteger(decision.dueAtMs)).toBe(true)
          expect(decision.dueAtMs).toBeLessThan(of.deadlineAtMs)
        },
      ),
      runs,
    )
  })

  test('starts nothing in the past', () => {
    fc.assert(
      fc.property(anyJob, anyFault, anyOthers, anyJitter, (of, fault, others, jitter) => {
        const decision = decide(of, fault, others, NOW, jitter)
        if (decision.next !== 'fail') expect(decision.dueAtMs).toBeGreaterThanOrEqual(NOW)
      }),
      runs,
    )
  })

  test('ends the job when its attempts are used up, unless it was only a rate limit', () => {
    fc.assert(
      fc.property(anyJob, anyFault, anyOthers, anyJitter, (of, fault, others, jitter) => {
        fc.pre(of.attempts >= of.maxAttempts && fault.code !== 'provider_rate_limited')
        expect(decide(of, fault, others, NOW, jitter)).toEqual({ next: 'fail' })
      }),
      runs,
    )
  })

  test('repeats what may have been paid only if asked, if it is free, or if it goes on from a checkpoint', () => {
    fc.assert(
      fc.property(anyJob, anyFault, anyOthers, anyJitter, (of, fault, others, jitter) => {
        fc.pre(fault.code === 'provider_timeout' || fault.code === 'outcome_unknown')
        fc.pre(!fault.idempotent && of.onOutcomeUnknown === 'fail')
        const { next } = decide(of, fault, others, NOW, jitter)
        expect(next === 'fail' || (next === 'retry' && fault.resumable)).toBe(true)
      }),
      runs,
    )
  })

  test('falls back only to a model that was offered, at the time that model was offered for', () => {
    fc.assert(
      fc.property(anyJob, anyFault, anyOthers, anyJitter, (of, fault, others, jitter) => {
        const decision = decide(of, fault, others, NOW, jitter)
        if (decision.next !== 'fallback') return
        expect(of.fallback).toBe(true)
        expect(others).toContainEqual({ model: decision.model, readyAtMs: decision.dueAtMs })
      }),
      runs,
    )
  })

  test('calls again with a credential that was refused only where there is another', () => {
    fc.assert(
      fc.property(anyJob, anyFault, anyOthers, anyJitter, (of, fault, others, jitter) => {
        const refused = { ...fault, code: 'provider_auth_failed' as const, otherCredential: false }
        expect(decide(of, refused, others, NOW, jitter).next).not.toBe('retry')
      }),
      runs,
    )
  })
})
