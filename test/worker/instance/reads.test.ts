import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { expect, test, vi } from 'vitest'
import { instanceStub, openSite } from '../support/client.ts'
import { failing, fakeIdeogram } from '../support/fake-ideogram.ts'

/** What status reads ask of the database: applications poll, and every read passes the one thread of the instance. */

/** How many queries the instance makes while `work` goes on. */
const queries = async (work: () => Promise<unknown>): Promise<number> => {
  const spy = await runInDurableObject(instanceStub('prod'), (_instance, { storage: { sql } }) => vi.spyOn(sql, 'exec'))
  await work()
  const made = spy.mock.calls.length
  spy.mockRestore()
  return made
}

test('a job that is asked after again and again is read from the database once', async () => {
  fakeIdeogram()
  const site = await openSite('prod')
  const ended = await site.ended((await site.begin()).id)
  await evictDurableObject(instanceStub('prod'))
  expect(await site.job(ended.id)).toEqual(ended)
  expect(await queries(() => site.job(ended.id))).toBe(0)
  expect(await site.job(ended.id)).toEqual(ended)
})

test('a job that was asked after is told as it is when it has changed', async () => {
  const provider = fakeIdeogram()
  const site = await openSite('prod')
  provider.next.generate.push(failing(422, { error: 'unsafe' }))
  const failed = await site.ended((await site.begin()).id)
  expect([failed.status, failed.attempts.length]).toEqual(['failed', 1])
  await site.send('POST', `/jobs/${failed.id}/replay`)
  const replayed = await site.ended(failed.id)
  expect([replayed.status, replayed.attempts.length, replayed.replays]).toEqual(['succeeded', 2, 1])
  await evictDurableObject(instanceStub('prod'))
  expect(await site.job(failed.id)).toEqual(replayed)
})
