import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { GroupCommit } from '../../../src/instance/group-commit.ts'
import { LIMITS } from '../../../src/limits.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A disk that takes so many milliseconds for a commit, and the sizes of the groups that came to it. */
const disk = (ms: number) => {
  const sizes: number[] = []
  const commit = new GroupCommit(
    (operations) => {
      sizes.push(operations.length)
      for (const operation of operations) operation()
    },
    () => new Promise((resolve) => setTimeout(resolve, ms)),
    () => Date.now(),
  )
  return { sizes, commit }
}

/** Clients that send their next operation as soon as the last was applied, for so long. */
const clients = async (commit: GroupCommit, count: number, forMs: number, thinkMs = 1): Promise<number> => {
  let done = 0
  const endAt = Date.now() + forMs
  const running = Array.from({ length: count }, async () => {
    while (Date.now() < endAt) {
      await commit.apply(() => {})
      done += 1
      await new Promise((resolve) => setTimeout(resolve, thinkMs))
    }
  })
  await vi.advanceTimersByTimeAsync(forMs + 100)
  await Promise.all(running)
  return done
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

describe('a group commit', () => {
  test('applies what comes alone at once', async () => {
    const { commit, sizes } = disk(1)
    let applied = false
    await commit.apply(() => {
      applied = true
    })
    expect(applied).toBe(true)
    expect(sizes).toEqual([1])
    expect(vi.getTimerCount()).toBe(1) // the disk, and no wait for others
  })

  test('lets one client wait for nobody, however long it goes on', async () => {
    const { commit, sizes } = disk(0)
    const done = await clients(commit, 1, 300)
    expect(Math.max(...sizes)).toBe(1)
    expect(done).toBeGreaterThan(250)
  })

  test('gathers what many clients send', async () => {
    const { commit, sizes } = disk(1)
    await clients(commit, 16, 300)
    expect(mean(sizes.slice(-20))).toBeGreaterThan(8)
  })

  test('lets who comes alone after a burst and a pause wait for nobody', async () => {
    const { commit } = disk(1)
    await clients(commit, 16, 300)
    await vi.advanceTimersByTimeAsync(10_000)
    let applied = false
    void commit.apply(() => {
      applied = true
    })
    await Promise.resolve()
    expect(applied).toBe(true)
  })

  test('stops waiting when the many have gone and one is left', async () => {
    const { commit, sizes } = disk(1)
    await clients(commit, 16, 300)
    const done = await clients(commit, 1, 300)
    expect(sizes.slice(-20)).toEqual(Array.from({ length: 20 }, () => 1))
    expect(done).toBeGreaterThan(90)
  })

  test('does not change its mind with every group under a steady load', async () => {
    const { commit, sizes } = disk(1)
    await clients(commit, 6, 1_000, 1.5)
    const late = sizes.slice(-100)
    const changes = late.filter((size, i) => i > 0 && size > 1 !== (late[i - 1] ?? 0) > 1).length
    expect(changes).toBeLessThan(20)
  })

  test('lets a full group wait for nobody', async () => {
    const { commit, sizes } = disk(1)
    await clients(commit, 16, 300)
    const before = sizes.length
    const all = Array.from({ length: LIMITS.groupCommitOperations }, () => commit.apply(() => {}))
    await Promise.resolve()
    expect(sizes.slice(before)).toEqual([LIMITS.groupCommitOperations])
    await vi.advanceTimersByTimeAsync(100)
    await Promise.all(all)
  })

  test('never takes more at once than its bound', async () => {
    const { commit, sizes } = disk(1)
    const all = Array.from({ length: LIMITS.groupCommitOperations + 5 }, () => commit.apply(() => {}))
    await vi.advanceTimersByTimeAsync(100)
    await Promise.all(all)
    expect(sizes).toEqual([LIMITS.groupCommitOperations, 5])
  })

  test('takes what is patient along with what comes next, before it', async () => {
    const { commit, sizes } = disk(1)
    const order: string[] = []
    void commit.apply(() => void order.push('patient'), { isPatient: true })
    await vi.advanceTimersByTimeAsync(LIMITS.groupCommitPatienceMs - 1)
    expect(order).toEqual([])
    await commit.apply(() => void order.push('next'))
    expect([order, sizes]).toEqual([['patient', 'next'], [2]])
    await vi.advanceTimersByTimeAsync(1_000)
    expect([sizes, vi.getTimerCount()]).toEqual([[2], 0])
  })

  test('applies what is patient by itself in the end, also what came while something was on its way to the disk', async () => {
    const { commit, sizes } = disk(5)
    void commit.apply(() => {}, { isPatient: true })
    await vi.advanceTimersByTimeAsync(LIMITS.groupCommitPatienceMs)
    expect(sizes).toEqual([1])
    void commit.apply(() => {}, { isPatient: true })
    await vi.advanceTimersByTimeAsync(5 + LIMITS.groupCommitPatienceMs - 1)
    expect(sizes).toEqual([1])
    await vi.advanceTimersByTimeAsync(1)
    expect(sizes).toEqual([1, 1])
  })

  test('shows whoever looks what is patient, and is not asked for it twice', async () => {
    const { commit, sizes } = disk(1)
    const apply = vi.fn()
    void commit.apply(apply, { isPatient: true })
    commit.hurry()
    expect([apply.mock.calls.length, sizes]).toEqual([1, [1]])
    commit.hurry()
    await vi.advanceTimersByTimeAsync(100)
    expect([apply.mock.calls.length, sizes, vi.getTimerCount()]).toEqual([1, [1], 0])
  })

  test('lets one client wait for nobody where each leaves something patient behind', async () => {
    const { commit, sizes } = disk(0)
    let done = 0
    const endAt = Date.now() + 300
    const running = (async () => {
      for (; Date.now() < endAt; done += 1) {
        await commit.apply(() => {})
        void commit.apply(() => {}, { isPatient: true })
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    })()
    await vi.advanceTimersByTimeAsync(400)
    await running
    expect(done).toBeGreaterThan(250)
    expect(mean(sizes.slice(1, -1))).toBe(2)
  })

  test('fails the one operation that throws, and keeps its neighbours', async () => {
    const { commit } = disk(0)
    const results = Promise.allSettled([
      commit.apply(() => 'one'),
      commit.apply(() => {
        throw new Error('bad')
      }),
      commit.apply(() => 'three'),
    ])
    await vi.advanceTimersByTimeAsync(10)
    expect((await results).map((result) => (result.status === 'fulfilled' ? result.value : 'failed'))).toEqual([
      'one',
      'failed',
      'three',
    ])
  })
})
