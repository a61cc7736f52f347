import { globSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type LoadResult, load } from './load.ts'
import { cpuSeconds, runtimeBytes } from './processes.ts'
import { addTenant, databaseOf, type Product, rootClient, startProduct, type Tenant, tenantOf } from './product.ts'
import type { BenchProvider } from './provider.ts'
import type { Section } from './section.ts'
import { median, number, ratio, table, withSpread } from './statistics.ts'
import { CONCURRENCY, type World } from './world.ts'

/** What a submit, a claim and a status read cost behind a short and behind a long queue, in turns on two products. */

type Deep = {
  depth: number
  product: Product
  tenant: Tenant
  provider: BenchProvider
  startMs: number
  stateBytes: number
  /** The job at the end of the queue when the measuring began. */
  last: string
  residentBytes: number
  figures: Record<Step, { perSecond: number[]; cpuUs: number[] }>
}

const STEPS = ['submit', 'status', 'claim'] as const
type Step = (typeof STEPS)[number]

const INSTANCE = 'deep'

export const measureQueueDepth = async (
  world: World,
  depths: [number, number],
  rounds: number,
  operations: number,
): Promise<Section> => {
  const shallow = await prepare(world, depths[0])
  const deep = await prepare(world, depths[1])
  for (let round = 0; round < rounds; round += 1) {
    for (const step of STEPS) for (const one of [shallow, deep]) await measure(one, step, operations)
  }
  for (const one of [shallow, deep]) one.residentBytes = runtimeBytes(one.product.pids)
  return report(shallow, deep)
}

const prepare = async (world: World, depth: number): Promise<Deep> => {
  const provider = await world.provider()
  provider.hold()
  const state = join(world.folder, `deep-${depth}`)
  const first = await startProduct(state)
  const { key, submitOne } = await addTenant(first, INSTANCE, 'image', provider.url, 1)
  await submitOne()
  const model = await submitOne() // waits behind the first
  await first.stop()
  fill(databaseOf(state, INSTANCE), model, depth)
  const stateBytes = globSync(join(state, '**/*')).reduce((sum, file) => sum + statSync(file).size, 0)
  const startedAt = performance.now()
  const product = await startProduct(state)
  world.atEnd(product.stop)
  const tenant = tenantOf(product, INSTANCE, 'image', key)
  // The first request waits for the actor to read its books.
  await widen(product, provider.url)
  const startMs = performance.now() - startedAt
  const last = await tenant.submitOne()
  const figures = { submit: noFigures(), status: noFigures(), claim: noFigures() }
  return { depth, product, tenant, provider, startMs, stateBytes, last, residentBytes: 0, figures }
}

const noFigures = () => ({ perSecond: [], cpuUs: [] })

/** Copies a waiting job, and the event that tells of it, until the queue is `depth` long. Knows no column it need not know. */
const fill = (file: string, model: string, depth: number): void => {
  const database = new DatabaseSync(file)
  const columns = (name: string) =>
    database
      .prepare(`SELECT name FROM pragma_table_info('${name}')`)
      .all()
      .map((row) => String(row.name))
  const copy = (name: string, where: string, replaced: Record<string, string>) => {
    const names = columns(name)
    const values = names.map((column) => replaced[column] ?? `t."${column}"`)
    database
      .prepare(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
         INSERT INTO ${name} (${names.map((column) => `"${column}"`).join(', ')})
         SELECT ${values.join(', ')} FROM n, (SELECT * FROM ${name} WHERE ${where} LIMIT 1) AS t`,
      )
      .run(depth, model)
  }
  const week = Date.now() + 7 * 24 * 60 * 60 * 1000
  const newId = (column: string) => `substr(t.${column}, 1, 14) || printf('%016d', n.i)`
  database.exec('PRAGMA cache_size = -262144')
  database.exec('BEGIN')
  copy('jobs', 'id = ?', { id: newId('id'), deadline_at_ms: String(week) })
  copy('events', 'job = ?', { seq: '(SELECT max(seq) FROM events) + n.i', job: newId('job') })
  database.exec('COMMIT')
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  database.close()
}

const widen = async (product: Product, providerUrl: string): Promise<void> => {
  await rootClient(product).ask('PUT', `/v1/instances/${INSTANCE}/providers/ideogram`, {
    base_url: providerUrl,
    limits: { concurrency: CONCURRENCY },
  })
}

const measure = async (one: Deep, step: Step, operations: number): Promise<void> => {
  const { product, tenant, provider, figures } = one
  const cpuBefore = cpuSeconds(product.pids)
  const result =
    step === 'claim'
      ? await claim(provider, operations)
      : await load({
          url: product.url,
          request: step === 'submit' ? tenant.submit : tenant.read(one.last),
          connections: 8,
          requests: operations,
        })
  figures[step].perSecond.push(result.done / result.seconds)
  figures[step].cpuUs.push(((cpuSeconds(product.pids) - cpuBefore) / result.done) * 1e6)
}

/** Lets jobs run until so many were called for, then holds again: what is ahead of the next step stays queued. */
const claim = async (provider: BenchProvider, operations: number): Promise<Pick<LoadResult, 'done' | 'seconds'>> => {
  const before = provider.counts.calls
  const startedAt = performance.now()
  provider.release()
  while (provider.counts.calls - before < operations) await new Promise((resolve) => setTimeout(resolve, 2))
  provider.hold()
  return { done: provider.counts.calls - before, seconds: (performance.now() - startedAt) / 1000 }
}

const report = (shallow: Deep, deep: Deep): Section => {
  const rows = STEPS.map((step) => {
    const few = shallow.figures[step]
    const many = deep.figures[step]
    return [
      step === 'claim' ? 'claim, run and settle' : step,
      withSpread(few.perSecond),
      withSpread(many.perSecond),
      number(median(few.cpuUs)),
      number(median(many.cpuUs)),
      ratio(median(few.perSecond), median(many.perSecond)),
      ratio(median(many.cpuUs), median(few.cpuUs)),
    ]
  })
  const [few, many] = [number(shallow.depth), number(deep.depth)]
  const of = (bytes: number) => `${number(bytes / 2 ** 20)} MB`
  const place = (one: Deep) =>
    `${number(one.depth)} queued: state ${of(one.stateBytes)}, workerd ${of(one.residentBytes)} resident, ${number(one.startMs)} ms from start to first answer`
  return {
    title: `queue-depth: ${few} against ${many} queued jobs in one instance, on miniflare`,
    text: table([
      ['', `at ${few}, /s`, `at ${many}, /s`, 'CPU us', 'CPU us', 'time, deep to short', 'CPU, deep to short'],
      ...rows,
    ]),
    notes: [place(shallow), place(deep), 'status: read of a job at the end of the queue; 8 connections'],
    data: { shallow: shallow.figures, deep: deep.figures },
  }
}
