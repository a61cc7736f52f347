import { load } from './load.ts'
import { cpuSeconds } from './processes.ts'
import type { Section } from './section.ts'
import { median, number, ratio, table, withSpread } from './statistics.ts'
import { CONCURRENCY, type Target } from './world.ts'

/** Jobs from submit to recorded end, with a provider that answers at once: product, bare limit and peers, taking turns. */

const CONNECTIONS = 32

export type JobFigures = { perSecond: number[]; submitP50Ms: number[]; submitP99Ms: number[]; cpuUs: number[] }

export const measureJobs = async (targets: Target[], rounds: number, seconds: number): Promise<Section> => {
  const figures = new Map<string, JobFigures>()
  const sizes = new Map<string, number>()
  for (let round = 0; round < rounds; round += 1) {
    for (const target of targets) {
      const size = sizes.get(target.name) ?? (await sizeFor(target, seconds))
      sizes.set(target.name, size)
      const seen = figures.get(target.name) ?? { perSecond: [], submitP50Ms: [], submitP99Ms: [], cpuUs: [] }
      figures.set(target.name, seen)
      await runJobs(target, size, seen)
    }
  }
  for (const target of targets) target.verify()
  return report(targets, figures)
}

type Runs = Pick<Target, 'job' | 'unfinished' | 'pids'>

/** As many jobs as take about `seconds` here: the peers differ by more than ten times. */
export const sizeFor = async (target: Runs, seconds: number): Promise<number> => {
  const trial = { perSecond: [], submitP50Ms: [], submitP99Ms: [], cpuUs: [] }
  const least = Math.round(100 * seconds)
  await runJobs(target, least, trial)
  await runJobs(target, least, trial)
  return Math.max(least, Math.round(Math.max(...trial.perSecond) * seconds))
}

/** Posts `size` jobs as fast as they are taken, and waits until the last has ended. */
export const runJobs = async (target: Runs, size: number, figures: JobFigures): Promise<void> => {
  const cpuBefore = cpuSeconds(target.pids)
  const startedAt = performance.now()
  const result = await load({ ...target.job, connections: CONNECTIONS, requests: size })
  while ((await target.unfinished()) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  const seconds = (performance.now() - startedAt) / 1000
  figures.perSecond.push(size / seconds)
  figures.submitP50Ms.push(result.p50Ms)
  figures.submitP99Ms.push(result.p99Ms)
  figures.cpuUs.push(((cpuSeconds(target.pids) - cpuBefore) / size) * 1e6)
}

const report = (targets: Target[], figures: Map<string, JobFigures>): Section => {
  const rateOf = (name: string) => median(figures.get(name)?.perSecond ?? [])
  const bare = (on: string) => rateOf(`bare limit on ${on === 'node' ? 'miniflare' : on}`)
  const rows = targets.map((target) => {
    const seen = figures.get(target.name)
    if (!seen) return [target.name]
    return [
      target.name,
      withSpread(seen.perSecond),
      number(median(seen.cpuUs)),
      `${number(median(seen.submitP50Ms), 1)} / ${number(median(seen.submitP99Ms), 1)}`,
      ratio(rateOf(target.name), bare(target.on)),
      ratio(rateOf(target.name), rateOf('BullMQ, appendfsync always')),
    ]
  })
  return {
    title: `jobs: per second from submit to recorded end, ${CONNECTIONS} connections, ${CONCURRENCY} in flight, provider call of 0 ms`,
    text: table([['', 'jobs/s', 'CPU us', 'submit ms', 'of bare', 'of BullMQ always'], ...rows]),
    notes: [
      'CPU us: user and system time of server processes (runtime and Node, or application and database) for one job',
      'each job is one call of a chat; with pictures the product also downloads, checks and stores one, the others do not',
    ],
    data: Object.fromEntries(figures),
  }
}
