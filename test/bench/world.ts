import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Bare, startBareMiniflare, startBarePlain } from './bare.ts'
import type { Load } from './load.ts'
import { startPeerApp } from './peer-app.ts'
import { addTenant, allSucceeded, type Product, startProduct, startProductPlain, type Tenant } from './product.ts'
import { type BenchProvider, CHAT, startProvider, TEXT_PATH } from './provider.ts'
import { HOW_TO_INSTALL, type Server, startPostgres, startRedis } from './servers.ts'
import { writeRequest } from './wire.ts'

/** Everything that is measured, started once and used by all parts of the bench, so that rounds can take turns. */

export type Kind = 'product' | 'bare' | 'peer'
export type On = 'miniflare' | 'workerd' | 'node'

export type Target = {
  name: string
  kind: Kind
  on: On
  url: URL
  pids: number[]
  /** Durable submits that nothing works on: a name and the request, more than one where there are ways to do it. */
  submits: { name: string; url: URL; request: Buffer }[]
  /** Submit of a job that runs to its end. */
  job: Pick<Load, 'url' | 'request'>
  unfinished: () => Promise<number>
  /** Throws when a job ended otherwise than it should. */
  verify: () => void
}

/** Attempts in flight at once, for the product, the bare lanes and the peers alike: eight lanes of six. */
export const CONCURRENCY = 48

const BODY = JSON.stringify({ model: 'gpt-4o-mini', ...CHAT })

export class World {
  readonly folder = mkdtempSync(join(tmpdir(), 'switchyard-bench-'))
  readonly notes: string[] = []
  readonly durability: string[] = []
  readonly versions: string[] = []
  readonly #closers: (() => unknown)[] = []

  /** Runs when the world ends, the latest first. */
  atEnd(close: () => unknown): void {
    this.#closers.push(close)
  }

  async stopServers(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close()
  }

  async close(): Promise<void> {
    await this.stopServers()
    rmSync(this.folder, { recursive: true, force: true })
  }

  async provider(): Promise<BenchProvider> {
    const provider = await startProvider()
    this.atEnd(provider.close)
    return provider
  }

  async targets(wanted: { jobs: boolean; plain: boolean }): Promise<Target[]> {
    // PostgreSQL's own user has to reach its folder in here.
    chmodSync(this.folder, 0o711)
    const answering = await this.provider()
    const silent = await this.provider()
    silent.hold()
    const targets: Target[] = []
    const runtimes: On[] = wanted.plain ? ['miniflare', 'workerd'] : ['miniflare']
    for (const on of runtimes) targets.push(...(await this.#product(on, wanted.jobs, answering, silent)))
    for (const on of runtimes) targets.push(await this.#bare(on, answering))
    return [...targets, ...(await this.#peers(answering))]
  }

  async #product(on: On, jobs: boolean, answering: BenchProvider, silent: BenchProvider): Promise<Target[]> {
    const state = join(this.folder, `product-${on}`)
    const product: Product = await (on === 'workerd' ? startProductPlain : startProduct)(state)
    this.atEnd(product.stop)
    const submits = await addTenant(product, 'submits', 'text', silent.url, 1)
    const texts = await addTenant(product, 'texts', 'text', answering.url, CONCURRENCY)
    const name = `product on ${on}`
    const target = (name: string, tenant: Tenant): Target => ({
      name,
      kind: 'product',
      on,
      url: product.url,
      pids: product.pids,
      submits: [],
      job: { url: product.url, request: tenant.submit },
      unfinished: async () => tenant.unfinished(),
      verify: () => allSucceeded(state, tenant.id),
    })
    const whole = { ...target(name, texts), submits: [{ name, url: product.url, request: submits.submit }] }
    if (!jobs) return [whole]
    const pictures = await addTenant(product, 'pictures', 'image', answering.url, CONCURRENCY)
    return [whole, target(`product on ${on}, pictures`, pictures)]
  }

  async #bare(on: On, provider: BenchProvider): Promise<Target> {
    const place = { state: join(this.folder, `bare-${on}`), providerUrl: provider.url, concurrency: CONCURRENCY }
    const bare: Bare = await (on === 'workerd' ? startBarePlain : startBareMiniflare)(place)
    this.atEnd(bare.stop)
    const request = (path: string) => {
      const url = new URL(path, bare.url)
      return { url, request: writeRequest('POST', url, {}, BODY) }
    }
    return {
      name: `bare limit on ${on}`,
      kind: 'bare',
      on,
      url: bare.url,
      pids: [bare.pid],
      submits: [
        { name: `bare limit on ${on}, grouped commits`, ...request('/grouped') },
        { name: `bare on ${on}, a commit each`, ...request('/one') },
      ],
      job: request('/jobs'),
      unfinished: () => unfinishedOf(new URL('/jobs', bare.url)),
      verify: () => {},
    }
  }

  async #peers(provider: BenchProvider): Promise<Target[]> {
    const always = await startRedis(join(this.folder, 'redis-always'), 'always')
    const everysec = always && (await startRedis(join(this.folder, 'redis-everysec'), 'everysec'))
    const postgres = await startPostgres(join(this.folder, 'postgres'))
    if (!always) this.notes.push(`BullMQ left out: redis-server is not installed (${HOW_TO_INSTALL})`)
    if (!postgres) this.notes.push(`pg-boss left out: PostgreSQL is not installed (${HOW_TO_INSTALL})`)
    const peers: Target[] = []
    if (always) peers.push(await this.#peer('BullMQ, appendfsync always', 'bullmq', always, provider))
    if (everysec) peers.push(await this.#peer('BullMQ, appendfsync everysec', 'bullmq', everysec, provider))
    if (postgres) peers.push(await this.#peer('pg-boss', 'pg-boss', postgres, provider))
    if (always) this.versions.push(`Redis ${always.version}`)
    if (postgres) this.versions.push(`PostgreSQL ${postgres.version}`)
    return peers
  }

  async #peer(name: string, kind: 'bullmq' | 'pg-boss', server: Server, provider: BenchProvider): Promise<Target> {
    this.atEnd(server.stop)
    this.durability.push(`${name}: ${server.durability}`)
    const callUrl = provider.url + TEXT_PATH
    const app = await startPeerApp({ kind, port: server.port, callUrl, concurrency: CONCURRENCY })
    this.atEnd(app.stop)
    const request = (path: string) => {
      const url = new URL(path, app.url)
      return { url, request: writeRequest('POST', url, {}, BODY) }
    }
    return {
      name,
      kind: 'peer',
      on: 'node',
      url: app.url,
      pids: [app.pid, server.pid],
      submits: [{ name, ...request('/submits') }],
      job: request('/jobs'),
      unfinished: () => unfinishedOf(new URL('/jobs', app.url)),
      verify: () => {},
    }
  }
}

const unfinishedOf = async (url: URL): Promise<number> =>
  ((await (await fetch(url)).json()) as { unfinished: number }).unfinished
