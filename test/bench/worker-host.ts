import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Log, LogLevel, Miniflare } from 'miniflare'
import { startPlain } from './plain-workerd.ts'
import { type Child, startChild } from './processes.ts'

/** A Worker without objects, on plain workerd or on miniflare. Run as a process, this file hosts it on miniflare. */

export type HostedWorker = {
  /** By file name; the first is the entry. */
  modules: Record<string, string>
  text: Record<string, string>
  /** A folder of its own. */
  state: string
}

const COMPATIBILITY_DATE = '2026-11-01'

export const startWorkerPlain = (worker: HostedWorker): Promise<Child & { url: URL }> =>
  startPlain({ ...worker, compatibilityDate: COMPATIBILITY_DATE, actors: {}, json: {} })

export const startWorkerMiniflare = async (worker: HostedWorker): Promise<Child & { url: URL }> => {
  mkdirSync(worker.state, { recursive: true })
  const plan = join(worker.state, 'worker.json')
  writeFileSync(plan, JSON.stringify(worker))
  const child = await startChild(process.execPath, [import.meta.filename, plan], { ready: /ready (\S+)/ })
  return { ...child, url: new URL(child.ready) }
}

const host = async ({ modules, text, state }: HostedWorker): Promise<void> => {
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
          name: 'worker',
          compatibilityDate: COMPATIBILITY_DATE,
          manifest: {
            mainModule: Object.keys(modules)[0] ?? '',
            modules: Object.fromEntries(
              Object.entries(modules).map(([name, contents]) => [name, { type: 'esm' as const, contents }]),
            ),
          },
          env: Object.fromEntries(
            Object.entries(text).map(([name, value]) => [name, { type: 'text' as const, value }]),
          ),
        },
        // As the product is served.
        dev: { unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] },
      },
    ],
  })
  const url = await runtime.unsafeGetDirectURL('worker')
  process.once('SIGTERM', () => void runtime.dispose().finally(() => process.exit(0)))
  process.stdout.write(`ready ${url.origin}\n`)
}

if (import.meta.main) await host(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as HostedWorker)
