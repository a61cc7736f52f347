import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import type { Job } from '../../src/contract/job.ts'
import { afterFile, startEmulator, startProduct } from './harness.ts'
import { imageJob, provision } from './support.ts'

const ADDRESSES = [
  'http://127.0.0.1:8080',
  'https://127.0.0.1',
  'https://localhost',
  'https://2130706433',
  'https://0x7f.1',
  'https://[::1]',
  'https://10.1.2.3',
  'https://172.16.0.1',
  'https://192.168.1.1',
  'https://169.254.169.254',
  'https://100.64.0.1',
  'https://[fe80::1]',
  'https://[fd00:ec2::254]',
  'https://[::ffff:127.0.0.1]',
  'https://metadata.google.internal',
  'https://0.0.0.0',
  'https://user:pass@api.ideogram.ai',
  'http://api.ideogram.ai',
  'file:///etc/passwd',
  'gopher://127.0.0.1',
]

test('a base URL on an inner address is refused and changes nothing', async () => {
  const product = await startProduct({ env: { ALLOW_PRIVATE_UPSTREAMS: 'false' } })
  const { root, base } = await provision(product.url, { baseUrl: 'https://api.ideogram.ai' })
  for (const base_url of ADDRESSES) {
    const answer = await root.call('PUT', `${base}/providers/ideogram`, { base_url })
    expect([base_url, answer.status, answer.body]).toMatchObject([
      base_url,
      400,
      { error: { code: 'invalid_request', param: 'base_url' } },
    ])
  }
  expect(await root.ask('GET', `${base}/providers/ideogram`)).toMatchObject({ base_url: 'https://api.ideogram.ai' })
})

test('an inner base URL that was once allowed is not called any more', async () => {
  const emulator = await startEmulator({ draw: false })
  const open = await startProduct()
  const { base, key } = await provision(open.url, { baseUrl: emulator.url })
  await open.stop()
  const closed = await startProduct({ state: open.state, env: { ALLOW_PRIVATE_UPSTREAMS: 'false' } })
  const { api } = await import('./harness.ts')
  const job = await api(closed.url, key).ask<Job>('POST', `${base}/jobs`, imageJob('inner'), { prefer: 'wait=20' })
  expect(job).toMatchObject({ status: 'failed', error: { code: 'provider_rejected' } })
  expect(emulator.stats().requests).toBe(0)
})

test('a result that redirects to a metadata address is not fetched', async () => {
  let asked = 0
  const inner: Server = createServer((_request, response) => {
    asked += 1
    response.end('secret')
  })
  await new Promise<void>((resolve) => inner.listen(0, '127.0.0.1', resolve))
  afterFile(() => inner.close())
  const emulator = await startEmulator({ draw: false })
  const product = await startProduct()
  const { base, user } = await provision(product.url, { baseUrl: emulator.url })
  const run = (target: string) =>
    user.ask<Job>('POST', `${base}/jobs`, imageJob(`away [[redirect:${target}]]`, { max_attempts: 1 }), {
      prefer: 'wait=20',
    })
  expect(await run('http://169.254.169.254/latest/meta-data')).toMatchObject({
    status: 'failed',
    error: { code: 'artifact_failed' },
  })
  expect(await run(`http://127.0.0.1:${(inner.address() as AddressInfo).port}/`)).toMatchObject({
    status: 'failed',
    error: { code: 'artifact_failed' },
  })
  expect(asked).toBe(1) // loopback is allowed here, but what it sends is no picture
})
