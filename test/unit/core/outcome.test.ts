import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ATTEMPT_FAULT_CODES, type AttemptFaultCode } from '../../../src/contract/fault.ts'
import {
  type Alternative,
  type AttemptFault,
  backoffMs,
  countsAsAttempt,
  decide,
  FAULT_TABLE,
  type FailedJob,
} from '../../../src/core/outcome.ts'
import { LIMITS } from '../../../src/limits.ts'

const NOW = 1_790_000_000_000
const HALF = 0.5 // the jitter that changes nothing
const NEXT: Alternative = { model: 'other/model', readyAtMs: NOW }

const job = (more: Partial<FailedJob> = {}): FailedJob => ({
  attempts: 1,
  maxAttempts: 3,
  deadlineAtMs: NOW + 600_000,
  fallback: true,
  onContentRejected: 'fail',
  onOutcomeUnknown: 'fail',
  earlier: [],
  ...more,
})
const failed = (code: AttemptFaultCode, more: Partial<AttemptFault> = {}): AttemptFault => ({
  code,
  idempotent: false,
  resumable: false,
  otherCredential: false,
  ...more,
})

type Case = {
  name: string
  fault: AttemptFault
  job?: Partial<FailedJob>
  others?: Alternative[]
  next: 'retry' | 'fallback' | 'fail'
  /** Ms from now, where it matters. */
  inMs?: number
}

const later: Alternative[] = [{ model: 'other/model', readyAtMs: NOW + 60_000 }]
const asked = { onOutcomeUnknown: 'retry' } as const
const unclear = ['provider_timeout', 'outcome_unknown'] as const

/** The table of the design, column "retry same". No other model is there to go to. */
const RETRY_SAME: Case[] = [
  {
    name: 'provider_rate_limited is tried again after the provider’s reset',
    fault: failed('provider_rate_limited', { retryAfterMs: 7_000 }),
    next: 'retry',
    inMs: 7_000,
  },
  {
    name: 'provider_rate_limited without a reset is tried again after a backoff',
    fault: failed('provider_rate_limited'),
    next: 'retry',
    inMs: 500,
  },
  {
    name: 'provider_quota_exhausted is not tried again where there is no other credential',
    fault: failed('provider_quota_exhausted'),
    next: 'fail',
  },
  {
    name: 'provider_auth_failed is tried again with the next credential',
    fault: failed('provider_auth_failed', { otherCredential: true }),
    next: 'retry',
    inMs: 500,
  },
  {
    name: 'provider_auth_failed is not tried again where there is no other credential',
    fault: failed('provider_auth_failed'),
    next: 'fail',
  },
  {
    name: 'provider_auth_failed with credential after credential ends with the attempts',
    fault: failed('provider_auth_failed', { otherCredential: true }),
    job: { attempts: 3, earlier: ['provider_auth_failed', 'provider_auth_failed'] },
    next: 'fail',
  },
  {
    name: 'provider_quota_exhausted is tried again with the next credential',
    fault: failed('provider_quota_exhausted', { otherCredential: true }),
    next: 'retry',
    inMs: 500,
  },
  {
    name: 'provider_unavailable is tried again after a backoff',
    fault: failed('provider_unavailable'),
    next: 'retry',
    inMs: 500,
  },
  ...unclear.flatMap((code): Case[] => [
    { name: `${code} is not tried again: it may have been paid`, fault: failed(code), next: 'fail' },
    { name: `${code} is tried again where the job allows it`, fault: failed(code), job: asked, next: 'retry' },
    {
      name: `${code} is tried again where repeating costs nothing twice`,
      fault: failed(code, { idempotent: true }),
      next: 'retry',
    },
    {
      name: `${code} goes on from a checkpoint, which repeats nothing`,
      fault: failed(code, { resumable: true }),
      next: 'retry',
    },
  ]),
  { name: 'provider_protocol_error is tried again once', fault: failed('provider_protocol_error'), next: 'retry' },
  {
    name: 'provider_protocol_error is not tried a third time on the same model',
    fault: failed('provider_protocol_error'),
    job: { attempts: 2, earlier: ['provider_protocol_error'] },
    next: 'fail',
  },
  {
    name: 'provider_protocol_error after another kind of fault is still tried again once',
    fault: failed('provider_protocol_error'),
    job: { attempts: 2, earlier: ['provider_unavailable'] },
    next: 'retry',
  },
  { name: 'provider_rejected is not tried again', fault: failed('provider_rejected'), next: 'fail' },
  { name: 'content_rejected is not tried again', fault: failed('content_rejected'), next: 'fail' },
  {
    name: 'artifact_failed is tried again from what the provider has made',
    fault: failed('artifact_failed', { resumable: true }),
    next: 'retry',
  },
  {
    name: 'artifact_failed is not tried again where the provider would have to be called anew',
    fault: failed('artifact_failed'),
    next: 'fail',
  },
  {
    name: 'artifact_failed without a result is not bought again, even if the job allows repeating',
    fault: failed('artifact_failed'),
    job: asked,
    next: 'fail',
  },
  ...(['deadline_exceeded', 'canceled', 'budget_exceeded', 'no_provider'] as const).map(
    (code): Case => ({ name: `${code} is not tried again`, fault: failed(code), next: 'fail' }),
  ),
]

/** The column "fall back". Another model is there; unless the case says otherwise it could start at once. */
const FALL_BACK: Case[] = [
  {
    name: 'provider_rate_limited falls back to a model that can start sooner',
    fault: failed('provider_rate_limited', { retryAfterMs: 7_000 }),
    next: 'fallback',
  },
  {
    name: 'provider_rate_limited waits where the other model would start no sooner',
    fault: failed('provider_rate_limited', { retryAfterMs: 60_000 }),
    others: later,
    next: 'retry',
  },
  {
    name: 'provider_rate_limited passes over a better model that is blocked, to one that is free',
    fault: failed('provider_rate_limited', { retryAfterMs: 7_000 }),
    others: [...later, { model: 'third/model', readyAtMs: NOW }],
    next: 'fallback',
  },
  {
    name: 'provider_quota_exhausted falls back, even to a model that must wait',
    fault: failed('provider_quota_exhausted'),
    others: later,
    next: 'fallback',
    inMs: 60_000,
  },
  { name: 'provider_auth_failed falls back', fault: failed('provider_auth_failed'), next: 'fallback' },
  {
    name: 'provider_auth_failed tries the next credential before it falls back',
    fault: failed('provider_auth_failed', { otherCredential: true }),
    next: 'retry',
  },
  {
    name: 'provider_auth_failed falls back when the next credential was refused too',
    fault: failed('provider_auth_failed', { otherCredential: true }),
    job: { attempts: 2, earlier: ['provider_auth_failed'] },
    next: 'fallback',
  },
  {
    name: 'provider_unavailable falls back where the provider asks for a wait beyond the deadline',
    fault: failed('provider_unavailable', { retryAfterMs: 3_600_000 }),
    next: 'fallback',
  },
  ...unclear.flatMap((code): Case[] => [
    { name: `${code} does not fall back: it may have been paid`, fault: failed(code), next: 'fail' },
    {
      name: `${code} falls back where the job allows it and a retry would come too late`,
      fault: failed(code, { retryAfterMs: 3_600_000 }),
      job: asked,
      next: 'fallback',
    },
    {
      name: `${code} falls back where repeating costs nothing twice and a retry would come too late`,
      fault: failed(code, { idempotent: true, retryAfterMs: 3_600_000 }),
      next: 'fallback',
    },
    {
      name: `${code} with a checkpoint does not fall back: the work may be done and only has to be fetched`,
      fault: failed(code, { resumable: true, retryAfterMs: 3_600_000 }),
      next: 'fail',
    },
  ]),
  {
    name: 'provider_protocol_error falls back after its one retry',
    fault: failed('provider_protocol_error'),
    job: { attempts: 2, earlier: ['provider_protocol_error'] },
    next: 'fallback',
  },
  {
    name: 'provider_rejected falls back to a model that accepts the input',
    fault: failed('provider_rejected'),
    next: 'fallback',
  },
  {
    name: 'provider_rejected fails where no other model accepts the input',
    fault: failed('provider_rejected'),
    others: [],
    next: 'fail',
  },
  { name: 'content_rejected does not fall back unasked', fault: failed('content_rejected'), next: 'fail' },
  {
    name: 'content_rejected falls back where the job asks for it',
    fault: failed('content_rejected'),
    job: { onContentRejected: 'fallback' },
    next: 'fallback',
  },
  {
    name: 'artifact_failed does not fall back: the result is bought',
    fault: failed('artifact_failed'),
    next: 'fail',
  },
  ...(['deadline_exceeded', 'canceled', 'budget_exceeded', 'no_provider'] as const).map(
    (code): Case => ({ name: `${code} does not fall back`, fault: failed(code), next: 'fail' }),
  ),
]

const BREAKER: [sentence: string, code: AttemptFaultCode, breaker: string][] = [
  ['a rate limit slows the bucket', 'provider_rate_limited', 'slows'],
  ['an exhausted quota opens the breaker', 'provider_quota_exhausted', 'opens'],
  ['a refused credential is disabled', 'provider_auth_failed', 'disables'],
  ['an unavailable provider counts', 'provider_unavailable', 'counts'],
  ['a timeout counts', 'provider_timeout', 'counts'],
  ['an unknown outcome counts', 'outcome_unknown', 'counts'],
  ['a malformed answer counts', 'provider_protocol_error', 'counts'],
  ['refused input is the client’s affair', 'provider_rejected', 'good'],
  ['refused content is the client’s affair', 'content_rejected', 'good'],
  ['a failed store is not the provider’s affair', 'artifact_failed', 'good'],
  ['a deadline says nothing of the provider', 'deadline_exceeded', 'silent'],
  ['a cancellation says nothing of the provider', 'canceled', 'silent'],
  ['a budget says nothing of the provider', 'budget_exceeded', 'silent'],
  ['a missing provider has no breaker', 'no_provider', 'silent'],
]

const follow = (row: Case, others: Alternative[]): void => {
  const decision = decide(job(row.job), row.fault, row.others ?? others, NOW, HALF)
  expect(decision.next).toBe(row.next)
  if (row.inMs !== undefined) expect(decision).toMatchObject({ dueAtMs: NOW + row.inMs })
}

describe('retry on the same model', () => {
  test.each(RETRY_SAME)('$name', (row) => follow(row, []))
})

describe('fall back to another model', () => {
  test.each(FALL_BACK)('$name', (row) => follow(row, [NEXT]))
  test('a fault met again does not lay the job by for hours, waiting for the other model, while tries are left', () => {
    const patient = { maxAttempts: 5, deadlineAtMs: NOW + 7 * 86_400_000, earlier: ['provider_unavailable' as const] }
    const fault = failed('provider_unavailable')
    const usedUp = [{ model: 'b/2', readyAtMs: NOW + 5 * 3_600_000 }]
    expect(decide(job({ ...patient, attempts: 2 }), fault, usedUp, NOW, HALF)).toMatchObject({ next: 'retry' })
    // A breaker of a moment is waited for, and so is the last that could still serve it.
    const soon = [{ model: 'b/2', readyAtMs: NOW + 20_000 }]
    expect(decide(job({ ...patient, attempts: 2 }), fault, soon, NOW, HALF)).toMatchObject({ next: 'fallback' })
    expect(decide(job({ ...patient, attempts: 4 }), fault, usedUp, NOW, HALF)).toMatchObject({ next: 'fallback' })
  })

  test('provider_unavailable falls back when a retry on the same model has not helped', () => {
    expect(decide(job({ attempts: 1 }), failed('provider_unavailable'), [NEXT], NOW, HALF).next).toBe('retry')
    const again = job({ attempts: 2, earlier: ['provider_unavailable'] })
    expect(decide(again, failed('provider_unavailable'), [NEXT], NOW, HALF)).toMatchObject({
      next: 'fallback',
      model: NEXT.model,
    })
  })

  test('the last attempt goes to another model rather than to the one that failed', () => {
    const last = job({ attempts: 1, maxAttempts: 2 })
    expect(decide(last, failed('provider_unavailable'), [NEXT], NOW, HALF)).toMatchObject({
      next: 'fallback',
      model: NEXT.model,
    })
  })

  test('never happens where the job forbids it', () => {
    for (const code of ATTEMPT_FAULT_CODES) {
      const decision = decide(
        job({ fallback: false, ...asked, onContentRejected: 'fallback' }),
        failed(code),
        [NEXT],
        NOW,
        HALF,
      )
      expect(decision.next).not.toBe('fallback')
    }
  })

  test('takes the best of the models that could start before the deadline', () => {
    const others = [
      { model: 'a/late', readyAtMs: NOW + 600_000 },
      { model: 'b/best', readyAtMs: NOW + 599_999 },
      { model: 'c/free', readyAtMs: NOW },
    ]
    expect(decide(job(), failed('provider_quota_exhausted'), others, NOW, HALF)).toEqual({
      next: 'fallback',
      model: 'b/best',
      dueAtMs: NOW + 599_999,
    })
  })
})

describe('circuit breaker', () => {
  test.each(BREAKER)('%s', (_sentence, code, breaker) => expect(FAULT_TABLE[code].breaker).toBe(breaker))
  test('every code of an attempt has its row', () => {
    expect(BREAKER.map(([, code]) => code).sort()).toEqual([...ATTEMPT_FAULT_CODES].sort())
  })
})

describe('backoff', () => {
  const jitter = fc.double({ min: 0, max: 1, noNaN: true })

  test('doubles from half a second up to thirty', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 100].map((attempts) => backoffMs(attempts, HALF))).toEqual([
      500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
    ])
  })

  test('spreads by a fifth to both sides, whatever the attempt', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), jitter, (attempts, random) => {
        const middle = Math.min(500 * 2 ** (attempts - 1), 30_000)
        expect(backoffMs(attempts, random)).toBeGreaterThanOrEqual(0.8 * middle)
        expect(backoffMs(attempts, random)).toBeLessThanOrEqual(1.2 * middle)
      }),
    )
    expect([backoffMs(1, 0), backoffMs(1, 1), backoffMs(20, 0), backoffMs(20, 1)]).toEqual([400, 600, 24_000, 36_000])
  })

  test('grows with repeated rate limits, though they cost no attempt', () => {
    const earlier = new Array<AttemptFaultCode>(3).fill('provider_rate_limited')
    expect(decide(job({ attempts: 0, earlier }), failed('provider_rate_limited'), [], NOW, HALF)).toEqual({
      next: 'retry',
      dueAtMs: NOW + 4_000,
    })
  })
})

describe('a provider’s own Retry-After', () => {
  test('wins over the backoff, shorter or longer', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 599_999 }), fc.constantFrom(0, 0.3, 1), (retryAfterMs, jitter) => {
        for (const code of ['provider_rate_limited', 'provider_unavailable'] as const)
          expect(decide(job({ attempts: 2 }), failed(code, { retryAfterMs }), [], NOW, jitter)).toEqual({
            next: 'retry',
            dueAtMs: NOW + retryAfterMs,
          })
      }),
    )
  })

  test('up to the last millisecond before the deadline is waited for, up to the deadline is not', () => {
    const wait = (retryAfterMs: number) =>
      decide(job(), failed('provider_unavailable', { retryAfterMs }), [], NOW, HALF)
    expect(wait(599_999)).toEqual({ next: 'retry', dueAtMs: NOW + 599_999 })
    expect(wait(600_000)).toEqual({ next: 'fail' })
  })

  test('of an hour and more counts as an hour', () => {
    const patient = job({ deadlineAtMs: NOW + 7 * 86_400_000 })
    expect(decide(patient, failed('provider_unavailable', { retryAfterMs: 86_400_000 }), [], NOW, HALF)).toEqual({
      next: 'retry',
      dueAtMs: NOW + LIMITS.retryAfterMaxMs,
    })
  })

  test('of zero makes no hot loop of calls: the backoff holds', () => {
    expect(decide(job({ attempts: 0 }), failed('provider_rate_limited', { retryAfterMs: 0 }), [], NOW, HALF)).toEqual({
      next: 'retry',
      dueAtMs: NOW + 500,
    })
  })
})

test('rate limits cost no attempt, every other fault costs one', () => {
  for (const code of ATTEMPT_FAULT_CODES) expect(countsAsAttempt({ code })).toBe(code !== 'provider_rate_limited')
  expect(decide(job({ attempts: 3 }), failed('provider_rate_limited'), [], NOW, HALF).next).toBe('retry')
})

describe('a secret that was replaced while the attempt was under way', () => {
  const replaced = failed('provider_auth_failed', { secretReplaced: true })

  test('is tried again at once, costs no attempt, and is never a reason for another model', () => {
    for (const attempts of [1, 3]) {
      const decision = decide(job({ attempts, earlier: ['provider_auth_failed'] }), replaced, [NEXT], NOW, HALF)
      expect(decision).toEqual({ next: 'retry', dueAtMs: NOW })
    }
    expect(countsAsAttempt(replaced)).toBe(false)
  })

  test('changes nothing for other faults', () => {
    for (const code of ATTEMPT_FAULT_CODES.filter((item) => item !== 'provider_auth_failed')) {
      const plain = failed(code)
      const marked = { ...plain, secretReplaced: true }
      expect(countsAsAttempt(marked)).toBe(countsAsAttempt(plain))
      expect(decide(job(), marked, [NEXT], NOW, HALF)).toEqual(decide(job(), plain, [NEXT], NOW, HALF))
    }
  })

  test('does not outlive the deadline', () => {
    expect(decide(job({ deadlineAtMs: NOW }), replaced, [], NOW, HALF)).toEqual({ next: 'fail' })
  })
})

describe('another credential', () => {
  test('that has room takes at once what the first was refused for now, before any other model', () => {
    const limited = failed('provider_rate_limited', { retryAfterMs: 60_000, roomElsewhere: true })
    expect(decide(job(), limited, [NEXT], NOW, HALF)).toEqual({ next: 'retry', dueAtMs: NOW })
  })

  test('takes what the first has no quota for; without one the job falls back or fails', () => {
    const exhausted = failed('provider_quota_exhausted', { otherCredential: true })
    expect(decide(job(), exhausted, [], NOW, HALF)).toEqual({ next: 'retry', dueAtMs: NOW + 500 })
    expect(decide(job(), { ...exhausted, otherCredential: false }, [NEXT], NOW, HALF).next).toBe('fallback')
    expect(decide(job(), { ...exhausted, otherCredential: false }, [], NOW, HALF).next).toBe('fail')
  })
})
