import { env } from 'cloudflare:workers'
import { expect, test } from 'vitest'
import {
  createInstanceRow,
  deleteInstanceRow,
  ensureOrganization,
  listInstances,
  readInstanceRow,
  settleInstanceRow,
} from '../../../src/storage/directory.ts'

const db = env.DIRECTORY
const now = 1_795_000_000_000

test('an instance is created once, and a repeat changes nothing', async () => {
  await ensureOrganization(db, 'acme', now)
  await ensureOrganization(db, 'acme', now + 1)
  expect(await createInstanceRow(db, 'prod', 'acme', now)).toBe(true)
  expect(await createInstanceRow(db, 'prod', null, now + 5)).toBe(false)
  expect(await readInstanceRow(db, 'prod')).toEqual({ id: 'prod', organization: 'acme', createdAtMs: now })
})

test('of two that create the same instance at once, one learns that it is new', async () => {
  const results = await Promise.all([1, 2, 3].map((n) => createInstanceRow(db, 'prod', null, now + n)))
  expect(results.filter(Boolean)).toHaveLength(1)
})

test('an instance of an organization that does not exist is refused', async () => {
  await expect(createInstanceRow(db, 'prod', 'nobody', now)).rejects.toThrow(/FOREIGN KEY/)
  expect(await readInstanceRow(db, 'prod')).toBeNull()
})

test('instances are listed page by page, each once', async () => {
  for (const id of ['d', 'a', 'c', 'e', 'b']) await createInstanceRow(db, id, null, now)
  const seen: string[][] = []
  let after: string | null = null
  do {
    const page: Awaited<ReturnType<typeof listInstances>> = await listInstances(db, after, 2)
    seen.push(page.rows.map((row) => row.id))
    after = page.next
  } while (after !== null)
  expect(seen).toEqual([['a', 'b'], ['c', 'd'], ['e']])
})

test('a deleted instance is gone, and deleting it again says so', async () => {
  await createInstanceRow(db, 'prod', null, now)
  const row = { id: 'prod', organization: null, createdAtMs: now }
  expect(await deleteInstanceRow(db, row)).toBe(true)
  expect(await deleteInstanceRow(db, row)).toBe(false)
  expect(await readInstanceRow(db, 'prod')).toBeNull()
  expect(await listInstances(db, null, 10)).toEqual({ rows: [], next: null })
})

test('the deletion of an instance leaves the row of one made anew under its id, whichever is written first', async () => {
  await ensureOrganization(db, 'acme', now)
  const old = { id: 'prod', organization: null, createdAtMs: now }
  const anew = { id: 'prod', organization: 'acme', createdAtMs: now + 1 }
  await createInstanceRow(db, 'prod', null, now)
  await settleInstanceRow(db, 'prod', 'acme', now + 1)
  expect(await deleteInstanceRow(db, old)).toBe(false)
  expect(await readInstanceRow(db, 'prod')).toEqual(anew)

  await deleteInstanceRow(db, anew)
  await settleInstanceRow(db, 'prod', 'acme', now + 1)
  expect(await readInstanceRow(db, 'prod')).toEqual(anew)
})

test('ids that look like SQL are only ids', async () => {
  expect(await readInstanceRow(db, "' OR 1=1 --")).toBeNull()
})
