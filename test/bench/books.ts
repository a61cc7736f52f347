import { join } from 'node:path'
import { type JobFigures, runJobs, sizeFor } from './jobs.ts'
import { addTenant, allSucceeded, rootClient, startProduct } from './product.ts'
import type { Section } from './section.ts'
import { median, number, ratio, table, withSpread } from './statistics.ts'
import { CONCURRENCY, type Target, type World } from './world.ts'

/** What budgets cost: the same jobs in two instances of one product, one with a budget of the instance and of the project. */

const WITHOUT = 'no budget'
const WITH = 'budget of instance and project'

export const measureBooks = async (world: World, rounds: number, seconds: number): Promise<Section> => {
  const provider = await world.provider()
  const state = join(world.folder, 'books')
  const product = await startProduct(state)
  world.atEnd(product.stop)
  const targets: Target[] = []
  for (const [name, id] of [
    [WITHOUT, 'free'],
    [WITH, 'bound'],
  ] as const) {
    const tenant = await addTenant(product, id, 'text', provider.url, CONCURRENCY, { project: 'bench' })
    if (name === WITH)
      for (const [scope, window] of [
        ['instance', 'month'],
        ['project:bench', 'day'],
      ])
        await rootClient(product).ask('PUT', `/v1/instances/${id}/budgets/${scope}`, {
          limit_usd: 10_000_000,
          window,
          alert_at: [0.5, 1],
        })
    targets.push({
      name,
      kind: 'product',
      on: 'miniflare',
      url: product.url,
      pids: product.pids,
      submits: [],
      job: { url: product.url, request: tenant.submit },
      unfinished: async () => tenant.unfinished(),
      verify: () => allSucceeded(state, id),
    })
  }
  const figures = new Map<string, JobFigures>()
  for (const target of targets) figures.set(target.name, { perSecond: [], submitP50Ms: [], submitP99Ms: [], cpuUs: [] })
  const size = await sizeFor(targets[0] as Target, seconds)
  await sizeFor(targets[1] as Target, seconds)
  for (let round = 0; round < rounds; round += 1) {
    // Who goes first takes turns too: a disk is slower after a burst.
    for (const target of round % 2 === 0 ? targets : targets.toReversed())
      await runJobs(target, size, figures.get(target.name) as JobFigures)
  }
  for (const target of targets) target.verify()
  return report(figures)
}

const report = (figures: Map<string, JobFigures>): Section => {
  const free = figures.get(WITHOUT)
  const rows = [...figures].map(([name, seen]) => [
    name,
    withSpread(seen.perSecond),
    number(median(seen.cpuUs)),
    `${number(median(seen.submitP50Ms), 1)} / ${number(median(seen.submitP99Ms), 1)}`,
    ratio(median(seen.perSecond), median(free?.perSecond ?? [])),
    ratio(median(seen.cpuUs), median(free?.cpuUs ?? [])),
  ])
  return {
    title: 'books: jobs per second with budgets against none, on miniflare',
    text: table([['', 'jobs/s', 'CPU us', 'submit ms p50 / p99', 'time', 'CPU'], ...rows]),
    notes: ['both keep a ledger; a budget adds its checks, and counters of the project are written in both'],
    data: Object.fromEntries(figures),
  }
}
