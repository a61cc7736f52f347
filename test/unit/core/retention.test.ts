import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Status } from '../../../src/contract/job.ts'
import {
  type Aged,
  afterLook,
  cutAt,
  fateOf,
  freshSweep,
  idFrom,
  jobExpiry,
  keepOf,
  nextLook,
  nextPauseMs,
  oldPrefix,
  patienceMs,
  restMs,
  type Sweep,
  sweepAt,
} from '../../../src/core/retention.ts'
import { LIMITS } from '../../../src/limits.ts'

const DAY_MS = 24 * 60 * 60 * 1000
const START = Date.parse('2026-11-21T00:00:00Z')

const aged = (more: Partial<Aged> = {}): Aged => ({
  id: idFrom('job', START),
  status: 'succeeded',
  endedAtMs: START,
  discardedAtMs: null,
  isHeld: false,
  ...more,
})

describe('what is kept', () => {
  test('has its defaults where nothing, null or only a part is said', () => {
    const whole = keepOf(null)
    expect(whole).toEqual(keepOf(undefined))
    expect(whole).toEqual(keepOf({ jobs_s: null, events_s: null }))
    expect([whole.jobsMs, whole.eventsMs, whole.isArchiving]).toEqual([30 * DAY_MS, 30 * DAY_MS, false])
  })

  test('pictures and the ledger follow the jobs, dead letters do not follow a shorter retention', () => {
    const short = keepOf({ jobs_s: 60 })
    expect([short.artifactsMs, short.ledgerMs, short.deadLettersMs]).toEqual([60_000, 60_000, 30 * DAY_MS])
    const long = keepOf({ jobs_s: 90 * 86_400 })
    expect([long.artifactsMs, long.deadLettersMs]).toEqual([90 * DAY_MS, 90 * DAY_MS])
    expect(keepOf({ jobs_s: 60, dead_letters_s: 30, artifacts_s: 90 })).toMatchObject({
      deadLettersMs: 30_000,
      artifactsMs: 90_000,
    })
  })

  test.each([
    ['live', { status: 'running', endedAtMs: null }, null],
    ['finished', {}, START + 60_000],
    ['a dead letter', { status: 'failed' }, START + DAY_MS],
    ['discarded', { status: 'failed', discardedAtMs: START + 5 }, START + 60_000],
  ] as [string, Partial<Aged>, number | null][])('a job that is %s expires when it should', (_, more, expiry) => {
    expect(jobExpiry(aged(more), keepOf({ jobs_s: 60, dead_letters_s: 86_400 }))).toBe(expiry)
  })

  test('a job is due from the very millisecond on, waited for when that is near, and passed over when it is not', () => {
    const keep = keepOf({ jobs_s: 60 })
    const at = START + 60_000
    expect(fateOf(aged(), keep, at)).toBe('due')
    expect(fateOf(aged(), keep, at - 1)).toBe('soon')
    expect(fateOf(aged(), keep, at - patienceMs(60_000) - 1)).toBe('later')
    expect(fateOf(aged({ isHeld: true }), keep, at)).toBe('later')
  })
})

test('the first id of a time lies behind all of the time before and before all of its own', () => {
  expect(idFrom('job', START) > idFrom('job', START - 1)).toBe(true)
  expect(idFrom('job', START)).toMatch(/^job_[0-9A-HJKMNP-TV-Z]{10}0{16}$/)
  expect(idFrom('job', -5)).toBe(idFrom('job', 0))
})

test('pauses grow shorter while there is more to do, and begin anew', () => {
  let pause: number = LIMITS.trimPauseMaxMs
  for (let i = 0; i < 10; i += 1) pause = nextPauseMs(pause, true)
  expect(pause).toBe(LIMITS.trimPauseMs)
  expect(nextPauseMs(pause, false)).toBe(LIMITS.trimPauseMaxMs)
})

test('what is left of rows has no hole, and nothing goes behind the last that is old', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 100 })), fc.integer({ min: 0, max: 100 }), (times, cutoff) => {
      const count = oldPrefix(times, cutoff)
      expect(times.slice(count).every((at) => at > cutoff)).toBe(true)
      if (count > 0) expect(times[count - 1]).toBeLessThanOrEqual(cutoff)
    }),
  )
})

/** A table of jobs, in memory, over which the walk goes as the instance lets it. */
const walk = (jobs: Aged[], keep: ReturnType<typeof keepOf>, untilMs: number, looks: number, atMost: number) => {
  const left = new Map(jobs.map((job) => [job.id, job]))
  const gone = new Map<string, number>()
  let sweep: Sweep = freshSweep()
  let now = START
  let steps = 0
  while (now <= untilMs) {
    const look = nextLook(sweep, keep, now)
    steps += 1
    if (look) {
      const found = [...left.values()]
        .filter(({ id }) => id > look.after && id < look.before)
        .sort((a, b) => (a.id < b.id ? -1 : 1))
      const seen = found.slice(0, looks)
      // Not ended yet at this time.
      const then = seen.map((job) =>
        job.endedAtMs !== null && job.endedAtMs > now ? { ...job, status: 'running' as const, endedAtMs: null } : job,
      )
      const fates = then.map((job) => ({ id: job.id, fate: fateOf(job, keep, now) }))
      const keepMs = Math.min(keep.jobsMs, keep.deadLettersMs)
      const after = afterLook(sweep, look, { jobs: fates, isLast: seen.length < looks }, { keepMs, now, atMost })
      expect(after.due.length).toBeLessThanOrEqual(atMost)
      for (const id of after.due) {
        left.delete(id)
        gone.set(id, now)
      }
      sweep = after.sweep
    }
    now = Math.max(now + 10, Math.min(sweepAt(sweep), untilMs + 1))
  }
  return { left, gone, steps }
}

const job = fc.record({
  bornMs: fc.integer({ min: 0, max: 200_000 }),
  livedMs: fc.integer({ min: 0, max: 200_000 }),
  kind: fc.constantFrom<[Status, boolean]>(
    ['succeeded', false],
    ['failed', false],
    ['failed', true],
    ['canceled', false],
  ),
  isForEver: fc.boolean(),
})

test('every job goes once it is old enough and not long after, no job before, and none that lives', () => {
  fc.assert(
    fc.property(
      fc.array(job, { maxLength: 60 }),
      fc.integer({ min: 1, max: 120 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 20 }),
      (drawn, retentionS, looks, atMost) => {
        const keep = keepOf({ jobs_s: retentionS, dead_letters_s: 100 })
        const jobs = drawn.map(({ bornMs, livedMs, kind, isForEver }, i) => {
          const [status, isDiscarded] = kind
          const endedAtMs = START + bornMs + livedMs
          const id = idFrom('job', START + bornMs).slice(0, -2) + String(i).padStart(2, '0')
          if (isForEver) return aged({ id, status: 'queued', endedAtMs: null })
          return aged({ id, status, endedAtMs, discardedAtMs: isDiscarded ? endedAtMs : null })
        })
        const { left, gone } = walk(jobs, keep, START + 900_000, looks, atMost)
        const slackMs = 2 * (patienceMs(keep.jobsMs) + restMs(keep.jobsMs)) + 10 * jobs.length * 10
        for (const each of jobs) {
          const expiry = jobExpiry(each, keep)
          const at = gone.get(each.id)
          if (expiry === null) expect(left.has(each.id)).toBe(true)
          else {
            expect(at).toBeGreaterThanOrEqual(expiry)
            expect((at ?? 0) - expiry).toBeLessThanOrEqual(slackMs)
          }
        }
      },
    ),
    { numRuns: 60 },
  )
})

test('a walk that was cut off goes on behind the last that was done', () => {
  const sweep = { ...freshSweep(), front: 'job_9', frontAtMs: 99 }
  const front = { at: 'front', after: '', before: 'job_8' } as const
  expect(cutAt(sweep, front, 'job_3', 5)).toEqual({ ...sweep, front: 'job_3', frontAtMs: 5 })
  const back = { at: 'back', after: '', before: 'job_8' } as const
  expect(cutAt(sweep, back, 'job_3', 5)).toEqual({ ...sweep, back: 'job_3', backAtMs: 5 })
})

test('a clock that was set back does not stop the walk', () => {
  const keep = keepOf({ jobs_s: 60 })
  const ahead = { ...freshSweep(), frontAtMs: START + DAY_MS, backAtMs: START + DAY_MS }
  expect(nextLook(ahead, keep, START)?.at).toBe('front')
  expect(nextLook({ ...ahead, frontAtMs: START + 500, backAtMs: START + 500 }, keep, START)).toBeNull()
})
