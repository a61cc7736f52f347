import { expect, test } from 'vitest'
import type { LogPage } from '../../src/contract/log.ts'
import type { UsageReport } from '../../src/contract/usage-report.ts'
import { api, startEmulator, startProduct } from './harness.ts'
import { allJobs, imageJob, isOver, provision, until } from './support.ts'

const WELL = ['', '[[slow:300]]', '[[fail_once:503]]', '[[fail_once:500]]', '[[fail_once:429]]']
const BADLY = ['[[fail:503]]', '[[reject]]', '[[unsafe]]']

test('usage and log of a mixed run say what the provider counted, and say it still after a kill -9', {
  timeout: 120_000,
}, async () => {
  const emulator = await startEmulator({ draw: false, latencyMs: 50 })
  const product = await startProduct()
  const { base, user, key } = await provision(product.url, { baseUrl: emulator.url, limits: { concurrency: 3 } })
  const prompts = [0, 1, 2].flatMap((round) => [...WELL, ...BADLY].map((fault) => `picture ${round} of a mix ${fault}`))
  for (const [i, prompt] of prompts.entries())
    await user.ask(
      'POST',
      `${base}/jobs`,
      imageJob(prompt, { max_attempts: 2, project: `p${i % 2}` }, { count: 1 + (i % 2) }),
    )
  const jobs = await until(
    () => allJobs(user, base),
    (all) => all.length === prompts.length && all.every(isOver),
  )

  const usage = await user.ask<UsageReport>('GET', `${base}/usage?interval=hour&group_by=model,project`)
  const { total, data } = usage
  const stats = emulator.stats()
  const delivered = stats.generations.filter(({ prompt }) => !prompt.includes('[[unsafe]]'))
  const rejected = (status: number): number => stats.rejected[status] ?? 0
  expect(total).toMatchObject({
    jobs: { succeeded: 3 * WELL.length, failed: 3 * BADLY.length, canceled: 0 },
    attempts: stats.accepted + rejected(503) + rejected(500) + rejected(429) + rejected(422),
    errors: {
      provider_unavailable: rejected(503) + rejected(500),
      provider_rate_limited: rejected(429),
      content_rejected: rejected(422) + stats.accepted - delivered.length,
    },
    images: delivered.reduce((sum, { images }) => sum + images, 0),
  })
  expect(rejected(503)).toBeGreaterThanOrEqual(9)
  expect([Math.round(total.cost_usd * 1e6), total.unknown_cost_attempts]).toEqual([
    stats.billed_usd_micros,
    rejected(422),
  ])
  expect(total.latency_ms.p50).toBeGreaterThan(50)
  expect(new Set(data.map(({ project }) => project))).toEqual(new Set(['p0', 'p1']))

  const warnings = await user.ask<LogPage>('GET', `${base}/logs?level=warn&limit=100`)
  const outcomes = warnings.data.map(({ data: { code } }) => code)
  const told = (code: string): number => outcomes.filter((item) => item === code).length
  // Every failed attempt is told once: as a retry, or as the failure of its job.
  expect([told('provider_unavailable'), told('provider_rate_limited'), told('content_rejected')]).toEqual([
    total.errors['provider_unavailable'],
    total.errors['provider_rate_limited'],
    total.errors['content_rejected'],
  ])
  const [first] = jobs
  const ofRequest = await user.ask<LogPage>('GET', `${base}/logs?request_id=${first?.request_id}`)
  expect(new Set(ofRequest.data.map(({ job }) => job))).toEqual(new Set([first?.id]))

  await product.kill9()
  const revived = api((await startProduct({ state: product.state })).url, key)
  const after = await revived.ask<UsageReport>('GET', `${base}/usage?interval=hour&group_by=model,project`)
  expect({ ...after, to: '' }).toEqual({ ...usage, to: '' })
  expect(await revived.ask<LogPage>('GET', `${base}/logs?level=warn&limit=100`)).toEqual(warnings)
})
