import { describe, expect, test } from 'vitest'
import { admit, initialLoad, type Limiter, paceOf, readyAt, release, slotsOf } from '../../../src/core/admission.ts'
import { estimateStart } from '../../../src/core/estimate.ts'

const NOW = 1_790_000_000_000

type Line = { limiter: Limiter; durationMs: number; running: number[]; now: number }

/** Starts `count` jobs one after the other, as soon as the limits let each out; returns when each started. */
const run = (line: Line, count: number, tokens = 0): number[] => {
  const starts: number[] = []
  while (starts.length < count) {
    for (const end of line.running.filter((at) => at <= line.now)) {
      line.running.splice(line.running.indexOf(end), 1)
      line.limiter = { ...line.limiter, load: release(line.limiter.load) }
    }
    const admission = admit([line.limiter], tokens, line.now)
    if (admission.admitted) {
      line.limiter = { ...line.limiter, load: admission.loads[0] ?? initialLoad() }
      line.running.push(line.now + line.durationMs)
      starts.push(line.now)
    } else line.now = admission.untilMs ?? Math.min(...line.running)
  }
  return starts
}

const estimateOf = ({ limiter, durationMs, now }: Line, ahead: number, tokens = 0): number =>
  estimateStart({
    ahead,
    now,
    readyAtMs: readyAt(limiter, tokens, now),
    running: limiter.load.running,
    concurrency: slotsOf(limiter),
    durationMs,
    intervalMs: paceOf(limiter, tokens),
  })

const lineOf = (rules: Limiter['rules'], durationMs: number): Line => ({
  limiter: { name: 'provider', rules, load: initialLoad() },
  durationMs,
  running: [],
  now: NOW,
})

const perMinute = (limit: number) => ({ id: 'per_minute' as const, limit, windowMs: 60_000 })
const tokensPerMinute = (limit: number) => ({ id: 'tokens_per_minute' as const, limit, windowMs: 60_000 })

const CASES: [what: string, rules: Limiter['rules'], durationMs: number, tokens: number][] = [
  ['a rate of 60 a minute', { concurrency: null, rates: [perMinute(60)] }, 8_000, 0],
  ['a rate of 5 a minute', { concurrency: null, rates: [perMinute(5)] }, 8_000, 0],
  ['a rate in tokens, small calls', { concurrency: null, rates: [tokensPerMinute(90_000)] }, 8_000, 1_000],
  ['a rate in tokens, calls above the burst', { concurrency: null, rates: [tokensPerMinute(10_000)] }, 8_000, 3_000],
  ['ten at once', { concurrency: 10, rates: [] }, 8_000, 0],
  ['one at once', { concurrency: 1, rates: [] }, 8_000, 0],
  ['a concurrency that binds below a rate', { concurrency: 4, rates: [perMinute(600)] }, 8_000, 0],
  ['a rate that binds below a concurrency', { concurrency: 100, rates: [perMinute(30)] }, 8_000, 0],
]

describe('the estimated start in a steady state of 500 waiting jobs', () => {
  test.each(CASES)('is right within a factor of two for every job under %s', (_what, rules, durationMs, tokens) => {
    const line = lineOf(rules, durationMs)
    run(line, 150, tokens)
    // The moment at which the next job has just had to wait: the steady state.
    const from = line.now
    const estimates = Array.from({ length: 500 }, (_, ahead) => estimateOf(line, ahead, tokens) - from)
    const starts = run(line, 500, tokens).map((at) => at - from)
    for (const ahead of [10, 20, 50, 100, 250, 499]) {
      const estimate = estimates[ahead] ?? 0
      const start = starts[ahead] ?? 0
      expect(start).toBeGreaterThan(0)
      expect(estimate).toBeLessThanOrEqual(2 * start)
      expect(estimate).toBeGreaterThanOrEqual(start / 2)
    }
  })
})

describe('the estimated start', () => {
  const queue = { ahead: 0, now: NOW, readyAtMs: NOW, running: 0, concurrency: 2, durationMs: 1_000, intervalMs: 0 }

  test('is now for as many jobs as there are free slots', () => {
    expect([0, 1].map((ahead) => estimateStart({ ...queue, ahead }))).toEqual([NOW, NOW])
    expect(estimateStart({ ...queue, ahead: 2 })).toBeGreaterThan(NOW)
  })

  test('is never before the provider can be called at all', () => {
    expect(estimateStart({ ...queue, readyAtMs: NOW + 90_000 })).toBe(NOW + 90_000)
  })

  test('counts from when the provider can be called, one pace per job ahead', () => {
    expect(estimateStart({ ...queue, ahead: 3, concurrency: 99, readyAtMs: NOW + 500, intervalMs: 100 })).toBe(
      NOW + 800,
    )
  })

  test('is finite where there is no limit', () => {
    expect(estimateStart({ ...queue, ahead: 499, concurrency: Number.POSITIVE_INFINITY, running: 7 })).toBe(NOW)
  })

  test('is not earlier for a job farther back', () => {
    const times = Array.from({ length: 100 }, (_, ahead) =>
      estimateStart({ ...queue, ahead, running: 1, intervalMs: 7 }),
    )
    expect(times).toEqual([...times].sort((a, b) => a - b))
  })
})
