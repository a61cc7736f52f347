import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, test } from 'vitest'
import { type Migration, migrate } from '../../../src/storage/migrations.ts'

const first: Migration = {
  id: 1,
  description: 'jobs',
  sql: 'CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);',
}
const second: Migration = { id: 2, description: 'more', sql: 'ALTER TABLE a ADD COLUMN y TEXT' }
const third: Migration = { id: 3, description: 'index', sql: 'CREATE INDEX a_by_x ON a (x)' }

/** An actor's storage, emptied of what the actor itself put there. */
const withStorage = (check: (storage: DurableObjectStorage) => void) =>
  runInDurableObject(env.LANE.getByName('migrations-test'), async (_lane, state) => {
    await state.storage.deleteAll()
    check(state.storage)
  })

const recorded = (storage: DurableObjectStorage) =>
  storage.sql.exec('SELECT id, description, applied_at FROM migrations ORDER BY id').toArray()
const count = (storage: DurableObjectStorage) => storage.sql.exec('SELECT count(*) AS n FROM a').one().n

test('missing migrations are applied in order, once, and recorded', () =>
  withStorage((storage) => {
    migrate(storage.sql, storage, [first, second], 1000)
    migrate(storage.sql, storage, [first, second], 2000)
    migrate(storage.sql, storage, [first, second, third], 3000)
    expect(count(storage)).toBe(1)
    expect(recorded(storage)).toEqual([
      { id: 1, description: 'jobs', applied_at: 1000 },
      { id: 2, description: 'more', applied_at: 1000 },
      { id: 3, description: 'index', applied_at: 3000 },
    ])
  }))

test('one that fails leaves nothing behind, not even those before it', () =>
  withStorage((storage) => {
    migrate(storage.sql, storage, [first], 1000)
    const broken = { id: 3, description: 'broken', sql: 'CREATE TABLE b (x) STRICT' }
    expect(() => migrate(storage.sql, storage, [first, second, broken], 2000)).toThrow()
    expect(recorded(storage)).toHaveLength(1)
    expect(storage.sql.exec('SELECT * FROM a').columnNames).toEqual(['x'])
  }))

test('old code meets a newer database and leaves it alone', () =>
  withStorage((storage) => {
    migrate(storage.sql, storage, [first, second, third], 1000)
    migrate(storage.sql, storage, [first], 2000)
    expect(recorded(storage)).toHaveLength(3)
  }))

test('ids may leave gaps, and one that comes later in a gap is applied', () =>
  withStorage((storage) => {
    migrate(storage.sql, storage, [first, third], 1000)
    migrate(storage.sql, storage, [first, second, third], 2000)
    expect(recorded(storage).map(({ id, applied_at }) => [id, applied_at])).toEqual([
      [1, 1000],
      [2, 2000],
      [3, 1000],
    ])
  }))

test.each([
  ['a wrong order', [second, first]],
  ['a repeat', [first, first]],
])('%s in the ids is refused before anything happens', (_name, list) =>
  withStorage((storage) => {
    expect(() => migrate(storage.sql, storage, list, 1000)).toThrow(/ids must rise/)
    expect(storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'migrations'").toArray()).toEqual([])
  }),
)
