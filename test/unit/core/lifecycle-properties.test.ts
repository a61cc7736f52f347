import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { endsJob } from '../../../src/contract/event.ts'
import { ATTEMPT_FAULT_CODES, fault } from '../../../src/contract/fault.ts'
import { isFinal } from '../../../src/contract/job.ts'
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
/** What can happen at any time, whether or not the state is ready for it. */
const anyEvent: fc.Arbitrary<JobEvent> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<JobEvent>({ type: 'due' }) },
  { weight: 5, arbitrary: fc.constant<JobEvent>({ type: 'claimed' }) },
  { weight: 1, arbitrary: fc.constantFrom<JobEvent>({ type: 'done' }, { type: 'cancel' }, { type: 'deadline' }) },
  { weight: 1, arbitrary: fc.nat({ max: 60_000 }).map((ms) => ({ type: 'postponed' as const, dueAtMs: NOW + ms })) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('replay' as const),
      model: fc.constantFrom('first/model', 'second/model'),
      resume: fc.option(fc.constant('{}')),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('second/model', 'third/model').map((model) => ({
      type: 'rerouted' as const,
      model,
      fault: fault('provider_unavailable', 'It cannot be called now.'),
    })),
  },
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
        otherCredential: fc.boolean(),
        retryAfterMs: fc.option(fc.nat({ max: 20_000 }), { nil: undefined }),
        resume: fc.option(fc.constant('{}')),
        alternatives: fc.array(
          fc.record({ model: fc.constantFrom('second/model', 'third/model'), readyAtMs: fc.constant(NOW) }),
          { maxLength: 2 },
        ),
        jitter: fc.double({ min: 0, max: 1, noNaN: true }),
      })
      .map(({ code, idempotent, resumable, otherCredential, retryAfterMs, ...more }) => ({
        type: 'failed' as const,
        fault: fault(code, 'It went wrong.', { source: 'provider' }),
        attempt: { code, idempotent, resumable, otherCredential, retryAfterMs },
        earlier: [],
        ...more,
      })),
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

  test('nothing changes after the end, but that a failed job may be replayed', () => {
    everyLife((moves) => {
      for (const { from, event, taken } of moves) {
        if (isFinal(from.status)) expect(taken !== null).toBe(from.status === 'failed' && event.type === 'replay')
      }
    })
  })

  test('one final event is told between two replays, and the last one names the final state', () => {
    everyLife((moves, _by, end) => {
      const told = moves.flatMap(({ taken }) => (taken?.emit ? [taken.emit.type] : []))
      const turns = told.filter((type) => endsJob(type) || type === 'job.replayed')
      const replays = turns.filter((type) => type === 'job.replayed').length
      const earlier = Array.from({ length: replays }, () => ['job.failed', 'job.replayed']).flat()
      expect(turns).toEqual(isFinal(end.status) ? [...earlier, `job.${end.status}`] : earlier)
    })
  })

  test('each start names the model that the fallbacks before it led to', () => {
    everyLife((moves) => {
      let model = 'first/model'
      for (const { taken } of moves) {
        if (taken?.emit?.type === 'job.fallback') {
          expect(taken.emit.data['from']).toBe(model)
          model = String(taken.emit.data['to'])
        }
        if (taken?.emit?.type === 'job.replayed') model = String(taken.emit.data['model'])
        if (taken?.emit?.type === 'job.started') expect(taken.emit.data['model']).toBe(model)
      }
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
      const told = moves.flatMap(({ event, taken }) => (event.type === 'rerouted' ? [] : (taken?.emit?.type ?? [])))
      const outcomes = told.filter((type) => type === 'job.retrying' || type === 'job.fallback').length
      expect(outcomes).toBeLessThanOrEqual(end.attempt)
      const ends = told.filter((type) => type === 'job.failed').length
      if (end.status === 'running') {
        expect(outcomes).toBeLessThanOrEqual(end.attempt - 1)
        expect(outcomes + ends).toBeGreaterThanOrEqual(end.attempt - 1)
      }
    })
  })

  test('the attempts that count are those that failed by more than a rate limit, and never more than allowed', () => {
    everyLife((moves, by, end) => {
      const replayed = moves.findLastIndex(({ event, taken }) => taken && event.type === 'replay')
      const counting = moves
        .slice(replayed + 1)
        .filter(
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
