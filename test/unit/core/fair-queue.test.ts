import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { emptyOrder, liftedPriority, restoreTags, serveJob, tagJob } from '../../../src/core/fair-queue.ts'
import { LIMITS } from '../../../src/limits.ts'
import { WaitingLine } from './waiting-line.ts'

const NOW = 1_790_000_000_000
const AGED = LIMITS.priorityMax * LIMITS.ageingPerPriorityMs

/** Serves `count` jobs and counts them by project or priority. */
const servedBy = (line: WaitingLine, count: number, by: 'project' | 'priority', now: number): Map<string, number> => {
  const counts = new Map<string, number>()
  for (let i = 0; i < count; i += 1) {
    const job = line.serve(now)
    if (job) counts.set(String(job[by]), (counts.get(String(job[by])) ?? 0) + 1)
  }
  return counts
}

/** Serves until the job is served; how many others were before it. */
const othersBefore = (line: WaitingLine, id: number, now: number): number => {
  for (let others = 0; others < 100_000; others += 1) if (line.serve(now)?.id === id) return others
  throw new Error('never served')
}

describe('shares between projects', () => {
  const anyWeights = fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 2, maxLength: 4 })
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, item) => total + item, 0)

  test('lie within 10 % of the weights over 1,000 jobs, whatever the weights and however the jobs arrive', () => {
    fc.assert(
      fc.property(anyWeights, fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 50 }), (weights, bursts) => {
        const names = weights.map((_, i) => `p${i}`)
        const line = new WaitingLine(Object.fromEntries(names.map((name, i) => [name, weights[i] ?? 1])))
        const counts = new Map<string, number>()
        for (let turn = 0; turn < 1_000; turn += 1) {
          // Each project has at least one job waiting, and as many more as chance wills.
          for (const [i, name] of names.entries()) {
            const burst = bursts[(turn * names.length + i) % bursts.length] ?? 0
            if (line.waitingOf(name) === 0) line.addMany(1 + burst * 7, name, 5, NOW)
            else if (turn % 5 === 0) line.addMany(burst, name, 5, NOW)
          }
          const job = line.serve(NOW)
          if (job) counts.set(job.project, (counts.get(job.project) ?? 0) + 1)
        }
        for (const [i, name] of names.entries()) {
          const fair = (1_000 * (weights[i] ?? 1)) / sum(weights)
          expect(Math.abs((counts.get(name) ?? 0) - fair)).toBeLessThanOrEqual(0.1 * fair)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('a project with 10,000 jobs waiting delays the single job of another by one turn at most', () => {
    const line = new WaitingLine()
    line.addMany(10_000, 'big', 5, NOW)
    servedBy(line, 137, 'project', NOW)
    expect(othersBefore(line, line.add('small', 5, NOW).id, NOW)).toBeLessThanOrEqual(1)
  })

  test('a single job of small weight waits for its fair share of turns, and no longer', () => {
    const line = new WaitingLine({ big: 20, small: 1 })
    line.addMany(10_000, 'big', 5, NOW)
    servedBy(line, 137, 'project', NOW)
    line.add('small', 5, NOW)
    const second = line.add('small', 5, NOW)
    // The first goes at once; the second after the twenty that the weights give to the other project.
    expect(othersBefore(line, second.id, NOW)).toBeLessThanOrEqual(22)
  })

  test('what a project has canceled costs its next job no turn, also after a restart', () => {
    for (const restarts of [false, true]) {
      const line = new WaitingLine()
      line.addMany(1_000, 'mistaken', 5, NOW)
      line.addMany(1_000, 'other', 5, NOW)
      servedBy(line, 10, 'project', NOW)
      if (restarts) line.restart()
      line.cancel('mistaken')
      expect(othersBefore(line, line.add('mistaken', 5, NOW).id, NOW)).toBeLessThanOrEqual(2)
    }
  })

  test('lie within 10 % of the weights also where a project now and then cancels all that waits of it, which gains it nothing', () => {
    fc.assert(
      fc.property(anyWeights, fc.array(fc.nat({ max: 40 }), { minLength: 5, maxLength: 50 }), (weights, cancels) => {
        const names = weights.map((_, i) => `p${i}`)
        const line = new WaitingLine(Object.fromEntries(names.map((name, i) => [name, weights[i] ?? 1])))
        const counts = new Map<string, number>()
        for (let turn = 0; turn < 2_000; turn += 1) {
          if (cancels[turn % cancels.length] === 0) line.cancel('p0')
          for (const name of names) if (line.waitingOf(name) < 5) line.addMany(20, name, 5, NOW)
          const job = line.serve(NOW)
          if (job) counts.set(job.project, (counts.get(job.project) ?? 0) + 1)
        }
        for (const [i, name] of names.entries()) {
          const fair = (2_000 * (weights[i] ?? 1)) / sum(weights)
          expect(Math.abs((counts.get(name) ?? 0) - fair)).toBeLessThanOrEqual(0.1 * fair)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('a project that was idle has saved nothing up', () => {
    const line = new WaitingLine()
    line.addMany(1, 'idle', 5, NOW)
    line.addMany(2_000, 'busy', 5, NOW)
    servedBy(line, 1_000, 'project', NOW)
    line.addMany(1_000, 'idle', 5, NOW)
    expect(servedBy(line, 100, 'project', NOW).get('busy')).toBeGreaterThanOrEqual(49)
  })

  test('a project alone gets every turn, whatever its weight', () => {
    const line = new WaitingLine({ lonely: 0.01 })
    line.addMany(50, 'lonely', 5, NOW)
    expect(servedBy(line, 50, 'project', NOW).get('lonely')).toBe(50)
  })

  test('jobs of one project run in the order in which they came', () => {
    const line = new WaitingLine({ one: 3 })
    line.addMany(100, 'one', 5, NOW)
    const ids = Array.from({ length: 100 }, () => line.serve(NOW)?.id)
    expect(ids).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
  })

  test('a stream of new projects does not go before the second job of an old one for ever', () => {
    const line = new WaitingLine()
    line.addMany(10, 'big', 5, NOW)
    const served: string[] = []
    for (let i = 0; i < 200; i += 1) {
      line.add(`guest ${i}`, 5, NOW)
      served.push(line.serve(NOW)?.project ?? '')
    }
    // Two share at any time: the old one and the guest of the moment. A few rounds pass before the sums are looked at anew.
    expect(served.slice(0, 100).filter((project) => project === 'big').length).toBeGreaterThanOrEqual(5)
    expect(line.waitingOf('big')).toBeLessThan(5)
  })

  test('hold while thousands of projects come and go', () => {
    const line = new WaitingLine()
    line.addMany(5_000, 'big', 5, NOW)
    for (let i = 0; i < 2_000; i += 1) {
      expect(othersBefore(line, line.add(`guest ${i}`, 5, NOW).id, NOW)).toBeLessThanOrEqual(1)
      expect(line.serve(NOW)?.project).toBe('big')
    }
    expect(line.order.classes.get(5)?.next.size).toBeLessThan(1_000)
  })

  test('are remembered of a bounded number of projects, the last to come, in a stream of new ones that never ends', () => {
    const order = emptyOrder()
    const most = LIMITS.projectsRemembered
    for (let i = 0; i < 20 * most; i += 1) serveJob(order, 5, `guest ${i}`, tagJob(order, 5, `guest ${i}`, 1))
    const shares = order.classes.get(5)
    expect(shares?.next.size).toBeLessThanOrEqual(most)
    expect(shares?.next.has(`guest ${20 * most - 1}`)).toBe(true)
    expect(shares?.weights).toBe(shares?.next.size)
    for (let i = 0; i < 2 * most; i += 1) restoreTags(order, 5, `found ${i}`, 1, { least: 9, greatest: 9, waiting: 1 })
    expect(shares?.next.size).toBeLessThanOrEqual(most)
    expect(shares?.weights).toBe(shares?.next.size)
  })
})

describe('priority', () => {
  test('the higher runs first while nobody is old', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 60 }), (priorities) => {
        const line = new WaitingLine()
        for (const priority of priorities) line.add('one', priority, NOW)
        const served = priorities.map(() => line.serve(NOW + LIMITS.ageingPerPriorityMs - 1)?.priority)
        expect(served).toEqual([...priorities].sort((a, b) => b - a))
      }),
    )
  })

  test('a minute of waiting is worth one step, up to the highest', () => {
    expect([0, 59_999, 60_000, 539_999, 540_000, 9e9].map((waited) => liftedPriority(0, NOW, NOW + waited))).toEqual([
      0, 0, 1, 8, 9, 9,
    ])
    expect(liftedPriority(9, NOW, NOW + 9e9)).toBe(9)
    // A clock that was set back makes nobody younger than new.
    expect(liftedPriority(5, NOW + 9e9, NOW)).toBe(5)
  })

  /*
   * The bound: nine minutes until class 0 is among the highest. Its turn is then at most one measure (1 / weight, and its
   * weight is 1) ahead of the measure of the queue; until the queue is there, a class of weight w takes at most w + 1 turns.
   * With the weights 2…10 that is 54 + 9 = 63 turns of others.
   */
  const BOUND_TURNS = 63

  test('a job of priority 0 waits behind a stream of priority 9 for nine minutes and a turn, and no longer', () => {
    const line = new WaitingLine()
    const patient = line.add('patient', 0, NOW)
    let servedAt: number | null = null
    for (let now = NOW; servedAt === null && now < NOW + 2 * AGED; now += 1_000) {
      line.addMany(2, 'urgent', 9, now)
      if (line.serve(now)?.id === patient.id) servedAt = now
    }
    expect(servedAt).not.toBeNull()
    expect((servedAt ?? 0) - NOW).toBeGreaterThanOrEqual(AGED)
    expect((servedAt ?? 0) - NOW).toBeLessThanOrEqual(AGED + BOUND_TURNS * 1_000)
  })

  test('an aged job of priority 0 waits 63 turns at most, though all other classes are flooded', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 200 }), (earlier) => {
        const line = new WaitingLine()
        // A history that leaves each class with a turn of its own.
        for (const priority of earlier) line.add('earlier', priority, NOW)
        servedBy(line, earlier.length, 'priority', NOW)
        const patient = line.add('patient', 0, NOW)
        for (let priority = 1; priority <= 9; priority += 1) line.addMany(100, 'flood', priority, NOW)
        expect(othersBefore(line, patient.id, NOW + AGED)).toBeLessThanOrEqual(BOUND_TURNS)
      }),
    )
  })

  test('a flood of old jobs of low priority holds up a new job of priority 9 by one turn at most', () => {
    const line = new WaitingLine()
    line.addMany(10_000, 'flood', 0, NOW)
    servedBy(line, 500, 'priority', NOW + AGED)
    expect(othersBefore(line, line.add('urgent', 9, NOW + AGED).id, NOW + AGED)).toBeLessThanOrEqual(1)
  })

  test('a stream of priority 9 keeps ten of eleven turns beside a flood of old jobs of priority 0', () => {
    const line = new WaitingLine()
    line.addMany(10_000, 'flood', 0, NOW)
    line.addMany(2_000, 'urgent', 9, NOW + AGED)
    const counts = servedBy(line, 1_100, 'priority', NOW + AGED)
    expect(counts.get('9')).toBeGreaterThanOrEqual(990)
    expect(counts.get('0')).toBeGreaterThanOrEqual(95)
  })

  test('among old classes, turns go by priority plus one', () => {
    const line = new WaitingLine()
    for (let priority = 0; priority <= 9; priority += 1) line.addMany(1_000, 'one', priority, NOW)
    const counts = servedBy(line, 1_100, 'priority', NOW + AGED)
    for (let priority = 0; priority <= 9; priority += 1) {
      expect(Math.abs((counts.get(String(priority)) ?? 0) - 20 * (priority + 1))).toBeLessThanOrEqual(2)
    }
  })

  test('an empty queue has no class to serve', () => {
    expect(new WaitingLine().serve(NOW)).toBeNull()
  })
})

describe('a restart', () => {
  const anyArrivals = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 60 })

  test('serves what waits in the same order as without it, within a class', () => {
    fc.assert(
      fc.property(anyArrivals, fc.nat({ max: 40 }), (arrivals, servedBefore) => {
        const [kept, restarted] = [0, 1].map((restarts) => {
          const line = new WaitingLine({ p0: 3, p1: 2, p2: 1, p3: 0.5 })
          for (const project of arrivals) line.add(`p${project}`, 5, NOW)
          servedBy(line, servedBefore, 'project', NOW)
          if (restarts) line.restart()
          return arrivals.map(() => line.serve(NOW)?.id ?? null)
        })
        expect(restarted).toEqual(kept)
      }),
    )
  })

  test('moves a job that comes after it by one round of the projects at most', () => {
    fc.assert(
      fc.property(anyArrivals, fc.nat({ max: 40 }), fc.nat({ max: 3 }), (arrivals, servedBefore, late) => {
        const [kept = 0, restarted = 0] = [0, 1].map((restarts) => {
          const line = new WaitingLine()
          for (const project of arrivals) line.add(`p${project}`, 5, NOW)
          servedBy(line, servedBefore, 'project', NOW)
          if (restarts) line.restart()
          return othersBefore(line, line.add(`p${late}`, 5, NOW).id, NOW)
        })
        expect(Math.abs(restarted - kept)).toBeLessThanOrEqual(4)
      }),
    )
  })

  test('keeps the shares: a project with much waiting still delays a single job by one turn at most', () => {
    const line = new WaitingLine()
    line.addMany(10_000, 'big', 5, NOW)
    servedBy(line, 500, 'project', NOW)
    line.restart()
    expect(othersBefore(line, line.add('small', 5, NOW).id, NOW)).toBeLessThanOrEqual(1)
  })
})
