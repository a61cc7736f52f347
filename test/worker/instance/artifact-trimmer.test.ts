import { expect, test } from 'vitest'
import { makeId } from '../../../src/contract/ids.ts'
import { keepOf } from '../../../src/core/retention.ts'
import type { AdminStore } from '../../../src/instance/admin-store.ts'
import { ArtifactTrimmer } from '../../../src/instance/artifact-trimmer.ts'
import type { RetentionStore } from '../../../src/instance/retention-store.ts'

/** A bucket of two pages, and jobs that ended at these times. */

const NOW = 1_800_000_000_000
const MINUTE_MS = 60_000
const jobAt = (ms: number): string => makeId('job', ms, new Uint8Array(16))

const trimmerOf = (jobs: { id: string; endedAtMs: number }[]) => {
  const keys = jobs.map(({ id }) => `prod/${id}/1-0`)
  const bucket = {
    list: async ({ startAfter = '' }: { startAfter?: string }) => {
      const [key] = keys.filter((one) => one > startAfter)
      const objects = key === undefined ? [] : [{ key, uploaded: new Date(NOW - MINUTE_MS) }]
      return { objects, truncated: key !== keys.at(-1) }
    },
    delete: async (gone: string[]) => {
      for (const key of gone) keys.splice(keys.indexOf(key), 1)
    },
  } as unknown as R2Bucket
  const store = { aged: (ids: string[]) => jobs.filter(({ id }) => ids.includes(id)) } as unknown as RetentionStore
  const admin = { meta: () => null, setMeta: () => {} } as unknown as AdminStore
  const keep = () => keepOf({ artifacts_s: 60 })
  const apply = async <T>(operation: () => T): Promise<T> => operation()
  return { keys, trimmer: new ArtifactTrimmer(bucket, 'prod', { store, admin, keep, apply }) }
}

test('pictures of a job that ended late are looked at again where the page behind them is all old', async () => {
  const late = { id: jobAt(NOW - 10 * MINUTE_MS), endedAtMs: NOW }
  const old = { id: jobAt(NOW - 5 * MINUTE_MS), endedAtMs: NOW - 4 * MINUTE_MS }
  const { keys, trimmer } = trimmerOf([late, old])
  expect(await trimmer.step(NOW)).toEqual({ more: true })
  expect(await trimmer.step(NOW)).toEqual({ more: false, atMs: expect.any(Number) })
  expect(await trimmer.step(NOW + 2 * MINUTE_MS)).toEqual({ more: false, atMs: null })
  expect(keys).toEqual([])
})
