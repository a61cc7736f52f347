import { runInDurableObject } from 'cloudflare:test'
import { expect, test, vi } from 'vitest'
import type { CallEnd } from '../../../src/contract/foreground-rpc.ts'
import { usageOf } from '../../../src/contract/usage.ts'
import type { UsageReport } from '../../../src/contract/usage-report.ts'
import type { Instance } from '../../../src/instance/instance.ts'
import { instanceStub, openSite } from '../support/client.ts'
import { movableClock } from '../support/clock.ts'
import { fakeIdeogram } from '../support/fake-ideogram.ts'
import { close, END, open, openLine } from '../support/line.ts'

/**
 * What a job writes: rows are what the platform bills and what a disk has to take, so a change that adds one should be meant.
 * The figures stand in docs/scaling.md. Index entries count as rows, as they do for the platform.
 */

type Written = { [table: string]: number }

/** Counts the rows that the instance writes while `work` goes on, by the table that the statement names. */
const rowsWritten = async (work: () => Promise<unknown>): Promise<Written> => {
  const written: Written = {}
  const cursors: [table: string, cursor: SqlStorageCursor<Record<string, SqlStorageValue>>][] = []
  const spy = await runInDurableObject(instanceStub('prod'), (_instance, { storage: { sql } }) => {
    const exec = sql.exec.bind(sql)
    return vi.spyOn(sql, 'exec').mockImplementation((query, ...bindings) => {
      const cursor = exec(query, ...bindings)
      const table = /^\s*(?:INSERT OR REPLACE INTO|INSERT INTO|UPDATE|DELETE FROM) (\w+)/.exec(query)?.[1]
      if (table) cursors.push([table, cursor])
      return cursor
    })
  })
  await work()
  await runInDurableObject(instanceStub('prod'), () => {
    for (const [table, cursor] of cursors) {
      if (cursor.rowsWritten > 0) written[table] = (written[table] ?? 0) + cursor.rowsWritten
    }
  })
  spy.mockRestore()
  return written
}

test('a plain job writes the rows that the documentation names, and no line of log', async () => {
  fakeIdeogram()
  movableClock().freeze()
  const site = await openSite('prod')
  // What is written once an hour, and once every ten seconds, is written.
  await site.ended((await site.begin()).id)
  const written = await rowsWritten(async () => site.ended((await site.begin()).id))
  expect(written).toEqual({ jobs: 4, attempts: 1, events: 6, ledger: 1, spending: 2, usage_hours: 1 })
})

test('forty jobs that end in one commit write one row of usage', async () => {
  const provider = fakeIdeogram()
  movableClock().freeze()
  const site = await openSite('prod', { limits: { concurrency: 50 } })
  await site.ended((await site.begin()).id)
  provider.hold('generate')
  const jobs = await Promise.all(Array.from({ length: 40 }, () => site.begin()))
  const end = { output: { images: [] }, fault: null, costMicros: 1, providerRequestId: null, providerMs: 5, storeMs: 5 }
  const reports = jobs.map(({ id }) => ({ kind: 'end', job: id, attempt: 1, end: { ...end, resume: null } }))
  const written = await rowsWritten(() =>
    runInDurableObject(instanceStub('prod'), (instance: Instance) => instance.report(0, JSON.stringify(reports), 1)),
  )
  provider.release('generate')
  expect(written).toMatchObject({ usage_hours: 1, attempts: 40 })
  expect((await site.send<UsageReport>('GET', '/usage')).body.total.jobs.succeeded).toBe(41)
})

test('a chat writes the rows that the documentation names', async () => {
  movableClock().freeze()
  const site = await openLine()
  await site.send('PUT', '/providers/openai', { json: { limits: { requests_per_minute: 10_000 } } })
  const chat = async () => close(await open(), ANSWERED)
  // What is written once an hour, and once every ten seconds, is written.
  await chat()
  const ofAttempt = { limiters: 1, attempts: 1, ledger: 1, spending: 2, usage_hours: 1 }
  expect(await rowsWritten(chat)).toEqual({ jobs: 5, events: 6, ...ofAttempt })
})

const ANSWERED: CallEnd = { ...END, usage: usageOf({ inputTokens: 24, outputTokens: 80 }), delivered: true }
