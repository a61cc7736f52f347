import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { endsJob } from '../../../src/contract/event.ts'
import { ATTEMPT_FAULT_CODES, fault } from '../../../src/contract/fault.ts'
import { isFinal, STATUSES } from '../../../src/contract/job.ts'
import { ARROWS, type Job, type JobEvent, type Policy, type Step, step } from '../../../src/core/lifecycle.ts'

const NOW = 1_790_000_000_000

const fresh = (more: Partial<Job> = {}): Job => ({
  status: 'queued',
  dueAtMs: null,
  model: 'first/model',
  attempt: 0,
  counted: 0,
  resume: null,
  fault: null,
  startedAtMs: null,
  endedAtMs: null,
  ...more,
})
const running = (more: Partial<Job> = {}): Job =>
  fresh({ status: 'running', attempt: 1, startedAtMs: NOW - 1_000, ...more })

const policy = (more: Partial<Policy> = {}): Policy => ({
  maxAttempts: 3,
  deadlineAtMs: NOW + 600_000,
  fallback: true,
  onContentRejected: 'fail',
  onOutcomeUnknown: 'fail',
  ...more,
})
const failure = (
  code: (typeof ATTEMPT_FAULT_CODES)[number],
  more: Partial<Extract<JobEvent, { type: 'failed' }>> = {},
): JobEvent => ({
  type: 'failed',
  fault: fault(code, 'It went wrong.', { source: 'provider' }),
  attempt: { code, idempotent: false, resumable: false },
  resume: null,
  earlier: [],
  alternatives: [],
  jitter: 0.5,
  ...more,
})

const next = (job: Job, event: JobEvent, now = NOW, by = policy()): Step => {
  const taken = step(job, by, event, now)
  if (!taken) throw new Error(`${event.type} changes nothing in ${job.status}`)
  return taken
}

describe('a job', () => {
  test('runs when it is claimed, and says which attempt on which model', () => {
    const { job, emit } = next(fresh(), { type: 'claimed' })
    expect(job).toEqual(fresh({ status: 'running', attempt: 1, startedAtMs: NOW }))
    expect(emit).toEqual({ type: 'job.started', data: { attempt: 1, model: 'first/model' } })
  })

  test('keeps the time of its first start through later attempts', () => {
    const waiting = fresh({ attempt: 1, startedAtMs: NOW - 5_000 })
    expect(next(waiting, { type: 'claimed' }).job.startedAtMs).toBe(NOW - 5_000)
  })

  test('cannot be claimed before its time, and can as soon as it is due', () => {
    const scheduled = fresh({ status: 'scheduled', dueAtMs: NOW })
    expect(step(scheduled, policy(), { type: 'claimed' }, NOW)).toBeNull()
    const waiting = fresh({ dueAtMs: NOW, attempt: 1 })
    expect(step(waiting, policy(), { type: 'claimed' }, NOW)).toBeNull()
    for (const job of [scheduled, waiting]) {
      const { job: due, emit } = next(job, { type: 'due' })
      expect(due).toMatchObject({ status: 'queued', dueAtMs: null })
      expect(emit).toBeNull()
      expect(next(due, { type: 'claimed' }).job.status).toBe('running')
    }
  })

  test('succeeds with its result and forgets the faults on the way', () => {
    const { job, emit } = next(running({ fault: fault('provider_unavailable', 'Earlier.'), resume: '{}' }), {
      type: 'done',
    })
    expect(job).toMatchObject({ status: 'succeeded', fault: null, resume: null, endedAtMs: NOW })
    expect(emit).toEqual({ type: 'job.succeeded', data: {} })
  })

  test('waits for its retry with the fault and the checkpoint it goes on from', () => {
    const { job, emit } = next(running(), failure('provider_unavailable', { resume: '{"at":"p1"}' }))
    expect(job).toMatchObject({
      status: 'queued',
      dueAtMs: NOW + 500,
      counted: 1,
      attempt: 1,
      resume: '{"at":"p1"}',
      model: 'first/model',
      fault: { code: 'provider_unavailable' },
    })
    expect(emit).toEqual({
      type: 'job.retrying',
      data: { attempt: 1, code: 'provider_unavailable', message: 'It went wrong.', retry_in_ms: 500 },
    })
  })

  test('leaves the checkpoint behind when it falls back: it belongs to the other provider', () => {
    const alternatives = [{ model: 'second/model', readyAtMs: NOW + 40 }]
    const { job, emit } = next(running(), failure('provider_quota_exhausted', { resume: '{"at":"p1"}', alternatives }))
    expect(job).toMatchObject({ status: 'queued', model: 'second/model', dueAtMs: NOW + 40, resume: null })
    expect(emit).toEqual({
      type: 'job.fallback',
      data: {
        attempt: 1,
        code: 'provider_quota_exhausted',
        message: 'It went wrong.',
        retry_in_ms: 40,
        from: 'first/model',
        to: 'second/model',
      },
    })
  })

  test('can be claimed at once after a fallback to a model that is free', () => {
    const alternatives = [{ model: 'second/model', readyAtMs: NOW }]
    expect(next(running(), failure('provider_quota_exhausted', { alternatives })).job.dueAtMs).toBeNull()
  })

  test('does not count an attempt that met a rate limit', () => {
    expect(next(running({ counted: 2 }), failure('provider_rate_limited')).job).toMatchObject({
      status: 'queued',
      counted: 2,
    })
  })

  test('fails with its last fault when its attempts are used up', () => {
    const { job, emit } = next(running({ attempt: 3, counted: 2 }), failure('provider_unavailable'))
    expect(job).toMatchObject({ status: 'failed', counted: 3, fault: { code: 'provider_unavailable' }, endedAtMs: NOW })
    expect(emit).toEqual({ type: 'job.failed', data: { code: 'provider_unavailable', message: 'It went wrong.' } })
  })

  test.each(['scheduled', 'queued', 'running'] as const)('is canceled while %s', (status) => {
    const { job, emit } = next(fresh({ status, resume: '{}' }), { type: 'cancel' })
    expect(job).toMatchObject({ status: 'canceled', fault: { code: 'canceled' }, resume: null, endedAtMs: NOW })
    expect(emit?.type).toBe('job.canceled')
  })

  test.each(['scheduled', 'queued', 'running'] as const)('fails at its deadline while %s', (status) => {
    const { job, emit } = next(fresh({ status }), { type: 'deadline' })
    expect(job).toMatchObject({ status: 'failed', fault: { code: 'deadline_exceeded' }, endedAtMs: NOW })
    expect(emit?.type).toBe('job.failed')
  })
})

describe('races end in one truth', () => {
  const ends: JobEvent[] = [{ type: 'done' }, { type: 'cancel' }, { type: 'deadline' }, failure('provider_rejected')]

  test.each(ends.flatMap((first) => ends.map((second) => [first, second] as const)))(
    'the first of two ends holds, and the second changes nothing (%o, then %o)',
    (first, second) => {
      const { job } = next(running(), first)
      expect(isFinal(job.status)).toBe(true)
      expect(step(job, policy(), second, NOW + 1)).toBeNull()
    },
  )

  test.each([{ type: 'done' } as JobEvent, failure('provider_unavailable')])(
    'an answer that comes after the attempt was given up changes nothing (%o)',
    (late) => {
      const { job } = next(running(), failure('provider_unavailable'))
      expect(step(job, policy(), late, NOW + 1)).toBeNull()
    },
  )
})

describe('the arrows', () => {
  test('leave no final state and reach every state', () => {
    for (const status of STATUSES) expect(ARROWS[status].length === 0).toBe(isFinal(status))
    expect(new Set(Object.values(ARROWS).flat())).toEqual(new Set(STATUSES.filter((status) => status !== 'scheduled')))
  })
})

/** What can happen at any time, whether or not the state is ready for it. */
const anyEvent: fc.Arbitrary<JobEvent> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<JobEvent>({ type: 'due' }) },
  { weight: 5, arbitrary: fc.constant<JobEvent>({ type: 'claimed' }) },
  { weight: 1, arbitrary: fc.constantFrom<JobEvent>({ type: 'done' }, { type: 'cancel' }, { type: 'deadline' }) },
  {
    weight: 5,
    arbitrary: fc
      .record({
        // Mostly faults that a job survives, so that histories grow long.
        code: fc.oneof(
          fc.constantFrom(...ATTEMPT_FAULT_CODES),
          fc.constantFrom('provider_rate_limited' as const, 'provider_unavailable' as const),
        ),
        idempotent: fc.boolean(),
        resumable: fc.boolean(),
        retryAfterMs: fc.option(fc.nat({ max: 20_000 }), { nil: undefined }),
        resume: fc.option(fc.constant('{}')),
        alternatives: fc.array(
          fc.record({ model: fc.constantFrom('second/model', 'third/model'), readyAtMs: fc.constant(NOW) }),
          { maxLength: 2 },
        ),
        jitter: fc.double({ min: 0, max: 1, noNaN: true }),
      })
      .map(({ code, idempotent, resumable, retryAfterMs, ...more }) =>
        failure(code, { ...more, attempt: { code, idempotent, resumable, retryAfterMs } }),
      ),
  },
)
const anyPolicy = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 10 }),
  deadlineAtMs: fc.integer({ min: NOW + 1_000, max: NOW + 2_000_000 }),
  fallback: fc.boolean(),
  onContentRejected: fc.constantFrom('fail' as const, 'fallback' as const),
  onOutcomeUnknown: fc.constantFrom('fail' as const, 'retry' as const),
})
const anyStart = fc.constantFrom(fresh(), fresh({ status: 'scheduled', dueAtMs: NOW + 5_000 }))
const anyHistory = fc.array(fc.record({ event: anyEvent, wait: fc.nat({ max: 30_000 }) }), { maxLength: 60 })

type Move = { from: Job; event: JobEvent; taken: Step | null }

const live = (start: Job, by: Policy, history: { event: JobEvent; wait: number }[]): Move[] => {
  let job = start
  let now = NOW
  return history.map(({ event, wait }) => {
    now += wait
    const taken = step(job, by, event, now)
    const move = { from: job, event, taken }
    job = taken?.job ?? job
    return move
  })
}

/** Runs random lives and hands every one to `check`. */
const everyLife = (check: (moves: Move[], by: Policy, end: Job) => void): void =>
  fc.assert(
    fc.property(anyStart, anyPolicy, anyHistory, (start, by, history) => {
      const moves = live(start, by, history)
      check(moves, by, moves.findLast(({ taken }) => taken !== null)?.taken?.job ?? start)
    }),
    { numRuns: 500 },
  )

describe('in every life', () => {
  test('each change of status is an arrow', () => {
    everyLife((moves) => {
      for (const { from, taken } of moves)
        if (taken && taken.job.status !== from.status) expect(ARROWS[from.status]).toContain(taken.job.status)
    })
  })

  test('nothing changes after the end', () => {
    everyLife((moves) => {
      for (const { from, taken } of moves) if (isFinal(from.status)) expect(taken).toBeNull()
    })
  })

  test('exactly one final event is told, and it names the final state', () => {
    everyLife((moves, _by, end) => {
      const finals = moves.flatMap(({ taken }) => (taken?.emit && endsJob(taken.emit.type) ? [taken.emit.type] : []))
      expect(finals).toEqual(isFinal(end.status) ? [`job.${end.status}`] : [])
    })
  })

  test('as many starts are told as attempts are counted up', () => {
    everyLife((moves, _by, end) => {
      const starts = moves.flatMap(({ taken }) =>
        taken?.emit?.type === 'job.started' ? [taken.emit.data['attempt']] : [],
      )
      expect(starts).toEqual(Array.from({ length: end.attempt }, (_, i) => i + 1))
    })
  })

  test('every attempt has one start and at most one outcome', () => {
    everyLife((moves, _by, end) => {
      const told = moves.flatMap(({ taken }) => taken?.emit?.type ?? [])
      const outcomes = told.filter((type) => type === 'job.retrying' || type === 'job.fallback').length
      expect(outcomes).toBeLessThanOrEqual(end.attempt)
      if (end.status === 'running') expect(outcomes).toBe(end.attempt - 1)
    })
  })

  test('the attempts that count are those that failed by more than a rate limit, and never more than allowed', () => {
    everyLife((moves, by, end) => {
      const counting = moves.filter(
        ({ event, taken }) => taken && event.type === 'failed' && event.attempt.code !== 'provider_rate_limited',
      )
      expect(end.counted).toBe(counting.length)
      expect(end.counted).toBeLessThanOrEqual(by.maxAttempts)
      expect(end.attempt).toBeGreaterThanOrEqual(end.counted)
    })
  })

  test('a job that runs or has ended waits for nothing', () => {
    everyLife((moves) => {
      for (const { taken } of moves)
        if (taken && (taken.job.status === 'running' || isFinal(taken.job.status))) expect(taken.job.dueAtMs).toBeNull()
    })
  })

  test('a job has an end time and a reason exactly when it should', () => {
    everyLife((moves) => {
      for (const { taken } of moves) {
        if (!taken) continue
        const { status, endedAtMs, fault: problem } = taken.job
        expect(endedAtMs !== null).toBe(isFinal(status))
        if (status === 'succeeded') expect(problem).toBeNull()
        if (status === 'failed' || status === 'canceled') expect(problem).not.toBeNull()
      }
    })
  })

  test('no state that was handed in is changed', () => {
    fc.assert(
      fc.property(anyStart, anyPolicy, anyHistory, (start, by, history) => {
        const before = structuredClone(start)
        live(start, Object.freeze(by), history)
        expect(start).toEqual(before)
      }),
    )
  })
})
