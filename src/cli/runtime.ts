import { Log, LogLevel, Miniflare, type MiniflareOptions } from 'miniflare'
import type { Bundle } from './build.ts'
import { CommandError } from './command.ts'
import { RUNTIME_TAG } from './processes.ts'
import type { Settings } from './settings.ts'

/** The polite requests to stop. */
export const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export type Runtime = { url: string; stop: () => Promise<void> }

type WorkerOptions = MiniflareOptions['workers'][number]
type Bindings = NonNullable<WorkerOptions['config']['env']>

type Place = { folder: string; tag: string }

/** Applies the directory's migrations and starts the bundle on 127.0.0.1. No reloading, no inspector, no registry. */
export const serve = async (bundle: Bundle, settings: Settings, place: Place): Promise<Runtime> => {
  await migrate(bundle, place)
  const runtime = start(place, workers(bundle, settings))
  try {
    const url = await runtime.unsafeGetDirectURL(bundle.name)
    return { url: url.origin, stop: () => runtime.dispose() }
  } catch (error) {
    // Why it did not start is worth more than why it does not stop.
    await runtime.dispose().catch(() => {})
    if ((error as { code?: string }).code !== 'ERR_ADDRESS_IN_USE') throw error
    throw new CommandError(
      `port ${settings.port} is taken; stop what listens there or set another PORT (0 picks a free one)`,
    )
  }
}

const start = (place: Place, workers: MiniflareOptions['workers']): Miniflare => {
  const handlers = SIGNALS.map((signal) => process.listeners(signal))
  const runtime = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    enableDevRegistry: false,
    // Otherwise the runtime fetches a sample of `request.cf` from the network.
    cf: false,
    logRequests: false,
    log: new StderrLog(LogLevel.WARN),
    handleStructuredLogs: ({ message }) => printConsole(message),
    resourcePersistencePath: place.folder,
    unsafeRuntimeEnv: { [RUNTIME_TAG]: place.tag },
    workers,
  })
  removeNewListeners(handlers)
  return runtime
}

/** Miniflare brings handlers that leave with 128 + the signal's number; here a stop on request is a success. */
const removeNewListeners = (before: NodeJS.SignalsListener[][]): void => {
  for (const [index, signal] of SIGNALS.entries()) {
    for (const listener of process.listeners(signal)) {
      if (!before[index]?.includes(listener)) process.removeListener(signal, listener)
    }
  }
}

const workers = (bundle: Bundle, settings: Settings): MiniflareOptions['workers'] => {
  const vars = { ...bundle.vars, ...settings.vars, ROOT_KEY: settings.rootKey, MASTER_KEY: settings.masterKey }
  const env: Bindings = {}
  for (const [name, value] of Object.entries(vars)) env[name] = { type: 'text', value }
  for (const [name, id] of Object.entries(bundle.d1)) env[name] = { type: 'd1', id }
  for (const [name, bucket] of Object.entries(bundle.r2)) env[name] = { type: 'r2', name: bucket }
  for (const [name, { namespace, limit, period }] of Object.entries(bundle.rateLimits)) {
    env[name] = { type: 'rate-limit', namespace, simple: { limit, period } }
  }
  for (const [name, exportName] of Object.entries(bundle.durableObjects)) {
    env[name] = { type: 'durable-object', worker: bundle.name, exportName }
  }
  const actors = Object.values(bundle.durableObjects).map(
    (name) => [name, { type: 'durable-object', storage: 'sqlite' }] as const,
  )
  const product: WorkerOptions = {
    config: {
      name: bundle.name,
      compatibilityDate: bundle.compatibilityDate,
      compatibilityFlags: bundle.compatibilityFlags,
      manifest: modulesOf(bundle.script, bundle.wasm),
      env,
      exports: Object.fromEntries(actors),
    },
  }
  // Clients talk to the product itself: miniflare's own worker, before the other port, costs each request a hop (decision 0043).
  const dev = {
    unsafeDirectSockets: [{ host: '127.0.0.1', port: settings.port }],
    // The product passes no client's headers on. Otherwise miniflare copies all of a call's, and tells the provider of itself.
    stripCfConnectingIp: false,
  }
  if (vars.ALLOW_PRIVATE_UPSTREAMS === 'true') return [{ ...product, dev }]
  return [
    { ...product, dev: { ...dev, outboundService: { type: 'worker', worker: 'egress' } } },
    egress(bundle.compatibilityDate),
  ]
}

/**
 * The second line of defence against upstreams on private addresses: the Worker judges the host names it is given, this
 * judges the address that a connection really goes to, after DNS. Redirects and rebinding names included.
 */
const egress = (compatibilityDate: string): WorkerOptions => ({
  config: {
    name: 'egress',
    compatibilityDate,
    manifest: modulesOf('export default { fetch: (request, env) => env.PUBLIC.fetch(request) }'),
    env: { PUBLIC: { type: 'network', allow: ['public'], deny: [], tlsOptions: { trustBrowserCas: true } } },
  },
})

const modulesOf = (script: string, wasm: Bundle['wasm'] = {}) => ({
  mainModule: 'worker.js',
  modules: {
    'worker.js': { type: 'esm' as const, contents: script },
    ...Object.fromEntries(Object.entries(wasm).map(([name, contents]) => [name, { type: 'wasm' as const, contents }])),
  },
})

/**
 * In a runtime of its own, without the product. Miniflare's way to a database blocks this process until it is answered; an
 * actor that wakes with hundreds of jobs logs more meanwhile than a pipe holds that nobody reads, and both would wait for ever.
 */
const migrate = async (bundle: Bundle, place: Place): Promise<void> => {
  const { name, compatibilityDate, d1, migrations } = bundle
  const [binding] = Object.keys(d1)
  if (!binding) return
  const manifest = modulesOf('export default {}')
  const env: Bindings = Object.fromEntries(Object.entries(d1).map(([name, id]) => [name, { type: 'd1', id }]))
  const runtime = start(place, [{ config: { name, compatibilityDate, manifest, env } }])
  try {
    await applyMigrations(await runtime.getD1Database(binding, name), migrations)
  } finally {
    await runtime.dispose()
  }
}

type Database = Awaited<ReturnType<Miniflare['getD1Database']>>

/** Keeps wrangler's table of what was applied, so `wrangler d1 migrations` and this agree on the same database. */
const applyMigrations = async (database: Database, migrations: Bundle['migrations']): Promise<void> => {
  await database
    .prepare(
      `CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE,
       applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`,
    )
    .run()
  const applied = await database.prepare('SELECT name FROM d1_migrations').all<{ name: string }>()
  const names = new Set(applied.results.map((row) => row.name))
  for (const migration of migrations.filter(({ name }) => !names.has(name))) {
    const statements = migration.statements.map((statement) => database.prepare(statement))
    // A batch is one transaction: a migration is applied and noted, or neither.
    await database.batch([
      ...statements,
      database.prepare('INSERT INTO d1_migrations (name) VALUES (?)').bind(migration.name),
    ])
  }
}

/** What the Worker logs is data and goes to stdout as it is; what the runtime says about itself is for people. */
const printConsole = (message: string): void => {
  const stream = message.startsWith('{') ? process.stdout : process.stderr
  stream.write(`${message}\n`)
}

class StderrLog extends Log {
  protected override log(message: string): void {
    process.stderr.write(`${message}\n`)
  }
}
