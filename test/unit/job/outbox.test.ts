import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type AttemptEnd,
  fromWire,
  type RateHint,
  type Report,
  type ReportReply,
  toWire,
} from '../../../src/contract/rpc.ts'
import { Outbox } from '../../../src/job/outbox.ts'
import { LIMITS } from '../../../src/limits.ts'

/** What a lane tells its Instance, and when. */

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const END: AttemptEnd = {
  output: null,
  fault: null,
  costMicros: 0,
  providerRequestId: null,
  providerMs: 0,
  storeMs: 0,
  resume: null,
}

const openOutbox = () => {
  const told: string[][] = []
  let fails = 0
  const instance = {
    report: async (_lane: number, wire: Parameters<typeof fromWire<Report[]>>[0]) => {
      if (fails-- > 0) throw new Error('not there')
      told.push(fromWire(wire).map((report) => (report.kind === 'end' ? `${report.job} ends` : textOf(report))))
      return toWire<ReportReply>({ assign: [], stop: [] })
    },
  }
  const outbox = new Outbox(
    0,
    () => instance,
    0,
    () => {},
  )
  const progress = (job: string, share: number, rate: { rate?: RateHint } = {}) =>
    void outbox.post({ kind: 'progress', job, attempt: 1, progress: share, message: '', ...rate })
  const end = (job: string) => void outbox.post({ kind: 'end', job, attempt: 1, end: END })
  const failNext = (times: number) => {
    fails = times
  }
  return { outbox, told, progress, end, failNext }
}

const textOf = ({ job, progress }: Extract<Report, { kind: 'progress' }>) => `${job} at ${progress}`

describe('progress', () => {
  test('waits for something newer, and then the newest is told', async () => {
    const { told, progress } = openOutbox()
    progress('a', 0.1)
    progress('a', 0.2)
    progress('b', 0.3)
    await vi.advanceTimersByTimeAsync(LIMITS.progressDelayMs - 1)
    expect(told).toEqual([])
    await vi.advanceTimersByTimeAsync(2)
    expect(told).toEqual([['a at 0.2', 'b at 0.3']])
  })

  test('of an attempt that ends within its wait is not told, though others end meanwhile', async () => {
    const { told, progress, end } = openOutbox()
    for (const job of ['a', 'b', 'c']) progress(job, 0.02)
    end('a')
    await vi.advanceTimersByTimeAsync(10)
    end('b')
    await vi.advanceTimersByTimeAsync(LIMITS.progressDelayMs)
    expect(told).toEqual([['a ends'], ['b ends'], ['c at 0.02']])
  })

  test('with what rate headers said goes out at once, and does not come again', async () => {
    const { told, progress } = openOutbox()
    progress('a', 0.1)
    progress('a', 0.2, { rate: { remaining: 1, resetAfterMs: 1_000 } })
    await vi.advanceTimersByTimeAsync(1)
    expect(told).toEqual([['a at 0.2']])
    await vi.advanceTimersByTimeAsync(10 * LIMITS.progressDelayMs)
    expect(told).toHaveLength(1)
  })

  test('is dropped where telling it fails, while an end is told until it is heard', async () => {
    const { outbox, told, progress, end, failNext } = openOutbox()
    failNext(2)
    progress('a', 0.1)
    await vi.advanceTimersByTimeAsync(LIMITS.progressDelayMs)
    end('b')
    expect(outbox.holds({ job: 'b', attempt: 1 })).toBe(true)
    await vi.advanceTimersByTimeAsync(10 * LIMITS.reportRetryMaxMs)
    expect(told).toEqual([['b ends']])
    expect(outbox.holds({ job: 'b', attempt: 1 })).toBe(false)
  })

  test('of a closed outbox is told no more', async () => {
    const { outbox, told, progress } = openOutbox()
    progress('a', 0.1)
    outbox.close()
    await vi.advanceTimersByTimeAsync(10 * LIMITS.progressDelayMs)
    expect(told).toEqual([])
  })
})
