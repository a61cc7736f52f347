import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Settlement } from '../../../src/contract/foreground-rpc.ts'
import { Settlements } from '../../../src/edge/settlements.ts'
import { LIMITS } from '../../../src/limits.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const settlement = (job: string): Settlement => ({
  ref: { job, attempt: 1 },
  end: {
    fault: null,
    usage: null,
    delivered: true,
    abandoned: false,
    serviceTier: null,
    providerRequestId: null,
    providerMs: 0,
    rate: { requests: null, tokens: null },
  },
})
const jobsOf = (messages: Settlement[][]) => messages.map((message) => message.map(({ ref }) => ref.job))

describe('ends of calls', () => {
  test('one that comes alone is told at once', async () => {
    const settlements = new Settlements(Date.now)
    const sent: Settlement[][] = []
    await settlements.tell('prod', settlement('a'), async (all) => void sent.push(all))
    expect(jobsOf(sent)).toEqual([['a']])
    expect(vi.getTimerCount()).toBe(0)
  })

  test('what ends within a moment of it goes in one message, each told to its own instance', async () => {
    const settlements = new Settlements(Date.now)
    const sent: Record<string, Settlement[][]> = { prod: [], test: [] }
    const tell = (instance: string, job: string) =>
      settlements.tell(instance, settlement(job), async (all) => void sent[instance]?.push(all))
    await tell('prod', 'a')
    const told = ['b', 'c', 'd'].map((job) => tell('prod', job))
    told.push(tell('test', 'x'))
    await vi.advanceTimersByTimeAsync(LIMITS.settleGatherMs)
    await Promise.all(told)
    expect(jobsOf(sent['prod'] ?? [])).toEqual([['a'], ['b', 'c', 'd']])
    expect(jobsOf(sent['test'] ?? [])).toEqual([['x']])
    await vi.advanceTimersByTimeAsync(LIMITS.settleGatherMs)
    await tell('prod', 'e')
    expect(jobsOf(sent['prod'] ?? [])).toEqual([['a'], ['b', 'c', 'd'], ['e']])
  })

  test('a message that is full goes, and the next begins', async () => {
    const settlements = new Settlements(Date.now)
    const sent: Settlement[][] = []
    const names = Array.from({ length: LIMITS.settlementsPerMessage + 2 }, (_, i) => `job ${i}`)
    const send = async (all: Settlement[]) => void sent.push(all)
    await settlements.tell('prod', settlement('first'), send)
    const told = names.map((name) => settlements.tell('prod', settlement(name), send))
    await vi.advanceTimersByTimeAsync(2 * LIMITS.settleGatherMs)
    await Promise.all(told)
    expect(jobsOf(sent).flat().sort()).toEqual(['first', ...names].sort())
    expect(Math.max(...sent.map((message) => message.length))).toBe(LIMITS.settlementsPerMessage)
  })

  test('a message that cannot be sent fails for all whose ends are in it, and for nobody after them', async () => {
    const settlements = new Settlements(Date.now)
    const fail = async () => {
      throw new Error('not there')
    }
    await settlements.tell('prod', settlement('a'), async () => {})
    const told = Promise.allSettled(['b', 'c'].map((job) => settlements.tell('prod', settlement(job), fail)))
    await vi.advanceTimersByTimeAsync(LIMITS.settleGatherMs)
    expect((await told).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    const sent: Settlement[][] = []
    const later = settlements.tell('prod', settlement('d'), async (all) => void sent.push(all))
    await vi.advanceTimersByTimeAsync(LIMITS.settleGatherMs)
    await later
    expect(jobsOf(sent)).toEqual([['d']])
  })

  test('a clock that was set back holds nobody up', async () => {
    let now = 1_000_000
    const settlements = new Settlements(() => now)
    await settlements.tell('prod', settlement('a'), async () => {})
    now = 0
    const sent: Settlement[][] = []
    void settlements.tell('prod', settlement('b'), async (all) => void sent.push(all))
    await vi.advanceTimersByTimeAsync(LIMITS.settleGatherMs)
    expect(jobsOf(sent)).toEqual([['b']])
  })
})
