import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { build } from '../../src/cli/build.ts'
import { createClient } from '../../src/cli/client.ts'
import { startServer } from '../../src/cli/server.ts'
import { startPlain } from './plain-workerd.ts'
import { CHAT, providerBase } from './provider.ts'
import { writeRequest } from './wire.ts'

/** The product as `npm start` serves it, and the same bundle on plain workerd. */

/** Public on purpose: they open nothing but a bench. */
const ROOT_KEY = 'root-key-of-the-bench-0123456789abcdef'
const MASTER_KEY = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const VARS = { ROOT_KEY, MASTER_KEY, ALLOW_PRIVATE_UPSTREAMS: 'true' }

export type Product = { url: URL; state: string; pids: number[]; stop: () => Promise<unknown> }

export const startProduct = async (state: string, more = {}): Promise<Product> => {
  const server = await startServer({ ...VARS, STATE: state, ...more })
  return { url: new URL(server.url), state, pids: [server.pid], stop: server.stop }
}

export const startProductPlain = async (state: string, inspectorPort?: number): Promise<Product> => {
  const bundle = await build()
  const classes = [...new Set(Object.values(bundle.durableObjects))]
  const standIns = [
    ...Object.keys(bundle.d1).map((name) => `${name}: directory`),
    ...Object.keys(bundle.r2).map((name) => `${name}: bucket`),
  ]
  const entry = [
    `import product, * as actors from './product.js'`,
    `import { bucket, directory } from './stand-ins.js'`,
    `let whole = null`,
    `const complete = (env) => (whole ??= { ...env, ${standIns.join(', ')} })`,
    ...classes.map(
      (name) =>
        `export class ${name} extends actors.${name} { constructor(state, env) { super(state, complete(env)) } }`,
    ),
    `export default { fetch: (request, env, context) => product.fetch(request, complete(env), context) }`,
  ]
  const child = await startPlain({
    modules: {
      'main.js': entry.join('\n'),
      'product.js': bundle.script,
      ...bundle.wasm,
      'stand-ins.js': readFileSync(join(import.meta.dirname, 'workers/stand-ins.js'), 'utf8'),
    },
    compatibilityDate: bundle.compatibilityDate,
    compatibilityFlags: bundle.compatibilityFlags,
    actors: bundle.durableObjects,
    text: { ...bundle.vars, ...VARS },
    json: {},
    state,
    inspectorPort,
  })
  return { url: child.url, state, pids: [child.pid], stop: child.stop }
}

export const rootClient = (product: Product) => createClient(product.url.href, ROOT_KEY)

/** An instance that takes jobs, and the requests that a client sends to it. */
export type Tenant = {
  id: string
  key: string
  /** POST of one job. */
  submit: Buffer
  /** GET of one job. */
  read: (job: string) => Buffer
  /** Jobs that have not ended, read from the database's file, so that asking costs the product nothing. */
  unfinished: () => number
  /** Submits one job and returns its id. */
  submitOne: () => Promise<string>
}

/** A text job is one call of its provider; an image job also downloads, checks and stores a picture. */
export type JobKind = 'text' | 'image'

const JOBS = {
  text: { type: 'text.generate', models: ['openai/gpt-4o-mini'], input: CHAT },
  image: {
    type: 'image.generate',
    models: ['ideogram/ideogram-3'],
    input: { prompt: 'a lighthouse at dawn', provider_options: { ideogram: { mode: 'sync' } } },
  },
}
const PROVIDERS = { text: 'openai', image: 'ideogram' }

/** `more` goes into each of its jobs. */
export const addTenant = async (
  product: Product,
  id: string,
  kind: JobKind,
  providerUrl: string,
  concurrency: number,
  more: Record<string, unknown> = {},
): Promise<Tenant> => {
  const root = rootClient(product)
  const base = `/v1/instances/${id}`
  const provider = `${base}/providers/${PROVIDERS[kind]}`
  await root.ask('POST', '/v1/instances', { id })
  await root.ask('PUT', provider, { base_url: providerUrl + providerBase[kind], limits: { concurrency } })
  await root.ask('POST', `${provider}/credentials`, { name: 'main', secret: 'secret-of-the-bench' })
  const { key } = await root.ask<{ key: string }>('POST', `${base}/keys`, { name: 'bench', role: 'user' })
  return tenantOf(product, id, kind, key, more)
}

/** The same tenant of a product that was started again, or for another of its keys. */
export const tenantOf = (
  product: Product,
  id: string,
  kind: JobKind,
  key: string,
  more: Record<string, unknown> = {},
): Tenant => {
  const headers = { authorization: `Bearer ${key}` }
  const jobs = new URL(`/v1/instances/${id}/jobs`, product.url)
  const job = { ...JOBS[kind], ...more }
  let database: DatabaseSync | null = null
  return {
    id,
    key,
    submit: writeRequest('POST', jobs, headers, JSON.stringify(job)),
    read: (job) => writeRequest('GET', new URL(`${jobs.pathname}/${job}`, product.url), headers),
    unfinished: () => {
      database ??= new DatabaseSync(databaseOf(product.state, id), { readOnly: true })
      return Number(database.prepare('SELECT count(*) AS n FROM jobs WHERE ended_at_ms IS NULL').get()?.n)
    },
    submitOne: async () => {
      const client = createClient(product.url.href, key)
      return (await client.ask<{ id: string }>('POST', jobs.pathname, job)).id
    },
  }
}

/** The file that holds an instance's database. */
export const databaseOf = (state: string, instance: string): string => {
  for (const file of globSync(join(state, '**/*.sqlite'))) {
    const database = new DatabaseSync(file, { readOnly: true })
    try {
      const row = database.prepare("SELECT value FROM meta WHERE key = 'instance'").get()
      if (String(row?.value).includes(`"id":"${instance}"`)) return file
    } catch {
      // Another actor's database.
    } finally {
      database.close()
    }
  }
  throw new Error(`the database of ${instance} is not below ${state}`)
}

/** How the jobs of an instance ended, by status: a rate of failures would say nothing. */
export const endings = (state: string, instance: string): Record<string, number> => {
  const database = new DatabaseSync(databaseOf(state, instance), { readOnly: true })
  const rows = database.prepare('SELECT status, count(*) AS n FROM jobs GROUP BY status').all()
  database.close()
  return Object.fromEntries(rows.map((row) => [String(row.status), Number(row.n)]))
}

/** Throws when a job of the instance ended otherwise than it should. */
export const allSucceeded = (state: string, instance: string): void => {
  const ended = endings(state, instance)
  if (Object.keys(ended).some((status) => status !== 'succeeded'))
    throw new Error(`jobs did not succeed: ${JSON.stringify(ended)}`)
}
