import { expect, test } from 'vitest'
import { ROOT_KEY, startProduct } from './harness.ts'

test('a flood of bad keys is turned away with when to come back', async () => {
  const product = await startProduct()
  const ask = (key: string) =>
    fetch(`${product.url}/v1/instances/prod/jobs`, { headers: { authorization: `Bearer ${key}` } })
  const seen: number[] = []
  for (let i = 0; i < 300 && !seen.includes(429); i += 1)
    seen.push((await ask(`sy_0123456789abcdef_${'A'.repeat(43)}`)).status)
  const turned = await ask(ROOT_KEY)
  expect(new Set(seen)).toEqual(new Set([404, 429]))
  expect(seen.length).toBeGreaterThan(100)
  expect(turned.status).toBe(429)
  expect(Number(turned.headers.get('retry-after'))).toBeGreaterThan(0)
  await product.stop()
})
