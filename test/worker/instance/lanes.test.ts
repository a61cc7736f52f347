import { describe, expect, test, vi } from 'vitest'
import type { AttemptRef } from '../../../src/contract/rpc.ts'
import { Lanes } from '../../../src/instance/lanes.ts'
import type { LaneRpc } from '../../../src/job/lane-rpc.ts'
import { LIMITS } from '../../../src/limits.ts'

/** One lane with one attempt, begun before the process of the Instance was. */

const BORN = 1_790_000_000_000
const ATTEMPT = { job: 'job_1', attempt: 1 }
const LOADS = [1]

const laneOf = (answers: Partial<LaneRpc> = {}): LaneRpc => ({
  assign: async () => undefined,
  check: async () => ({ known: [], bornAtMs: BORN }),
  stop: async () => undefined,
  poke: async () => undefined,
  renew: async () => 0,
  destroy: async () => undefined,
  ...answers,
})

/** The Instance after a restart at `BORN`, as far as its lane is concerned; time moves by hand. */
const restarted = (rpc: LaneRpc, inherited: number[] = [0]) => {
  const clock = { now: BORN }
  const lanes = new Lanes(() => rpc, inherited, BORN)
  const judge = vi.fn(async (_lost: AttemptRef[], _bornAtMs: number): Promise<void> => undefined)
  const ask = (startedAtMs = BORN - 14) => lanes.ask(0, [{ ...ATTEMPT, startedAtMs }], () => clock.now, judge)
  return { clock, lanes, judge, ask }
}

describe('an attempt that a crash cut off in a lane that goes on reporting', () => {
  test('is asked after again where its verdict could not be written', async () => {
    const { clock, lanes, judge, ask } = restarted(laneOf())
    judge.mockRejectedValueOnce(new Error('the commit failed'))
    expect(await ask()).toEqual({ error: new Error('the commit failed') })
    clock.now += LIMITS.backoffBaseMs
    lanes.reported(0, clock.now, BORN)
    expect(lanes.silent(LOADS, clock.now)).toEqual([0])
    expect(await ask()).toBeNull()
    expect(judge.mock.calls).toEqual([
      [[ATTEMPT], BORN],
      [[ATTEMPT], BORN],
    ])
    lanes.reported(0, clock.now, BORN)
    expect(lanes.silent(LOADS, clock.now)).toEqual([])
  })

  test('is asked after again where the lane could not be asked, ever more seldom up to a lease', async () => {
    const broken = laneOf({ check: () => Promise.reject(new Error('broken')) })
    const { clock, lanes, ask } = restarted(broken)
    const waits: number[] = []
    for (let times = 0; times < 7; times += 1) {
      await ask()
      const next = lanes.nextExpiry(LOADS, clock.now) ?? 0
      waits.push(next - clock.now)
      clock.now = next
      lanes.heard(0, clock.now)
      expect(lanes.silent(LOADS, clock.now)).toEqual([0])
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
  })

  test('is asked after again where the lane does not answer', async () => {
    vi.useFakeTimers()
    try {
      const { clock, lanes, ask } = restarted(laneOf({ check: () => new Promise(() => undefined) }))
      const asked = ask()
      // Until then an alarm stands, should the actor be evicted meanwhile.
      expect(lanes.nextExpiry(LOADS, clock.now)).toBe(clock.now + LIMITS.leaseMs)
      expect(lanes.silent(LOADS, clock.now)).toEqual([])
      await vi.advanceTimersByTimeAsync(LIMITS.laneAnswerMs)
      expect(await asked).toEqual({ error: expect.any(Error) })
      expect(lanes.nextExpiry(LOADS, clock.now)).toBe(clock.now + LIMITS.backoffBaseMs)
    } finally {
      vi.useRealTimers()
    }
  })
})

test('a lane that could not be given its work is asked what it got, though it reports', async () => {
  const rpc = laneOf({ assign: () => Promise.reject(new Error('broken')) })
  const { clock, lanes, judge, ask } = restarted(rpc, [])
  lanes.heard(0, clock.now)
  await lanes.assign(0, [{ ...ATTEMPT } as never], clock.now)
  lanes.reported(0, clock.now, BORN)
  expect(lanes.silent(LOADS, clock.now)).toEqual([0])
  await ask(clock.now)
  expect(judge).toHaveBeenCalledWith([ATTEMPT], BORN)
})

describe('a lane that reports without end', () => {
  test('is asked now and then, and only after what began a lease ago', async () => {
    const { clock, lanes, judge, ask } = restarted(laneOf(), [])
    for (; clock.now < BORN + LIMITS.laneCheckMs; clock.now += 1_000) {
      lanes.reported(0, clock.now, BORN)
      expect(lanes.silent(LOADS, clock.now)).toEqual([])
    }
    expect(lanes.silent(LOADS, clock.now)).toEqual([0])
    await ask(clock.now - LIMITS.leaseMs)
    expect(judge).not.toHaveBeenCalled()
    await ask(clock.now - LIMITS.leaseMs - 1)
    expect(judge).toHaveBeenCalledWith([ATTEMPT], BORN)
    expect(lanes.silent(LOADS, clock.now)).toEqual([])
  })

  test('from a new process is asked after what the earlier one had, found out by a report or by the answer', async () => {
    for (const foundBy of ['report', 'answer']) {
      let bornAtMs = BORN
      const { clock, lanes, judge, ask } = restarted(laneOf({ check: async () => ({ known: [], bornAtMs }) }))
      lanes.reported(0, clock.now, BORN)
      clock.now += 5_000
      bornAtMs = clock.now
      if (foundBy === 'report') lanes.reported(0, clock.now, bornAtMs)
      await ask(clock.now - 1)
      if (foundBy === 'answer') expect(judge).not.toHaveBeenCalled()
      while (lanes.silent(LOADS, clock.now).length > 0) await ask(clock.now - 1)
      expect(judge).toHaveBeenLastCalledWith([ATTEMPT], bornAtMs)
    }
  })
})

test('a lane that falls silent is asked after a lease also where the clock was set back meanwhile', () => {
  const { clock, lanes } = restarted(laneOf(), [])
  lanes.heard(0, clock.now)
  clock.now += LIMITS.leaseMs - 1_800_000
  expect(lanes.silent(LOADS, clock.now)).toEqual([0])
})
