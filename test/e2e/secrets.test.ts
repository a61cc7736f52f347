import { globSync, readFileSync, statSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Job } from '../../src/contract/job.ts'
import { api, MASTER_KEY, ROOT_KEY, startEmulator, startProduct } from './harness.ts'
import { allJobs, imageJob, provision } from './support.ts'

const SECRET = 'plain-provider-secret-0f9e8d7c'
const MARK = 'private-words-of-the-prompt'

test('no secret and no prompt is in a log line, an event or an error, and no secret lies on disk', {
  timeout: 120_000,
}, async () => {
  const emulator = await startEmulator({ draw: false, apiKeys: [SECRET] })
  const product = await startProduct()
  const { base, user, root, key, instance } = await provision(product.url, { baseUrl: emulator.url, secret: SECRET })
  const { ticket } = await user.ask<{ ticket: string }>('POST', `${base}/tickets`)
  const watching = await api(product.url, null).subscribe(`${base}/events?after=0&ticket=${ticket}`)
  const submit = (directive = '') =>
    user.ask<Job>(
      'POST',
      `${base}/jobs`,
      imageJob(`${MARK} ${directive}`, { max_attempts: 1 }, { negative_prompt: MARK }),
      { prefer: 'wait=30' },
    )
  // Fewer at once than open the breaker, and a success behind each few, so that no job waits for a breaker.
  const faults = [
    ['[[fail:500]]', '[[reject]]', '[[unsafe]]', '[[fail:400]]'],
    ['[[garbage]]', '[[malformed]]', '[[truncated]]', '[[cut_before]]'],
    ['[[cut_after]]', '[[async_fail:refused]]', '[[bad_image]]', '[[wrong_type]]'],
    ['[[truncated_image]]'],
  ]
  for (const few of faults) {
    await Promise.all(few.map(submit))
    await submit()
  }
  // Each of these takes a credential out of use.
  await submit('[[fail:402:insufficient_funds]]')
  await root.ask('POST', `${base}/providers/ideogram/credentials`, { name: 'second', secret: SECRET })
  await submit('[[fail:401]]')
  const errors = await Promise.all([
    user.call('POST', `${base}/jobs`, { type: 'image.generate', input: { prompt: MARK, seed: MARK } }),
    user.call('POST', `${base}/jobs`, {
      type: 'image.generate',
      input: { prompt: MARK, provider_options: { ideogram: { prompt: MARK } } },
    }),
    user.call('POST', `${base}/jobs`, { type: MARK, input: { prompt: MARK } }),
    user.call('POST', `${base}/jobs?note=${MARK}`, imageJob(MARK)),
    root.call('POST', `${base}/providers/ideogram/credentials`, { name: 'x', secret: `${SECRET}\n` }),
    root.call('PUT', `${base}/providers/ideogram`, { base_url: `https://user:${SECRET}@example.com` }),
    root.withKey(`sy_0123456789abcdef_${'A'.repeat(43)}`).call('GET', `${base}/jobs`),
  ])
  const jobs = await allJobs(user, base)
  expect(jobs).toHaveLength(faults.flat().length + faults.length + 2)
  await watching.until((event) => event.seq >= 3 * jobs.length)
  await watching.close()
  await product.stop()

  const told = {
    log: product.output(),
    events: JSON.stringify(watching.events),
    faults: JSON.stringify(jobs.map((job) => [job.error, job.attempts])),
    errors: errors.map((answer) => answer.text).join('\n'),
  }
  expect(told.log).toContain('"event":"job.failed"')
  expect(told.log).toContain(`"instance":"${instance}"`)
  for (const [where, text] of Object.entries(told)) {
    for (const secret of [SECRET, MARK, ROOT_KEY, MASTER_KEY, key, ticket])
      expect([where, text.includes(secret)]).toEqual([where, false])
  }
  for (const file of globSync(join(product.state, '**/*')).filter((path) => statSync(path).isFile())) {
    const bytes = readFileSync(file)
    for (const secret of [SECRET, ROOT_KEY, MASTER_KEY, key, ticket])
      expect([file, bytes.includes(secret)]).toEqual([file, false])
  }
})

test('a provider is told neither which runtime calls nor whose call it is', async () => {
  const seen: IncomingHttpHeaders[] = []
  const provider = createServer((request, response) => {
    seen.push(request.headers)
    response.writeHead(400).end('{}')
  })
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve))
  const product = await startProduct()
  const baseUrl = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`
  const { base, user } = await provision(product.url, { baseUrl })
  const headers = { prefer: 'wait=30', 'cf-connecting-ip': '203.0.113.7', 'user-agent': 'app-of-somebody' }
  await user.ask<Job>('POST', `${base}/jobs`, imageJob('a lighthouse', { max_attempts: 1 }), headers)
  await product.stop()
  provider.close()
  expect(seen).toHaveLength(1)
  expect(Object.keys(seen[0] ?? {}).filter((name) => /^(cf-|mf-|x-forwarded|forwarded|via$)/.test(name))).toEqual([])
  expect(JSON.stringify(seen)).not.toContain('app-of-somebody')
})
