import { describe, expect, test } from 'vitest'
import { type AttemptFaultCode, fault } from '../../../src/contract/fault.ts'
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
const failure = (code: AttemptFaultCode, more: Partial<Extract<JobEvent, { type: 'failed' }>> = {}): JobEvent => ({
  type: 'failed',
  fault: fault(code, 'It went wrong.', { source: 'provider' }),
  attempt: { code, idempotent: false, resumable: false, otherCredential: false },
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

  test('tries the next credential when one was refused, and tells of it as a retry', () => {
    const attempt = {
      code: 'provider_auth_failed' as const,
      idempotent: false,
      resumable: false,
      otherCredential: true,
    }
    const { job, emit } = next(running(), failure('provider_auth_failed', { attempt }))
    expect(job).toMatchObject({ status: 'queued', model: 'first/model', counted: 1, dueAtMs: NOW + 500 })
    expect(emit).toMatchObject({ type: 'job.retrying', data: { code: 'provider_auth_failed', attempt: 1 } })
    expect(next(running(), failure('provider_auth_failed')).job.status).toBe('failed')
  })

  test('goes to another model while it waits, at no cost of an attempt, and says why', () => {
    const why = fault('provider_unavailable', 'It cannot be called now.')
    const waiting = fresh({ attempt: 1, counted: 1, resume: '{}' })
    const { job, emit } = next(waiting, { type: 'rerouted', model: 'second/model', fault: why })
    expect(job).toEqual({ ...waiting, model: 'second/model', resume: null, fault: why })
    expect(emit).toEqual({
      type: 'job.fallback',
      data: {
        code: 'provider_unavailable',
        message: 'It cannot be called now.',
        from: 'first/model',
        to: 'second/model',
      },
    })
    expect(next(job, { type: 'claimed' }).emit?.data).toEqual({ attempt: 2, model: 'second/model' })
  })

  test('keeps to its time when it is rerouted before it is due', () => {
    const why = fault('provider_unavailable', 'It cannot be called now.')
    const { job } = next(fresh({ dueAtMs: NOW + 9 }), { type: 'rerouted', model: 'second/model', fault: why })
    expect(job.dueAtMs).toBe(NOW + 9)
    expect(step(job, policy(), { type: 'claimed' }, NOW)).toBeNull()
  })

  test.each(STATUSES.filter((status) => status !== 'queued'))('is not rerouted while %s', (status) => {
    const why = fault('provider_unavailable', 'It cannot be called now.')
    const of = fresh({ status, attempt: 1 })
    expect(step(of, policy(), { type: 'rerouted', model: 'second/model', fault: why }, NOW)).toBeNull()
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

describe('a replay', () => {
  const failed = fresh({
    status: 'failed',
    model: 'second/model',
    attempt: 4,
    counted: 3,
    resume: '{"stored":1}',
    fault: fault('artifact_failed', 'It was not stored.'),
    startedAtMs: NOW - 9_000,
    endedAtMs: NOW - 1_000,
  })

  test('begins anew on the model it names: attempts are numbered on, those that count begin at none', () => {
    const { job, emit } = next(failed, { type: 'replay', model: 'first/model', resume: null })
    expect(job).toEqual(fresh({ attempt: 4, startedAtMs: NOW - 9_000 }))
    expect(emit).toEqual({ type: 'job.replayed', data: { model: 'first/model', attempts: 4 } })
    expect(next(job, { type: 'claimed' }).emit?.data).toEqual({ attempt: 5, model: 'first/model' })
  })

  test('may go on from what was made', () => {
    const { job } = next(failed, { type: 'replay', model: 'second/model', resume: failed.resume })
    expect(job).toMatchObject({ status: 'queued', model: 'second/model', resume: '{"stored":1}', fault: null })
  })

  test('has all its attempts again', () => {
    const { job } = next(failed, { type: 'replay', model: 'first/model', resume: null })
    const { job: again } = next(next(job, { type: 'claimed' }).job, failure('provider_unavailable'))
    expect(again).toMatchObject({ status: 'queued', counted: 1, attempt: 5 })
  })

  test.each(STATUSES.filter((status) => status !== 'failed'))('changes nothing of a job that is %s', (status) => {
    const of = fresh({ status, endedAtMs: isFinal(status) ? NOW : null })
    expect(step(of, policy(), { type: 'replay', model: 'first/model', resume: null }, NOW)).toBeNull()
  })

  test('finds what the failed job could have gone on from, and nothing of a canceled one', () => {
    const lost = failure('artifact_failed', { resume: '{"at":"made"}' })
    expect(next(running({ attempt: 3, counted: 2 }), lost).job).toMatchObject({
      status: 'failed',
      resume: '{"at":"made"}',
    })
    expect(next(fresh({ resume: '{"at":"made"}' }), { type: 'deadline' }).job.resume).toBe('{"at":"made"}')
    expect(next(fresh({ resume: '{"at":"made"}' }), { type: 'cancel' }).job.resume).toBeNull()
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
  test('leave no final state but a failed one, by a replay, and reach every state', () => {
    for (const status of STATUSES) expect(ARROWS[status].length === 0).toBe(isFinal(status) && status !== 'failed')
    expect(ARROWS.failed).toEqual(['queued'])
    expect(new Set(Object.values(ARROWS).flat())).toEqual(new Set(STATUSES.filter((status) => status !== 'scheduled')))
  })
})
