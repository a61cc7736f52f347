import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { PriceView } from '../../../src/contract/price.ts'
import { LIMITS } from '../../../src/limits.ts'
import { type Answer, instanceStub, openSite, type Site, withKey } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'

/** What models cost here, who may say so, and by which price a job is judged. */

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const IDEOGRAM = '/prices/ideogram/ideogram-3'
const set = (path: string, request: object): Promise<Answer<PriceView>> => site.send('PUT', path, { json: request })
const perImage = (usd: number, more: object = {}) => ({ rates: { per_image_usd: usd }, ...more })
type Model = { id: string; price_usd: number | null; price: PriceView | null }
const modelOf = async (id: string): Promise<Model | undefined> =>
  (await site.send<{ data: Model[] }>('GET', '/models')).body.data.find((model) => model.id === id)
const pricesOf = async (query = ''): Promise<PriceView[]> =>
  (await site.send<{ data: PriceView[] }>('GET', `/prices${query}`)).body.data
const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
const DAY_MS = 24 * 60 * 60 * 1000

describe('a listed price', () => {
  test('is shown with its source, and what a usual job comes to', async () => {
    expect(await modelOf('ideogram/ideogram-3')).toMatchObject({
      price_usd: 0.06,
      price: {
        ...{ model: 'ideogram-3/default', rates: { per_image_usd: 0.06 }, verified: true, overridden: false },
        ...{ billed: true, effective_from: null, effective_to: null, source: expect.stringContaining('Ideogram') },
      },
    })
    // What it picks is known afterwards.
    expect(await modelOf('ideogram/auto')).toMatchObject({ price_usd: null, price: null })
  })

  test('that nobody has confirmed is shown, and unknown to jobs until the instance allows it', async () => {
    const ultra = 'replicate/black-forest-labs/flux-1.1-pro-ultra'
    expect(await modelOf(ultra)).toMatchObject({
      price_usd: null,
      price: { rates: { per_image_usd: 0.06 }, verified: false, billed: false },
    })
    await site.send('PATCH', '', { json: { config: { prices: { allow_unverified: true } } } })
    expect(await modelOf(ultra)).toMatchObject({ price_usd: 0.06, price: { verified: false, billed: true } })
    await evictDurableObject(instanceStub('prod'))
    expect(await modelOf(ultra)).toMatchObject({ price_usd: 0.06 })
    await site.send('PATCH', '', { json: { config: { prices: {} } } })
    expect(await modelOf(ultra)).toMatchObject({ price_usd: null })
  })

  test('that nobody has confirmed is not shown in a job as its price', async () => {
    await site.send('POST', '/providers/replicate/credentials', { json: { name: 'main', secret: 'r8_secret' } })
    await site.send('PUT', '/providers/replicate', { json: { limits: { concurrency: 1 } } })
    const models = ['replicate/black-forest-labs/flux-1.1-pro']
    const later = new Date(Date.now() + DAY_MS).toISOString()
    expect((await site.begin({ models, not_before: later })).price).toBeNull()
    await set('/prices/replicate/black-forest-labs/flux-1.1-pro', perImage(0.04))
    expect((await site.begin({ models, not_before: later })).price).toMatchObject({
      ...{ estimated_usd: 0.04, verified: true, overridden: true },
    })
  })

  test('can be read by any name of its model, also of one that no job can name yet', async () => {
    const read = (path: string) => site.send<PriceView>('GET', `/prices/${path}`)
    expect((await read('openai/gpt-6-sol-2026-09-01')).body).toMatchObject({ model: 'gpt-6-sol', kind: 'chat' })
    expect((await read('workers-ai/@cf/openai/gpt-oss-20b')).body.model).toBe('@cf/openai/gpt-oss-20b')
    expect((await read('workers-ai/%40cf%2Fopenai%2Fgpt-oss-20b')).body.model).toBe('@cf/openai/gpt-oss-20b')
    for (const path of ['openai/gpt-6-sol-mini', 'nobody/gpt-5', 'openai/%zz', 'openai/a b', 'openai/../x'])
      expect([path, (await read(path)).status]).toEqual([path, 404])
  })

  test('is listed with all others in force, or those of one provider', async () => {
    const all = await pricesOf()
    expect(all.length).toBeGreaterThan(200)
    const mine = await pricesOf('?provider=replicate')
    expect(mine.map(({ model, billed }) => [model, billed])).toEqual([
      ['black-forest-labs/flux-1.1-pro', false],
      ['black-forest-labs/flux-1.1-pro-ultra', false],
      ['black-forest-labs/flux-dev', true],
      ['black-forest-labs/flux-schnell', true],
      ['ideogram-ai/ideogram-v3-turbo', false],
    ])
    expect((await site.send('GET', '/prices?provider=nobody')).status).toBe(404)
  })
})

describe('an own price', () => {
  test('is what jobs are judged and counted by', async () => {
    const listed = await site.ended((await site.begin()).id)
    expect(listed).toMatchObject({
      cost_usd: 0.06,
      price: {
        ...{ provider: 'ideogram', model: 'ideogram-3/default', rates: { per_image_usd: 0.06 } },
        ...{ estimated_usd: 0.06, overridden: false, effective_from: null, verified: true },
      },
    })
    const answer = await set(IDEOGRAM, perImage(0.0123, { source: 'contract of May', note: 'until we renew it' }))
    expect([answer.status, answer.body]).toMatchObject([
      200,
      { provider: 'ideogram', model: 'ideogram-3', overridden: true, verified: true, source: 'contract of May' },
    ])
    const own = await site.ended((await site.begin()).id)
    expect(own).toMatchObject({
      cost_usd: 0.0123,
      price: { overridden: true, source: 'contract of May', estimated_usd: 0.0123 },
    })
    expect(await modelOf('ideogram/ideogram-3')).toMatchObject({ price_usd: 0.0123, price: { overridden: true } })
  })

  test('of one speed is for that speed, and of a model for every speed without one', async () => {
    const estimate = async (quality: string) => {
      const job = await site.begin({ input: { prompt: 'x', quality, count: 2 } })
      return job.price?.estimated_usd
    }
    await set(`${IDEOGRAM}/turbo`, perImage(0.01))
    expect([await estimate('draft'), await estimate('standard')]).toEqual([0.02, 0.12])
    await set(IDEOGRAM, perImage(0.05))
    expect([await estimate('draft'), await estimate('standard'), await estimate('high')]).toEqual([0.02, 0.1, 0.1])
  })

  test('makes a model known that no list has a price for', async () => {
    expect(
      (await site.begin({ models: ['ideogram/ideogram-4-5'], input: { prompt: 'x', quality: 'draft' } })).price,
    ).toBe(null)
    await set('/prices/ideogram/ideogram-4-5/low', perImage(0.03))
    const job = await site.begin({ models: ['ideogram/ideogram-4-5'], input: { prompt: 'x', quality: 'draft' } })
    expect(job.price?.estimated_usd).toBe(0.03)
  })

  test('that is taken back gives way to the listed one', async () => {
    await set(IDEOGRAM, perImage(0.01))
    expect((await site.send('DELETE', IDEOGRAM)).status).toBe(204)
    expect((await site.begin()).price).toMatchObject({ estimated_usd: 0.06, overridden: false })
    expect((await site.send('DELETE', IDEOGRAM)).status).toBe(404)
  })

  test('outlives the actor, and is of this instance alone', async () => {
    await set(IDEOGRAM, perImage(0.01))
    await evictDurableObject(instanceStub('prod'))
    expect((await site.begin()).price?.estimated_usd).toBe(0.01)
    const other = await openSite('other')
    expect((await other.begin()).price?.estimated_usd).toBe(0.06)
    expect((await other.send('GET', '/prices/ideogram/ideogram-3')).status).toBe(404)
  })

  test('holds from its first day to the day before its last', async () => {
    const clock = movableClock()
    const [from, to] = [day(Date.now() + DAY_MS), day(Date.now() + 2 * DAY_MS)]
    await set(IDEOGRAM, perImage(0.01, { effective_from: from, effective_to: to }))
    const estimate = async () => (await site.begin()).price?.estimated_usd
    expect(await estimate()).toBe(0.06)
    // Shown before it holds, so that it can be looked after.
    expect((await pricesOf('?provider=ideogram')).filter(({ model }) => model === 'ideogram-3')).toMatchObject([
      { overridden: true, effective_from: from },
    ])
    // A job that may start then is judged by the price of then.
    const later = await site.begin({ not_before: `${from}T00:00:00Z` })
    expect(later.price).toMatchObject({ estimated_usd: 0.01, effective_from: from, effective_to: to })
    clock.advance(Date.parse(from) - Date.now())
    expect(await estimate()).toBe(0.01)
    clock.advance(Date.parse(to) - Date.now())
    expect(await estimate()).toBe(0.06)
  })

  test('may be free, which is not unknown', async () => {
    await set(IDEOGRAM, perImage(0))
    expect(await site.ended((await site.begin()).id)).toMatchObject({ cost_usd: 0, price: { estimated_usd: 0 } })
  })

  test('says which field is wrong, and changes nothing', async () => {
    const wrong = async (request: object): Promise<string | null> => {
      const { status, body } = await site.send('PUT', IDEOGRAM, { json: request })
      expect(status).toBe(400)
      return body.error.param
    }
    expect(await wrong({ rates: {} })).toBe('rates')
    expect(await wrong({ rates: { per_image_usd: -1 } })).toBe('rates.per_image_usd')
    expect(await wrong({ rates: { input_per_mtok: 0.0000001 } })).toBe('rates.input_per_mtok')
    expect(await wrong(perImage(1, { effective_from: '2026-02-01', effective_to: '2026-02-01' }))).toBe('effective_to')
    expect(await wrong(perImage(1, { tiers: [{ above_input_tokens: -1, rates: {} }] }))).toBe(
      'tiers.0.above_input_tokens',
    )
    expect(await pricesOf('?provider=ideogram')).not.toContainEqual(expect.objectContaining({ overridden: true }))
    expect((await set('/prices/nobody/model', perImage(1))).status).toBe(404)
  })

  test('is bounded in number', async () => {
    await runInDurableObject(instanceStub('prod'), (_instance, { storage: { sql } }) => {
      const price = {
        ...{ provider: 'ideogram', kind: 'image', rates: { per_image_usd: 1 }, tiers: [], images: [] },
        ...{ effective_from: null, effective_to: null, source: 'x', verified: true },
      }
      for (let i = 0; i < LIMITS.pricesPerInstance; i += 1) {
        const model = `m${i}`
        sql.exec('INSERT INTO prices VALUES (?, ?, ?, 0)', 'ideogram', model, JSON.stringify({ ...price, model }))
      }
    })
    await evictDurableObject(instanceStub('prod'))
    expect(await set(IDEOGRAM, perImage(1))).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } })
    expect((await set('/prices/ideogram/m7', perImage(2))).status).toBe(200)
  })
})

describe('a job keeps the price it was judged by', () => {
  test('while it waits and while it runs, whatever becomes of the price', async () => {
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    provider.hold('generate')
    const [running, waiting] = [await site.begin(), await site.begin()]
    await eventually('the first call hangs', () => provider.open.generate === 1)
    await set(IDEOGRAM, perImage(0.5))
    await evictDurableObject(instanceStub('prod'))
    const after = await site.begin()
    provider.release('generate')
    const costs = await Promise.all(
      [running, waiting, after].map(async ({ id }) => {
        const { cost_usd: cost, price } = await site.ended(id)
        return [cost, price?.estimated_usd, price?.overridden]
      }),
    )
    expect(costs).toEqual([
      [0.06, 0.06, false],
      [0.06, 0.06, false],
      [0.5, 0.5, true],
    ])
  })

  test('and one taken in by a version that kept none still runs, by the list', async () => {
    provider.hold('generate')
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    const [first, old] = [await site.begin(), await site.begin()]
    await eventually('the first call hangs', () => provider.open.generate === 1)
    await runInDurableObject(instanceStub('prod'), (_instance, { storage: { sql } }) => {
      sql.exec("UPDATE jobs SET wishes = json_remove(wishes, '$.prices') WHERE id = ?", old.id)
    })
    provider.release('generate')
    expect((await site.ended(first.id)).cost_usd).toBe(0.06)
    expect(await site.ended(old.id)).toMatchObject({ status: 'succeeded', cost_usd: 0.06, price: null })
  })
})

test('A user reads prices and sets none', async () => {
  const user = withKey(site, (await site.makeKey({ name: 'user', role: 'user' })).key)
  expect((await user.send('GET', '/prices?provider=ideogram')).status).toBe(200)
  expect((await user.send('PUT', IDEOGRAM, { json: perImage(0) })).status).toBe(403)
  expect((await user.send('DELETE', IDEOGRAM)).status).toBe(403)
  expect((await site.begin()).price?.estimated_usd).toBe(0.06)
})

test('A job that falls back is counted by the price it kept for the model it ended on', async () => {
  await set('/prices/ideogram/ideogram-4', perImage(0.07))
  provider.next.generate.push(failing(400))
  provider.hold('generate')
  const models = ['ideogram/ideogram-3', 'ideogram/ideogram-4']
  const job = await site.begin({ models })
  expect(job.price).toMatchObject({ model: 'ideogram-3/default', estimated_usd: 0.06 })
  await eventually('the first call hangs', () => provider.open.generate === 1)
  await set('/prices/ideogram/ideogram-4', perImage(0.9))
  provider.release('generate')
  expect(await site.ended(job.id)).toMatchObject({
    ...{ status: 'succeeded', model: 'ideogram/ideogram-4', cost_usd: 0.07 },
    price: { model: 'ideogram-4', estimated_usd: 0.07, overridden: true },
  })
})
