import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import type { ProviderView } from '../../../src/contract/instance.ts'
import type { Env } from '../../../src/env.ts'
import { instanceStub, must, openSite, ROOT_KEY, rowsOf, type Site, send, stateOf } from '../support/client.ts'
import { fakeAi } from '../support/fake-ai.ts'
import { expectProblem } from '../support/problem.ts'

/** How a provider is reached, as it is configured: accepted, shown, refused, taken away, kept. */

const ACCOUNT = '0123456789abcdef0123456789abcdef'
const GATEWAY = { type: 'ai_gateway', account: ACCOUNT, gateway: 'main' }
const BINDING = { type: 'binding' }
const GATEWAY_BASE = `https://gateway.ai.cloudflare.com/v1/${ACCOUNT}/main`

let site: Site
beforeEach(async () => {
  site = await openSite('prod')
})
afterEach(() => {
  delete (env as Env).AI
})

const put = (provider: string, json: object, key = site.key) =>
  send<ProviderView & ErrorBody>('PUT', `${site.base}/providers/${provider}`, { key, json })
const view = async (provider: string): Promise<ProviderView> =>
  (await must(200, site.send<ProviderView>('GET', `/providers/${provider}`))).body

describe('AI Gateway as a route', () => {
  test.each([
    ['openai', 'openai'],
    ['anthropic', 'anthropic'],
    ['google', 'google-ai-studio'],
    ['replicate', 'replicate'],
    ['ideogram', 'ideogram'],
    ['workers-ai', 'workers-ai/v1'],
  ])('is taken for %s, and shown with the address that it makes', async (provider, slug) => {
    const { body } = await must(200, put(provider, { route: GATEWAY }))
    expect(body).toMatchObject({ route: GATEWAY, base_url: `${GATEWAY_BASE}/${slug}` })
    expect(await view(provider)).toEqual(body)
  })

  test('may have a cache, and a gateway that stands elsewhere', async () => {
    const route = { ...GATEWAY, cache: true, origin: 'https://gateway.example:8443' }
    const { body } = await must(200, put('openai', { route }))
    expect(body.route).toEqual(route)
    expect(body.base_url).toBe(`https://gateway.example:8443/v1/${ACCOUNT}/main/openai`)
  })

  test('stays where a change does not name it, and goes with null', async () => {
    const before = await view('openai')
    expect(before.route).toBeNull()
    await must(200, put('openai', { route: GATEWAY }))
    await must(200, put('openai', { timeout_ms: 5_000 }))
    expect((await view('openai')).route).toEqual(GATEWAY)
    await must(200, put('openai', { route: null, timeout_ms: before.timeout_ms }))
    expect(await view('openai')).toEqual(before)
  })

  test('is kept over a restart of the actor', async () => {
    await must(200, put('openai', { route: GATEWAY }))
    await evictDurableObject(instanceStub('prod'))
    expect(await view('openai')).toMatchObject({ route: GATEWAY, base_url: `${GATEWAY_BASE}/openai` })
  })

  test('is no route where an earlier version kept none', async () => {
    await must(200, put('openai', { base_url: 'https://openai.example/v1', timeout_ms: 5_000 }))
    await runInDurableObject(instanceStub('prod'), (_instance, { storage: { sql } }) => {
      sql.exec('ALTER TABLE providers DROP COLUMN route')
      sql.exec('DELETE FROM migrations WHERE id = 9')
    })
    await evictDurableObject(instanceStub('prod'))
    expect(await view('openai')).toMatchObject({
      route: null,
      base_url: 'https://openai.example/v1',
      timeout_ms: 5_000,
    })
  })

  test('is told in the log by the name of its field alone', async () => {
    await must(200, put('openai', { route: GATEWAY }))
    const [line] = await rowsOf('prod', `SELECT data FROM log WHERE event = 'provider.configured'`)
    expect(JSON.parse(String(line?.['data']))).toMatchObject({ provider: 'openai', fields: ['route'] })
    expect(String(line?.['data'])).not.toContain(ACCOUNT)
  })

  test.each<[string, string, object, string]>([
    ['a provider that the gateway does not know', 'vllm', { route: GATEWAY }, 'route'],
    ['a base URL beside it', 'openai', { route: GATEWAY, base_url: 'https://openai.example/v1' }, 'route'],
    ['a gateway on this machine', 'openai', { route: { ...GATEWAY, origin: 'https://127.0.0.1' } }, 'route.origin'],
    ['a gateway without TLS', 'openai', { route: { ...GATEWAY, origin: 'http://gateway.example' } }, 'route.origin'],
    [
      'a gateway with a path',
      'openai',
      { route: { ...GATEWAY, origin: 'https://gateway.example/v1' } },
      'route.origin',
    ],
    ['an account that climbs', 'openai', { route: { ...GATEWAY, account: '../x' } }, 'route.account'],
    ['no gateway', 'openai', { route: { type: 'ai_gateway', account: ACCOUNT } }, 'route.gateway'],
    ['another kind', 'openai', { route: { type: 'proxy' } }, 'route.type'],
    ['a misspelt field', 'openai', { route: { ...GATEWAY, cahce: true } }, 'route.cahce'],
    ['a token', 'openai', { route: { ...GATEWAY, token: 'secret' } }, 'route.token'],
    ['a binding for another provider', 'openai', { route: BINDING }, 'route'],
    ['a binding that is not there', 'workers-ai', { route: BINDING }, 'route'],
    ['a binding with more to say', 'workers-ai', { route: { ...BINDING, account: ACCOUNT } }, 'route.account'],
  ])('is refused with the name of its field, and nothing changes: %s', async (_what, provider, json, param) => {
    const before = await stateOf('prod')
    const answer = await put(provider, json)
    expectProblem(answer, 400, 'invalid_request')
    expect(answer.body.error.param).toBe(param)
    expect(await stateOf('prod')).toBe(before)
  })

  test('and a base URL exclude each other also one after the other, until one is given up', async () => {
    const base_url = 'https://openai.example/v1'
    await must(200, put('openai', { base_url }))
    const second = await put('openai', { route: GATEWAY })
    expectProblem(second, 400, 'invalid_request')
    expect(second.body.error.param).toBe('route')
    await must(200, put('openai', { route: GATEWAY, base_url: null }))
    const third = await put('openai', { base_url })
    expectProblem(third, 400, 'invalid_request')
    expect(third.body.error.param).toBe('base_url')
    expect((await must(200, put('openai', { base_url, route: null }))).body).toMatchObject({ base_url, route: null })
  })
})

describe('the binding as a route', () => {
  beforeEach(() => {
    ;(env as Env).AI = fakeAi()
  })

  test('is for the root key to give: it spends the money of whoever runs the deployment', async () => {
    const refused = await put('workers-ai', { route: BINDING })
    expectProblem(refused, 403, 'permission_denied')
    expect(refused.body.error.param).toBe('route')
    expect((await view('workers-ai')).route).toBeNull()
    const { body } = await must(200, put('workers-ai', { route: BINDING }, ROOT_KEY))
    expect(body).toMatchObject({ route: BINDING, base_url: null })
  })

  test('once it is given may be kept, bounded and taken away by an admin of the instance', async () => {
    await must(200, put('workers-ai', { route: BINDING }, ROOT_KEY))
    await must(200, put('workers-ai', { route: BINDING, limits: { concurrency: 2 } }))
    expect(await view('workers-ai')).toMatchObject({ route: BINDING, limits: { concurrency: 2 } })
    await must(200, put('workers-ai', { route: null }))
    expectProblem(await put('workers-ai', { route: BINDING }), 403, 'permission_denied')
  })

  test('is kept over a restart of the actor', async () => {
    await must(200, put('workers-ai', { route: BINDING }, ROOT_KEY))
    await evictDurableObject(instanceStub('prod'))
    expect((await view('workers-ai')).route).toEqual(BINDING)
  })
})
