import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { ProviderView } from '../../../src/contract/instance.ts'
import type { Job, JobRequest } from '../../../src/contract/job.ts'
import { type Caller, toWire } from '../../../src/contract/rpc.ts'
import { Instance } from '../../../src/instance/instance.ts'
import { instanceStub, must, openSite, ROOT_KEY, type Site, send, withKey } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'

/** What is changed or taken away while something else goes on. */

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const waitFor = (through: Site, job: string) =>
  through.send<Job>('GET', `/jobs/${job}`, { headers: { prefer: 'wait=20' } })

describe('a request that waits for its job', () => {
  test('is answered at once when its instance is deleted', async () => {
    provider.hold('generate')
    const job = await site.begin()
    await eventually('the call hangs', () => provider.open.generate === 1)
    const waiting = waitFor(site, job.id)
    await eventually('the job runs', async () => (await site.job(job.id)).status === 'running')
    expect((await send('DELETE', site.base, { key: ROOT_KEY })).status).toBe(204)
    expect((await waiting).status).toBe(404)
    provider.release('generate')
  })

  test('is told nothing once its key is revoked', async () => {
    const key = await site.makeKey({ name: 'short', role: 'user' })
    provider.hold('generate')
    const job = await site.begin()
    await eventually('the call hangs', () => provider.open.generate === 1)
    const waiting = waitFor(withKey(site, key.key), job.id)
    await site.send('DELETE', `/keys/${key.id}`)
    provider.release('generate')
    expect((await waiting).status).toBe(404)
    expect((await site.ended(job.id)).status).toBe('succeeded')
  })
})

test('a submit that waits for its group while its instance is deleted is answered, and not with a fault of ours', async () => {
  const caller: Caller = { requestId: 'req_1', auth: { kind: 'root' } }
  // For later, so that no lane is opened and the deletion is quick.
  const later = new Date(Date.now() + 3_600_000).toISOString()
  const request = { type: 'image.generate@1', input: { prompt: 'a boat' }, not_before: later } as unknown as JobRequest
  const options = { idempotencyKey: null, fingerprint: '', waitMs: 0 }
  await runInDurableObject(instanceStub('prod'), async (instance: Instance) => {
    const submit = () => instance.submit(caller, toWire(request), options)
    // So many at once that groups wait for more.
    for (let burst = 0; burst < 4; burst += 1) await Promise.all(Array.from({ length: 60 }, submit))
    const [submitted, deleted] = await Promise.all([submit(), instance.destroy()])
    expect(submitted.ok || submitted.fault.code).toBeOneOf([true, 'not_found'])
    expect(deleted.ok).toBe(true)
  })
})

test('an instance that is made anew while its deletion ends is listed', async () => {
  const { destroy } = Instance.prototype
  vi.spyOn(Instance.prototype, 'destroy').mockImplementationOnce(async function (this: Instance) {
    const destroyed = await destroy.call(this)
    // The actor is empty, the directory does not know it yet.
    await must(201, send('POST', '/v1/instances', { key: ROOT_KEY, json: { id: 'prod' } }))
    return destroyed
  })
  await must(204, send('DELETE', site.base, { key: ROOT_KEY }))
  const listed = await send<{ data: { id: string }[] }>('GET', '/v1/instances', { key: ROOT_KEY })
  expect(listed.body.data.map(({ id }) => id)).toEqual(['prod'])
  await must(200, send('GET', site.base, { key: ROOT_KEY }))
})

test('a path that is normalised to the instance itself deletes nothing', async () => {
  for (const path of ['/keys/%2e%2e', '/keys/..', '/keys/x/%2E%2E/..', '/']) {
    expect((await send('DELETE', site.base + path, { key: ROOT_KEY })).status).toBe(404)
  }
  expect((await site.send('GET', '')).status).toBe(200)
})

describe('a credential', () => {
  test('whose secret was changed meanwhile is not switched off for what became of the old one', async () => {
    provider.hold('generate')
    const job = await site.begin()
    await eventually('the call hangs', () => provider.open.generate === 1)
    provider.next.generate.push(failing(401))
    const changed = await site.send('PATCH', '/providers/ideogram/credentials/main', {
      json: { secret: 'another-secret-1' },
    })
    expect(changed.status).toBe(200)
    provider.release('generate')
    await site.ended(job.id)
    const { body } = await site.send<{ data: unknown[] }>('GET', '/providers/ideogram/credentials')
    expect(body.data).toMatchObject([{ enabled: true, disabled_reason: null }])
    expect((await site.ended((await site.begin()).id)).status).toBe('succeeded')
  })

  test('that is refused is switched off with the reason', async () => {
    provider.next.generate.push(failing(401))
    await site.ended((await site.begin()).id)
    const { body } = await site.send<{ data: unknown[] }>('GET', '/providers/ideogram/credentials')
    expect(body.data).toMatchObject([{ enabled: false, disabled_reason: 'the provider refused it' }])
  })

  test('sealed under a master key that is not at hand burns no job: they wait for it', async () => {
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    provider.hold('generate')
    await site.begin()
    const waiting = await site.begin()
    await eventually('the call hangs', () => provider.open.generate === 1)
    const [sealed] = await runInDurableObject(instanceStub('prod'), (_instance, { storage: { sql } }) => {
      const before = sql.exec('SELECT key_id FROM credentials').toArray()
      sql.exec("UPDATE credentials SET key_id = '0000000000000000'")
      return before
    })
    await evictDurableObject(instanceStub('prod'))
    provider.release('generate')
    const view = await site.send<ProviderView>('GET', '/providers/ideogram')
    expect(view.status).toBe(200)
    await eventually('the slot is free', async () => {
      const { body } = await site.send<ProviderView>('GET', '/providers/ideogram')
      return body.live.running === 0
    })
    expect(await site.job(waiting.id)).toMatchObject({
      status: 'queued',
      queue: { waiting_for: 'breaker', estimated_start_at: null },
    })
    const keyId = String(sealed?.['key_id'])
    await runInDurableObject(instanceStub('prod'), (_instance, { storage: { sql } }) => {
      sql.exec('UPDATE credentials SET key_id = ?', keyId)
    })
    await evictDurableObject(instanceStub('prod'))
    await site.begin()
    expect((await site.ended(waiting.id)).status).toBe('succeeded')
  })
})

test('deliveries that nobody signed make no call to the provider', async () => {
  const path = `/hooks/replicate?job=job_01J00000000000000000000000&attempt=1`
  await site.send('POST', '/providers/replicate/credentials', { json: { name: 'main', secret: 'replicate-secret-1' } })
  for (let times = 0; times < 5; times += 1) {
    expect((await send('POST', site.base + path, { raw: '{}' })).status).toBe(404)
  }
  expect(provider.calls).toEqual({ generate: 0, poll: 0, image: 0 })
})

test('a delivery of nobody does not tell whether there is such an instance', async () => {
  const path = '/hooks/replicate?job=job_01J00000000000000000000000&attempt=1'
  const deliver = async (base: string) => {
    const { status, body } = await send('POST', base + path, { raw: '{}' })
    return { status, error: { ...body.error, request_id: null } }
  }
  expect(await deliver('/v1/instances/nowhere')).toEqual(await deliver(site.base))
})
