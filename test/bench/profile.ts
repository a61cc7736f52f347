import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Cost, moduleFinder, record, type Summary, summarise } from './cpu-profile.ts'
import { load } from './load.ts'
import { cpuSeconds, freePort } from './processes.ts'
import { addTenant, type Product, startProductPlain, type Tenant } from './product.ts'
import { startProvider } from './provider.ts'

/**
 * `node test/bench/profile.ts [--seconds 5] [--lines 10]`: what workerd's JavaScript spends its time on while it takes
 * submits, and while it runs jobs to their end. On plain workerd, where Worker, Instance and lanes are one isolate and no
 * simulator is in the picture. Time in native code stands as `(program)`.
 */
const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: { seconds: { type: 'string', default: '5' }, lines: { type: 'string', default: '10' } },
  })
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-profile-'))
  const closers: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
  try {
    const answering = await startProvider()
    const silent = await startProvider()
    closers.push(answering.close, silent.close)
    silent.hold()
    const inspector = await freePort()
    const product = await startProductPlain(folder, undefined, inspector)
    closers.push(product.stop)
    const submits = await addTenant(product, 'submits', silent.url, 1)
    const jobs = await addTenant(product, 'jobs', answering.url, 48)
    const moduleAt = moduleFinder(readFileSync(join(folder, 'product.js'), 'utf8'))
    for (const [title, tenant, drain] of [
      ['submit', submits, false],
      ['jobs', jobs, true],
    ] as const) {
      await load({ url: product.url, request: tenant.submit, connections: 32, requests: 300 })
      if (drain) await drained(tenant)
      const recording = await record(inspector)
      const ran = await drive(product, tenant, Number(values.seconds), drain)
      for (const { profile } of await recording.stop()) {
        const summary = summarise(profile, moduleAt)
        if (summary.totalMs > 1) process.stdout.write(describe(title, ran, summary, Number(values.lines)))
      }
    }
  } finally {
    for (const close of closers.reverse()) await close()
  }
}

type Ran = { done: number; seconds: number; cpuSeconds: number }

const drive = async (product: Product, tenant: Tenant, seconds: number, drain: boolean): Promise<Ran> => {
  const cpuBefore = cpuSeconds(product.pids)
  const startedAt = performance.now()
  const result = await load({ url: product.url, request: tenant.submit, connections: 32, seconds })
  if (drain) await drained(tenant)
  return {
    done: result.done,
    seconds: (performance.now() - startedAt) / 1000,
    cpuSeconds: cpuSeconds(product.pids) - cpuBefore,
  }
}

const drained = async (tenant: Tenant): Promise<void> => {
  while (tenant.unfinished() > 0) await new Promise((resolve) => setTimeout(resolve, 20))
}

const describe = (title: string, ran: Ran, summary: Summary, lines: number): string => {
  const each = (ms: number) => `${((ms * 1000) / ran.done).toFixed(0).padStart(6)} us`
  const list = (costs: Cost[]) =>
    costs
      .slice(0, lines)
      .map(({ name, milliseconds }) => {
        const share = `${((100 * milliseconds) / summary.totalMs).toFixed(1)}%`.padStart(6)
        return `  ${share} ${each(milliseconds)}  ${name}`
      })
      .join('\n')
  return `
${title}: ${ran.done} in ${ran.seconds.toFixed(1)} s; ${((ran.cpuSeconds / ran.done) * 1e6).toFixed(0)} us of CPU each, ${each(summary.totalMs).trim()} of them on the JavaScript thread (profiled; the profile itself costs some)
self time by function
${list(summary.byFunction)}
self time by module
${list(summary.byModule)}
with all that it calls
${list(summary.withCallees.filter(({ name }) => !name.startsWith('(')))}
`
}

await main()
