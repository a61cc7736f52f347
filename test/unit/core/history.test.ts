import fc from 'fast-check'
import { expect, test } from 'vitest'
import { endsJob } from '../../../src/contract/event.ts'
import { ATTEMPT_FAULT_CODES } from '../../../src/contract/fault.ts'
import { isFinal } from '../../../src/contract/job.ts'
import { initialLoad, type Limiter, type LimiterRate } from '../../../src/core/admission.ts'
import { ARROWS } from '../../../src/core/lifecycle.ts'
import { LIMITS } from '../../../src/limits.ts'
import { type Call, type Entry, History, unfinished } from './history-shell.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const MODELS = ['a/1', 'a/2', 'b/1']

const anyJob = fc.record({
  priority: fc.integer({ min: 0, max: LIMITS.priorityMax }),
  project: fc.constantFrom('x', 'y', 'z'),
  tokens: fc.integer({ min: 1, max: 30 }),
  models: fc.shuffledSubarray(MODELS, { minLength: 1 }),
  notBeforeIn: fc.option(fc.nat({ max: 90_000 })),
  deadlineIn: fc.constantFrom(30_000, 10 * MINUTE, 7 * 24 * HOUR),
  maxAttempts: fc.integer({ min: 1, max: 5 }),
  fallback: fc.boolean(),
  onContentRejected: fc.constantFrom('fail' as const, 'fallback' as const),
  onOutcomeUnknown: fc.constantFrom('fail' as const, 'retry' as const),
})
const anyOutcome = fc.record({
  code: fc.oneof(
    fc.constantFrom(...ATTEMPT_FAULT_CODES),
    fc.constantFrom(
      'done' as const,
      'done' as const,
      'provider_rate_limited' as const,
      'provider_unavailable' as const,
    ),
  ),
  resumable: fc.boolean(),
  retryAfterMs: fc.option(fc.nat({ max: 20_000 }), { nil: undefined }),
})
const of = <T extends string>(type: T) => fc.constant(type)
const anyEvent = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: of('submit'), wish: anyJob, count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 8, arbitrary: fc.record({ type: of('outcome'), pick: fc.nat(), outcome: anyOutcome }) },
  {
    weight: 6,
    arbitrary: fc.record({ type: of('wait'), ms: fc.oneof(fc.nat({ max: 900 }), fc.nat({ max: 40_000 })) }),
  },
  { weight: 1, arbitrary: fc.record({ type: of('cancel'), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ type: of('replay'), pick: fc.nat(), lengthMs: fc.constantFrom(30_000, HOUR) }) },
  { weight: 1, arbitrary: fc.record({ type: of('late'), pick: fc.nat(), outcome: anyOutcome }) },
  { weight: 1, arbitrary: fc.record({ type: of('lose'), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ type: of('crash') }) },
  { weight: 3, arbitrary: fc.record({ type: of('outage') }) },
  { weight: 1, arbitrary: fc.record({ type: of('clock'), backMs: fc.nat({ max: 2 * HOUR }) }) },
)
type Event = typeof anyEvent extends fc.Arbitrary<infer T> ? T : never

const anySetting = fc.record({
  concurrency: fc.integer({ min: 1, max: 8 }),
  perMinute: fc.integer({ min: 1, max: 60 }),
  perDay: fc.integer({ min: 200, max: 2_000 }),
  tokens: fc.integer({ min: 30, max: 300 }),
})
type Setting = typeof anySetting extends fc.Arbitrary<infer T> ? T : never

const limiter = (name: string, concurrency: number | null, rates: LimiterRate[]): Limiter => ({
  name,
  rules: { concurrency, rates },
  load: initialLoad(),
})

const limitersOf = ({ concurrency, perMinute, perDay, tokens }: Setting): Limiter[] => [
  limiter('a', concurrency, [
    { id: 'per_minute', limit: perMinute, windowMs: MINUTE },
    { id: 'per_day', limit: perDay, windowMs: 24 * HOUR },
  ]),
  limiter('a/2', 2, [{ id: 'tokens_per_minute', limit: tokens, windowMs: MINUTE }]),
  limiter('b', null, [{ id: 'per_minute', limit: perMinute, windowMs: MINUTE }]),
]

const inject = (history: History, event: Event): void => {
  const running = history.jobs.filter(({ job }) => job.status === 'running')
  const chosen = (from: readonly Entry[], pick: number): Entry | undefined => from[pick % Math.max(1, from.length)]
  if (event.type === 'submit') {
    const { notBeforeIn, deadlineIn, ...wish } = event.wish
    const { priority, project, tokens, models, ...rest } = wish
    const policy = { ...rest, deadlineAtMs: history.now + deadlineIn }
    for (let i = 0; i < event.count; i += 1) {
      history.submit(
        { priority, project, tokens, models, policy },
        notBeforeIn === null ? null : history.now + notBeforeIn,
      )
    }
  } else if (event.type === 'outcome') {
    const entry = chosen(running, event.pick)
    if (entry) history.end(entry, entry.job.attempt, event.outcome)
  } else if (event.type === 'late') {
    const entry = chosen(history.jobs, event.pick)
    const before = entry?.job
    if (entry) history.end(entry, entry.job.attempt - 1, event.outcome)
    expect(entry?.job).toBe(before)
  } else if (event.type === 'lose') {
    const entry = chosen(running, event.pick)
    if (entry) history.end(entry, entry.job.attempt, { code: 'outcome_unknown', resumable: entry.job.resume !== null })
  } else if (event.type === 'cancel') {
    const entry = chosen(history.jobs, event.pick)
    if (entry) history.apply(entry, { type: 'cancel' })
  } else if (event.type === 'replay') {
    const entry = chosen(history.jobs, event.pick)
    const wasFailed = entry?.job.status === 'failed'
    if (entry) expect(history.replay(entry, event.lengthMs)).toBe(wasFailed)
  } else if (event.type === 'outage') {
    for (const entry of running) {
      history.end(entry, entry.job.attempt, { code: 'provider_unavailable', resumable: false })
    }
  } else if (event.type === 'crash') history.crash()
  else if (event.type === 'wait') history.trueTime += event.ms
  else history.clockOffset -= event.backMs
}

/** What must hold after every event. */
const checkNow = (history: History, wasFinal: Map<number, Entry['job']>): void => {
  for (const { name, rules, load } of history.limiters.values()) {
    const running = history.jobs.filter(
      ({ job }) => job.status === 'running' && (job.model === name || job.model.startsWith(`${name}/`)),
    ).length
    if (rules.concurrency !== null) expect(running).toBeLessThanOrEqual(rules.concurrency)
    expect(load.running).toBe(running)
  }
  for (const { id, job, told } of history.jobs) {
    // Only a replay leads out of an end, and only out of a failure.
    if (wasFinal.get(id)?.status === 'failed' && told.at(-1)?.type !== 'job.failed') wasFinal.delete(id)
    if (wasFinal.has(id)) expect(job).toBe(wasFinal.get(id))
    else if (isFinal(job.status)) wasFinal.set(id, job)
    if (job.status === 'running' || isFinal(job.status)) expect(job.dueAtMs).toBeNull()
    if (job.status === 'scheduled') expect(job.dueAtMs).not.toBeNull()
  }
}

/** No window of a rate, wherever it begins, holds more than the limit: in true time, whatever the clock showed. */
const checkRates = (history: History): void => {
  for (const { name, rules } of history.limiters.values()) {
    const calls = history.calls.filter(({ model, provider }) => model === name || provider === name)
    for (const { id, limit, windowMs } of rules.rates) {
      const amount = (call: Call): number => (id === 'tokens_per_minute' ? call.tokens : 1)
      let first = 0
      let sum = 0
      for (const call of calls) {
        sum += amount(call)
        for (let oldest = calls[first]; oldest && call.at - oldest.at >= windowMs; oldest = calls[first]) {
          sum -= amount(oldest)
          first += 1
        }
        expect(sum).toBeLessThanOrEqual(limit)
      }
    }
  }
}

const checkStory = ({ id, job, told, policy }: Entry, calls: readonly Call[]): void => {
  const types = told.map(({ type }) => type)
  // Every end but the last is a failure, and a replay stands right behind it.
  expect(types.findLast(endsJob)).toBe(`job.${job.status}`)
  for (const [i, type] of types.entries()) {
    if (i < types.length - 1 && endsJob(type)) expect([type, types[i + 1]]).toEqual(['job.failed', 'job.replayed'])
    if (type === 'job.replayed') expect(types[i - 1]).toBe('job.failed')
  }
  expect(endsJob(types.at(-1) ?? 'job.queued')).toBe(true)
  // Every attempt goes out once: its numbers run from 1 without a gap, and each was one call.
  const starts = told.flatMap(({ type, data }) => (type === 'job.started' ? [data['attempt']] : []))
  expect(starts).toEqual(Array.from({ length: job.attempt }, (_, i) => i + 1))
  expect(calls.filter((call) => call.job === id).map(({ attempt }) => attempt)).toEqual(starts)
  // A start is followed by the attempt's end, never by another start.
  for (const [i, type] of types.entries()) if (type === 'job.started') expect(types[i + 1]).not.toBe('job.started')
  const round = told.slice(types.lastIndexOf('job.replayed') + 1)
  const faults = round.filter(({ type, data }) => data['attempt'] !== undefined && type !== 'job.started')
  const counted = faults.filter(({ data }) => data['code'] !== 'provider_rate_limited').length
  expect(job.counted).toBeLessThanOrEqual(policy.maxAttempts)
  expect(job.counted).toBeGreaterThanOrEqual(counted)
  expect(ARROWS[job.status]).toEqual(job.status === 'failed' ? ['queued'] : [])
}

test('over any history of jobs, outcomes, cancellations, crashes and clock steps, every promise of the scheduler holds', () => {
  fc.assert(
    fc.property(anySetting, fc.array(anyEvent, { maxLength: 120, size: 'max' }), (setting, events) => {
      const history = new History(limitersOf(setting), (_call, breaker, now) => {
        if (breaker.state !== 'open') return
        // While open nothing goes out, unless the clock was set back beyond what an opening can last.
        expect(now >= breaker.untilMs || breaker.untilMs > now + LIMITS.breakerOpenMaxMs).toBe(true)
      })
      const wasFinal = new Map<number, Entry['job']>()
      for (const event of events) {
        inject(history, event)
        history.turn()
        checkNow(history, wasFinal)
      }
      // The clock runs on and the providers are well again: everything ends, and nothing by a deadline a week away.
      const quietFrom = new Set(unfinished(history).map(({ id }) => id))
      for (let minute = 0; minute < 2_000 && unfinished(history).length > 0; minute += 1) {
        for (const entry of history.jobs) history.end(entry, entry.job.attempt, { code: 'done', resumable: false })
        history.turn()
        checkNow(history, wasFinal)
        history.trueTime += MINUTE
      }
      expect(unfinished(history)).toEqual([])
      for (const entry of history.jobs) {
        checkStory(entry, history.calls)
        const isPatient = entry.policy.deadlineAtMs > history.now
        if (quietFrom.has(entry.id) && isPatient) expect(entry.job.status).toBe('succeeded')
      }
      checkRates(history)
    }),
    { numRuns: 100 },
  )
}, 60_000)

test('over any stream of priority 9, a job of priority 0 starts within its nine minutes and the 63 turns after them', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 20 }),
      fc.nat({ max: 30 }),
      (arrivals, crashAt) => {
        const history = new History([limiter('a', 1, [])], () => {})
        const policy = { maxAttempts: 1, deadlineAtMs: Number.POSITIVE_INFINITY, fallback: false } as const
        const wish = {
          tokens: 1,
          models: ['a/1'],
          policy: { ...policy, onContentRejected: 'fail', onOutcomeUnknown: 'fail' },
        } as const
        const submit = (priority: number) =>
          history.submit({ ...wish, models: [...wish.models], priority, project: `p${priority}` }, null)
        submit(9)
        submit(0)
        const since = history.now
        const patient = history.jobs[1]
        const turnMs = 10_000
        for (let turn = 0; patient?.job.status === 'queued'; turn += 1) {
          for (let i = 0; i < (arrivals[turn % arrivals.length] ?? 1); i += 1) submit(9)
          for (const entry of history.jobs) history.end(entry, entry.job.attempt, { code: 'done', resumable: false })
          if (turn === crashAt) history.crash()
          history.turn()
          history.trueTime += turnMs
          expect(history.now - since).toBeLessThanOrEqual(9 * LIMITS.ageingPerPriorityMs + 64 * turnMs)
        }
        expect(history.now - since).toBeGreaterThan(9 * LIMITS.ageingPerPriorityMs)
      },
    ),
    { numRuns: 20 },
  )
})
