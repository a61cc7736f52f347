import { expect, test } from 'vitest'
import type { JobEvent } from '../../src/cli/client.ts'
import { api, startEmulator, startProduct } from './harness.ts'
import { imageJob, provision } from './support.ts'

test('a subscriber that drops and resumes ten times sees every durable event once, in order', {
  timeout: 120_000,
}, async () => {
  const emulator = await startEmulator({ latencyMs: 100, draw: false })
  const product = await startProduct()
  const { base, user } = await provision(product.url, { baseUrl: emulator.url })
  const seen: JobEvent[] = []
  const last = () => seen.at(-1)?.seq ?? 0
  for (let drop = 0; drop < 10; drop += 1) {
    const from = last()
    const events = await user.subscribe(`${base}/events?after=${from}`)
    await Promise.all([1, 2, 3, 4].map((i) => user.ask('POST', `${base}/jobs`, imageJob(`job ${drop} ${i}`))))
    await events.until((event) => event.type !== 'job.progress' && event.seq > from + 5)
    await events.close()
    seen.push(...events.events.filter((event) => event.type !== 'job.progress'))
  }
  const rest = await user.subscribe(`${base}/events?after=${last()}`)
  await rest.until((event) => event.type !== 'job.progress' && event.seq === 120)
  await rest.close()
  seen.push(...rest.events.filter((event) => event.type !== 'job.progress'))

  expect(seen.map((event) => event.seq)).toEqual(Array.from({ length: 120 }, (_, i) => i + 1))
  expect(seen.filter((event) => event.type === 'job.succeeded')).toHaveLength(40)
})

test('a revoked key, a key of another instance and a used ticket see nothing', async () => {
  const product = await startProduct()
  const emulator = await startEmulator({ draw: false })
  const mine = await provision(product.url, { baseUrl: emulator.url })
  const other = await provision(product.url, { baseUrl: emulator.url })

  const { id, key } = await mine.root.ask<{ id: string; key: string }>('POST', `${mine.base}/keys`, {
    name: 'short',
    role: 'user',
  })
  const leaving = await mine.root.withKey(key).subscribe(`${mine.base}/events?after=0`)
  await mine.root.call('DELETE', `${mine.base}/keys/${id}`)
  expect(await leaving.closed).toBe(1008)
  await expect(mine.root.withKey(key).subscribe(`${mine.base}/events?after=0`)).rejects.toThrow('404')
  await expect(other.user.subscribe(`${mine.base}/events?after=0`)).rejects.toThrow('404')
  await mine.user.ask('POST', `${mine.base}/jobs`, imageJob('unseen'))
  expect(leaving.events).toEqual([])

  const { ticket } = await mine.user.ask<{ ticket: string }>('POST', `${mine.base}/tickets`)
  const anonymous = api(product.url, null)
  const watching = await anonymous.subscribe(`${mine.base}/events?after=0&ticket=${ticket}`)
  await watching.until((event) => event.type === 'job.queued')
  await watching.close()
  await expect(anonymous.subscribe(`${mine.base}/events?after=0&ticket=${ticket}`)).rejects.toThrow()
})
