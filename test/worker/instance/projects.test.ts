import { runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ProjectView } from '../../../src/contract/budget.ts'
import { Accounts } from '../../../src/instance/accounts.ts'
import { systemAmbient } from '../../../src/instance/ambient.ts'
import { EventStore } from '../../../src/instance/event-store.ts'
import { JobStore } from '../../../src/instance/job-store.ts'
import { LedgerStore } from '../../../src/instance/ledger-store.ts'
import { instanceStub, must, openSite, type Site, withKey } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'
import { budgetOf, expectRest, ledgerOf, setBudget } from '../support/money.ts'

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

afterEach(() => {
  vi.restoreAllMocks()
})

const create = (json: Record<string, unknown>) => site.send<ProjectView>('POST', '/projects', { json })

describe('a project', () => {
  test('is declared with its weight and budget, which stand where they are used', async () => {
    const made = await must(201, create({ name: 'forge', weight: 3, budget: { limit_usd: 1, window: 'month' } }))
    expect(made.body).toMatchObject({
      name: 'forge',
      object: 'project',
      weight: 3,
      budget: { scope: 'project:forge', limit_usd: 1, window: 'month', alert_at: [] },
      spent_usd: 0,
      held_usd: 0,
      created_at: expect.stringMatching(/Z$/),
    })
    expect((await site.send<{ config: object }>('GET', '')).body.config).toEqual({ project_weights: { forge: 3 } })
    expect(await budgetOf(site, 'project:forge')).toEqual(made.body.budget)
    await setBudget(site, 'project%3Aforge', 2)
    expect((await site.send<ProjectView>('GET', '/projects/forge')).body.budget).toMatchObject({ limit_usd: 2 })
  })

  test('tells what its jobs cost', async () => {
    await create({ name: 'forge' })
    await site.ended((await site.begin({ project: 'forge' })).id)
    await site.ended((await site.begin({ project: 'other' })).id)
    const { data } = (await site.send<{ data: ProjectView[] }>('GET', '/projects')).body
    expect(data).toMatchObject([{ name: 'forge', spent_usd: 0.06, held_usd: 0, budget: null, weight: 1 }])
  })

  test('exists once, is changed field by field, and leaves nothing bound when it is deleted', async () => {
    await must(201, create({ name: 'forge', weight: 3, budget: { limit_usd: 0.06, window: 'total' } }))
    expect((await create({ name: 'forge' })).status).toBe(409)
    await site.ended((await site.begin({ project: 'forge' })).id)
    const patch = (json: object) => site.send<ProjectView>('PATCH', '/projects/forge', { json })
    expect((await patch({ weight: 2 })).body).toMatchObject({ weight: 2, budget: { limit_usd: 0.06, spent_usd: 0.06 } })
    expect((await patch({ budget: null })).body).toMatchObject({ weight: 2, budget: null })
    await patch({ budget: { limit_usd: 0.06, window: 'total' } })
    expect((await site.submit({ project: 'forge' })).status).toBe(402)
    expect((await site.send('DELETE', '/projects/forge')).status).toBe(204)
    expect((await site.send('DELETE', '/projects/forge')).status).toBe(404)
    expect((await site.send('GET', '/budgets/project:forge')).status).toBe(404)
    expect((await site.ended((await site.begin({ project: 'forge' })).id)).status).toBe('succeeded')
  })

  test('whose change could not be written keeps the weight that it had', async () => {
    await create({ name: 'forge', weight: 3 })
    const broken = () => {
      throw new Error('the disk is full')
    }
    // With whatever came at the same moment, and then by itself.
    vi.spyOn(EventStore.prototype, 'flush').mockImplementationOnce(broken).mockImplementationOnce(broken)
    expect((await site.send('PATCH', '/projects/forge', { json: { weight: 9 } })).status).toBe(500)
    expect((await site.send('GET', '/projects/forge')).body).toMatchObject({ weight: 3 })
    expect((await site.send('GET', '')).body).toMatchObject({ config: { project_weights: { forge: 3 } } })
    expect((await site.send('PATCH', '/projects/forge', { json: { weight: 9 } })).body).toMatchObject({ weight: 9 })
  })

  test('is seen by its own clients and by nobody of another', async () => {
    await create({ name: 'forge', weight: 3 })
    await create({ name: 'catalogue', weight: 2 })
    const own = withKey(site, (await site.makeKey({ name: 'app', role: 'user', project: 'forge' })).key)
    const { data } = (await own.send<{ data: ProjectView[] }>('GET', '/projects')).body
    expect(data.map(({ name }) => name)).toEqual(['forge'])
    expect((await own.send('GET', '/projects/catalogue')).status).toBe(404)
    expect((await own.send('GET', '')).body).toMatchObject({ config: { project_weights: { forge: 3 } } })
    expect((await own.send('GET', '')).text).not.toContain('catalogue')
    for (const [method, path] of [
      ['GET', '/ledger'],
      ['GET', '/budgets'],
      ['GET', '/budgets/project:forge'],
      ['DELETE', '/budgets/project:forge'],
      ['DELETE', '/projects/forge'],
    ] as const)
      expect((await own.send(method, path)).body.error.code).toBe('permission_denied')
  })
})

test.each(['', 'instances', 'project', 'project:', 'project:..', 'project:a b', '%', 'Instance'])(
  'a budget of the scope "%s" is not there',
  async (scope) => {
    const json = { limit_usd: 1, window: 'day' }
    const { status, body } = await site.send('PUT', `/budgets/${encodeURIComponent(scope)}`, { json })
    expect([status, body.error.code]).toEqual([404, 'not_found'])
  },
)

describe('a project that nobody declared', () => {
  const money = (storage: DurableObjectStorage) => {
    const { sql } = storage
    const store = new LedgerStore(sql)
    const accounts = new Accounts({ store, jobs: new JobStore(sql), config: () => ({}), ambient: systemAmbient })
    accounts.reload()
    return { accounts, store }
  }
  const inside = <T>(act: (storage: DurableObjectStorage) => T): Promise<T> =>
    runInDurableObject(instanceStub('prod'), (_instance, { storage }) => act(storage))

  test('takes no memory, however many there were: a user may name another with every job', async () => {
    await create({ name: 'forge' })
    await setBudget(site, 'project:tight', 1)
    await must(202, site.submit({ project: 'guest', not_before: new Date(Date.now() + 600_000).toISOString() }))
    const scopes = await inside((storage) => {
      storage.sql.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO spending SELECT 'project:label-' || i, 'total', 60000, 0, 0, 0, 1 FROM n`)
      return [...money(storage).accounts.ledger.keys()].sort()
    })
    expect(scopes).toEqual(['instance', 'project:forge', 'project:tight'])
  })

  test('is counted from its first job on by a budget that it is given later', async () => {
    await site.ended((await site.begin({ project: 'guest' })).id)
    provider.hold('generate')
    const running = await site.begin({ project: 'guest' })
    await eventually('the provider is asked', () => provider.open.generate === 1)
    expect(await setBudget(site, 'project:guest', 0.15)).toMatchObject({ spent_usd: 0.06, held_usd: 0.06 })
    expect((await site.submit({ project: 'guest' })).status).toBe(402)
    await must(204, site.send('DELETE', '/budgets/project:guest'))
    provider.release('generate')
    await site.ended(running.id)
    await site.ended((await site.begin({ project: 'guest' })).id)
    expect(await setBudget(site, 'project:guest', 0.2)).toMatchObject({ spent_usd: 0.18, held_usd: 0 })
    const { scopes } = await expectRest(site, { settled_usd: 0.18 })
    expect(scopes.find(({ scope }) => scope === 'project:guest')).toMatchObject({ counters_usd: 0.18 })
  })

  test('is told whole once it is declared, and proves its books before, and after it is deleted', async () => {
    provider.hold('generate')
    const { id } = await site.begin({ project: 'guest' })
    await eventually('the provider is asked', () => provider.open.generate === 1)
    const proof = { held_usd: 0.06, counters_usd: 0.06, difference_usd: 0 }
    const proved = async () => (await ledgerOf(site)).scopes.find(({ scope }) => scope === 'project:guest')
    expect(await proved()).toMatchObject(proof)
    expect((await must(201, create({ name: 'guest' }))).body).toMatchObject({ spent_usd: 0, held_usd: 0.06 })
    expect(await proved()).toMatchObject(proof)
    await must(204, site.send('DELETE', '/projects/guest'))
    expect(await proved()).toMatchObject(proof)
    provider.release('generate')
    await site.ended(id)
    await expectRest(site, { settled_usd: 0.06 })
    expect((await must(201, create({ name: 'guest' }))).body).toMatchObject({ spent_usd: 0.06, held_usd: 0 })
  })
})
