import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Sealing } from '../../../src/contract/credential.ts'
import type { SealedSecret } from '../../../src/contract/rpc.ts'
import { openParts, type Parts } from '../../../src/instance/parts.ts'
import { createVault, type Vault } from '../../../src/instance/vault.ts'
import { instanceStub, laneRows, must, openSite, PROVIDER_SECRET, rowsOf, type Site } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'

/** A new master key in front of the old one: what is sealed under the old one is sealed anew, beside the work. */

const OLD_KEY = env.MASTER_KEY
const NEW_KEY = btoa(String.fromCharCode(...new Uint8Array(32).fill(77)))
const PATH = '/providers/ideogram/credentials'
const identityOf = (name: string): string => `instance:prod:provider:ideogram:credential:${name}`

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const addMany = async (count: number) => {
  for (let i = 0; i < count; i += 1)
    await must(201, site.send('POST', PATH, { json: { name: `many-${i}`, secret: `secret-number-${i}` } }))
}

type Bench = { parts: Parts; vault: Vault; step(): Promise<number | null>; sql: SqlStorage }

/** The instance's parts over its own database, as a process with both keys would open them. */
const withBothKeys = <T>(act: (bench: Bench) => Promise<T>): Promise<T> =>
  runInDurableObject(instanceStub('prod'), async (_instance, state) => {
    const vault = createVault(`${NEW_KEY},${OLD_KEY}`)
    const parts = openParts({ state, env, vault, apply: async (operation) => operation() }, Date.now())
    parts.books.keyIds = await vault.keyIds()
    const apply = async (operation: () => void) => state.storage.transactionSync(operation)
    return act({ parts, vault, step: () => parts.sealing.step(vault, apply), sql: state.storage.sql })
  })

const toTheEnd = async ({ step }: Bench): Promise<void> => {
  for (let steps = 1; steps < 20; steps += 1) if ((await step()) === null) return
  throw new Error('it never ends')
}

const opened = async (keys: string): Promise<Record<string, string | null>> => {
  const vault = createVault(keys)
  const rows = await rowsOf('prod', 'SELECT * FROM credentials')
  const plain = rows.map(async (row) => {
    const sealed = { keyId: String(row['key_id']), iv: String(row['iv']), ciphertext: String(row['ciphertext']) }
    return [String(row['name']), await vault.open(sealed, identityOf(String(row['name'])))] as const
  })
  return Object.fromEntries(await Promise.all(plain))
}

describe('sealing anew', () => {
  test('goes through all secrets in bounded steps, tells how far it is, and changes no secret', async () => {
    await addMany(20)
    const before = await opened(OLD_KEY)
    await withBothKeys(async (bench) => {
      const { sealing } = bench.parts
      const [newId = ''] = await bench.vault.keyIds()
      expect(sealing.view()).toMatchObject({ key_id: newId, total: 21, resealed: 0, waiting: 21, complete: false })
      expect(await bench.step()).toBe(0)
      expect(sealing.view()).toMatchObject({ resealed: 16, waiting: 5, complete: false })
      await toTheEnd(bench)
      expect(sealing.view()).toEqual({
        object: 'sealing',
        key_id: newId,
        total: 21,
        resealed: 21,
        waiting: 0,
        unopenable: 0,
        lanes_waiting: 0,
        complete: true,
      })
    })
    expect(await opened(NEW_KEY)).toEqual(before)
    expect(new Set(Object.values(await opened(OLD_KEY)))).toEqual(new Set([null]))
  })

  test('that was interrupted is gone on with by the next process', async () => {
    await addMany(20)
    await withBothKeys((bench) => bench.step())
    await withBothKeys(async (bench) => {
      expect(bench.parts.sealing.isDue).toBe(true)
      await toTheEnd(bench)
      expect(bench.parts.sealing.view()).toMatchObject({ resealed: 21, complete: true })
    })
    await withBothKeys(async ({ parts }) => expect(parts.sealing.isDue).toBe(false))
  })

  test('leaves alone what was changed while it was sealed', async () => {
    await withBothKeys(async ({ parts, vault, sql }) => {
      const replaced = await vault.seal('the-newest-secret', identityOf('main'))
      await parts.sealing.step(vault, async (operation) => {
        const { keyId, iv, ciphertext } = replaced
        sql.exec('UPDATE credentials SET key_id = ?, iv = ?, ciphertext = ?', keyId, iv, ciphertext)
        operation()
      })
    })
    expect(await opened(NEW_KEY)).toEqual({ main: 'the-newest-secret' })
  })

  test('counts what cannot be opened, goes on with the rest, and does not try for ever', async () => {
    await addMany(3)
    await withBothKeys(async (bench) => {
      bench.sql.exec("UPDATE credentials SET ciphertext = substr(ciphertext, 5) WHERE name = 'many-1'")
      bench.sql.exec("UPDATE credentials SET key_id = '0000000000000000' WHERE name = 'many-2'")
      bench.parts.books.configure(bench.parts.admin)
      await toTheEnd(bench)
      const view = bench.parts.sealing.view()
      expect(view).toMatchObject({ total: 4, resealed: 2, waiting: 0, unopenable: 2, complete: true })
    })
  })
})

test('a lane keeps no attempt under the old key: its rows are sealed anew, and only then all is complete', async () => {
  provider.hold('poll')
  await site.begin({ input: { prompt: 'a lighthouse at dawn' } })
  await eventually('the poll hangs', () => provider.open.poll === 1)
  const kept = async (): Promise<SealedSecret[]> =>
    (await laneRows('prod', 'SELECT assignment FROM attempts')).map(
      ({ assignment }) =>
        (JSON.parse(String(assignment)) as { credential: { sealed: SealedSecret } }).credential.sealed,
    )
  const [oldId] = await createVault(OLD_KEY).keyIds()
  expect((await kept()).map(({ keyId }) => keyId)).toEqual([oldId])
  await withBothKeys(async (bench) => {
    await bench.step()
    expect(bench.parts.sealing.view()).toMatchObject({ waiting: 0, lanes_waiting: 1, complete: false })
    await toTheEnd(bench)
    expect(bench.parts.sealing.view()).toMatchObject({ lanes_waiting: 0, complete: true })
  })
  const plain = (await kept()).map((sealed) => createVault(NEW_KEY).open(sealed, identityOf('main')))
  expect(await Promise.all(plain)).toEqual([PROVIDER_SECRET])
  provider.release('poll')
})

describe('the endpoint', () => {
  test('tells that nothing is left to do, also after a restart', async () => {
    const [keyId] = await createVault(OLD_KEY).keyIds()
    const counts = { total: 1, resealed: 1, waiting: 0, unopenable: 0, lanes_waiting: 0 }
    const whole = { object: 'sealing', key_id: keyId, ...counts, complete: true }
    expect((await site.send<Sealing>('GET', '/sealing')).body).toEqual(whole)
    await evictDurableObject(instanceStub('prod'))
    expect((await site.send<Sealing>('GET', '/sealing')).body).toEqual(whole)
  })

  test('shows it only to those who administer the instance', async () => {
    const user = await site.makeKey({ name: 'app', role: 'user' })
    expect((await site.send('GET', '/sealing', { key: user.key })).status).toBe(403)
  })
})
