import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { handle } from '../../../src/edge/app.ts'
import { notHere } from '../../../src/instance/access.ts'

/** Floods of bad keys end at the edge. What it remembers outlives a test, so each has addresses of its own. */

const NOW = 1_800_000_000_000
const KEY = `sy_0123456789abcdef_${'A'.repeat(43)}`

beforeEach(() => void vi.useFakeTimers({ now: NOW }))
afterEach(() => void vi.useRealTimers())

/** An edge whose limiter says whether a bad key of an address is within its limit, and whose Instance knows no key. */
const openEdge = (limit: (key: string, times: number) => boolean) => {
  const counted = new Map<string, number>()
  const asked = vi.fn(async () => notHere())
  const env = {
    ROOT_KEY: 'root-key-of-the-tests-0123456789abcdef',
    MASTER_KEY: btoa('0'.repeat(32)),
    CORS_ORIGINS: '',
    INSTANCE: { getByName: () => ({ jobs: asked }) },
    BAD_KEYS: {
      limit: async ({ key }: { key: string }) => {
        const times = (counted.get(key) ?? 0) + 1
        counted.set(key, times)
        return { success: limit(key, times) }
      },
    },
  }
  const call = (address: string, path = '/v1/instances/prod/jobs', key: string | null = KEY) =>
    handle(
      new Request(`https://switchyard.example${path}`, {
        headers: { 'cf-connecting-ip': address, ...(key === null ? {} : { authorization: `Bearer ${key}` }) },
      }),
      env as unknown as Parameters<typeof handle>[1],
      { waitUntil: () => {} },
    )
  return { call, asked }
}

test('an address that has shown too many is turned away for ten seconds before an Instance is asked, and no other', async () => {
  const { call, asked } = openEdge((_key, times) => times <= 3)
  for (let i = 0; i < 4; i += 1) expect((await call('203.0.113.7')).status).toBe(404)
  expect(asked).toHaveBeenCalledTimes(4)
  const turned = await call('203.0.113.7')
  expect([turned.status, turned.headers.get('retry-after')]).toEqual([429, '10'])
  expect(await turned.json()).toMatchObject({ error: { code: 'rate_limited' } })
  expect(asked).toHaveBeenCalledTimes(4)
  expect((await call('203.0.113.8')).status).toBe(404)
  expect((await call('203.0.113.7', '/healthz', null)).status).toBe(200)
  vi.setSystemTime(NOW + 10_000)
  expect((await call('203.0.113.7')).status).toBe(404)
  expect(asked).toHaveBeenCalledTimes(6)
})

test('what is no key at all counts as a bad one', async () => {
  const { call, asked } = openEdge(() => false)
  expect((await call('203.0.113.9', '/v1/instances/prod/jobs', 'nonsense')).status).toBe(401)
  expect((await call('203.0.113.9')).status).toBe(429)
  expect(asked).not.toHaveBeenCalled()
})

test('a limiter that fails turns nobody away', async () => {
  const { call } = openEdge(() => {
    throw new Error('no limiter')
  })
  for (let i = 0; i < 5; i += 1) expect((await call('203.0.113.10')).status).toBe(404)
})
