import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Log, LogLevel, Miniflare } from 'miniflare'
import { startPlain } from './plain-workerd.ts'
import { startChild } from './processes.ts'
import { TEXT_PATH } from './provider.ts'

/** The bare limit (workers/bare.js) on miniflare or on plain workerd. Run as a process, this file hosts it on miniflare. */

export type Bare = { url: URL; pid: number; stop: () => Promise<void> }

type Place = { state: string; providerUrl: string; concurrency: number }

const COMPATIBILITY_DATE = '2026-11-01'
const ACTORS = { HUB: 'Hub', LANE: 'BareLane' }

const source = (): string => readFileSync(join(import.meta.dirname, 'workers/bare.js'), 'utf8')

export const startBarePlain = ({ state, providerUrl, concurrency }: Place): Promise<Bare> =>
  startPlain({
    modules: { 'bare.js': source() },
    compatibilityDate: COMPATIBILITY_DATE,
    actors: ACTORS,
    text: { PROVIDER_URL: providerUrl + TEXT_PATH },
    json: { CONCURRENCY: concurrency },
    state,
  })

export const startBareMiniflare = async (place: Place): Promise<Bare> => {
  const child = await startChild(process.execPath, [import.meta.filename, JSON.stringify(place)], {
    ready: /ready (\S+)/,
  })
  return { ...child, url: new URL(child.ready) }
}

const host = async ({ state, providerUrl, concurrency }: Place): Promise<void> => {
  const objects = Object.values(ACTORS).map((name) => [name, { type: 'durable-object', storage: 'sqlite' }] as const)
  const runtime = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    enableDevRegistry: false,
    cf: false,
    logRequests: false,
    log: new Log(LogLevel.ERROR),
    resourcePersistencePath: state,
    workers: [
      {
        config: {
          name: 'bare',
          compatibilityDate: COMPATIBILITY_DATE,
          manifest: { mainModule: 'bare.js', modules: { 'bare.js': { type: 'esm', contents: source() } } },
          env: {
            HUB: { type: 'durable-object', worker: 'bare', exportName: ACTORS.HUB },
            LANE: { type: 'durable-object', worker: 'bare', exportName: ACTORS.LANE },
            PROVIDER_URL: { type: 'text', value: providerUrl + TEXT_PATH },
            CONCURRENCY: { type: 'json', value: concurrency },
          },
          exports: Object.fromEntries(objects),
        },
        dev: { unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] },
      },
    ],
  })
  const url = await runtime.unsafeGetDirectURL('bare')
  process.once('SIGTERM', () => void runtime.dispose().finally(() => process.exit(0)))
  process.stdout.write(`ready ${url.origin}\n`)
}

if (import.meta.main) await host(JSON.parse(process.argv[2] ?? '{}') as Place)
