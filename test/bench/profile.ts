import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startChatUpstream } from './chat-upstream.ts'
import { type Cost, moduleFinder, record, type Summary, summarise } from './cpu-profile.ts'
import { addChats } from './gateways.ts'
import { load } from './load.ts'
import { cpuSeconds, freePort } from './processes.ts'
import { addTenant, startProductPlain, type Tenant } from './product.ts'
import { startProvider } from './provider.ts'

/**
 * `node test/bench/profile.ts [--seconds 5] [--lines 10] [--only submit,jobs,pictures,chat,stream]`: what workerd's JavaScript spends
 * its time on while it takes submits, while it runs jobs to their end, and while it passes chats on. On plain workerd, where Worker, Instance and lanes are one isolate and no
 * simulator is in the picture. Time in native code stands as `(program)`.
 */
const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '5' },
      lines: { type: 'string', default: '10' },
      only: { type: 'string', default: 'submit,jobs,pictures,chat,stream' },
    },
  })
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-profile-'))
  const closers: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
  try {
    const answering = await startProvider()
    const silent = await startProvider()
    closers.push(answering.close, silent.close)
    silent.hold()
    const inspector = await freePort()
    const product = await startProductPlain(folder, inspector)
    closers.push(product.stop)
    const submits = await addTenant(product, 'submits', 'text', silent.url, 1)
    const jobs = await addTenant(product, 'texts', 'text', answering.url, 48)
    const pictures = await addTenant(product, 'pictures', 'image', answering.url, 48)
    const upstream = await startChatUpstream()
    closers.push(upstream.stop)
    const chats = await addChats(product, 'chat', new URL('/v1', upstream.url).href)
    const moduleAt = moduleFinder(readFileSync(join(folder, 'product.js'), 'utf8'))
    const works: Work[] = [
      { title: 'submit', url: product.url, request: submits.submit, connections: 32, over: async () => {} },
      { title: 'jobs', url: product.url, request: jobs.submit, connections: 32, over: () => drained(jobs) },
      { title: 'pictures', url: product.url, request: pictures.submit, connections: 32, over: () => drained(pictures) },
      { title: 'chat', url: chats.url, request: chats.whole, connections: 16, over: chats.verify },
      { title: 'stream', url: chats.url, request: chats.stream, connections: 16, over: chats.verify },
    ]
    const wanted = values.only.split(',')
    for (const work of works.filter(({ title }) => wanted.includes(title))) {
      await load({ ...work, requests: 300 })
      await work.over()
      const recording = await record(inspector)
      const ran = await drive(product.pids, work, Number(values.seconds))
      for (const { profile } of await recording.stop()) {
        const summary = summarise(profile, moduleAt)
        if (summary.totalMs > 1) process.stdout.write(describe(work.title, ran, summary, Number(values.lines)))
      }
    }
  } finally {
    for (const close of closers.reverse()) await close()
  }
}

type Ran = { done: number; seconds: number; cpuSeconds: number }

/** What is driven, and how to wait until all of it is over. */
type Work = { title: string; url: URL; request: Buffer; connections: number; over: () => Promise<void> }

const drive = async (pids: number[], work: Work, seconds: number): Promise<Ran> => {
  const cpuBefore = cpuSeconds(pids)
  const startedAt = performance.now()
  const result = await load({ ...work, seconds })
  await work.over()
  return {
    done: result.done,
    seconds: (performance.now() - startedAt) / 1000,
    cpuSeconds: cpuSeconds(pids) - cpuBefore,
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
