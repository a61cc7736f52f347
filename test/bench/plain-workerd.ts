import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../src/cli/command.ts'
import { type Child, startChild } from './processes.ts'

/** workerd without miniflare: no entry worker in front, no simulators, logs to a file. */

export type PlainWorker = {
  /** By file name; the first is the entry. Bytes are WebAssembly. */
  modules: Record<string, string | Uint8Array>
  compatibilityDate: string
  compatibilityFlags?: string[]
  /** Binding → class. */
  actors: Record<string, string>
  text: Record<string, string>
  json: Record<string, unknown>
  /** Folder of the databases. */
  state: string
  /** Port of the inspector; none by default. */
  inspectorPort?: number | undefined
}

export const WORKERD = join(ROOT, 'node_modules/.bin/workerd')

export const startPlain = async (worker: PlainWorker): Promise<Child & { url: URL }> => {
  const actors = join(worker.state, 'do')
  mkdirSync(actors, { recursive: true })
  for (const [name, source] of Object.entries(worker.modules)) writeFileSync(join(worker.state, name), source)
  const config = join(worker.state, 'config.capnp')
  writeFileSync(config, configOf(worker, actors))
  const inspector = worker.inspectorPort === undefined ? [] : [`--inspector-addr=127.0.0.1:${worker.inspectorPort}`]
  const child = await startChild(WORKERD, ['serve', config, '--control-fd=3', ...inspector], {
    ready: /"socket":"http","port":(\d+)/,
    log: join(worker.state, 'workerd.log'),
  })
  return { ...child, url: new URL(`http://127.0.0.1:${child.ready}`) }
}

const configOf = (worker: PlainWorker, actors: string): string => {
  const modules = Object.entries(worker.modules).map(
    ([name, source]) =>
      `(name = ${quoted(name)}, ${typeof source === 'string' ? 'esModule' : 'wasm'} = embed ${quoted(name)})`,
  )
  const namespaces = Object.values(worker.actors).map(
    (name) => `(className = ${quoted(name)}, uniqueKey = ${quoted(name)}, enableSql = true)`,
  )
  const bindings = [
    ...Object.entries(worker.actors).map(([name, actor]) => binding(name, `durableObjectNamespace = ${quoted(actor)}`)),
    ...Object.entries(worker.text).map(([name, value]) => binding(name, `text = ${quoted(value)}`)),
    ...Object.entries(worker.json).map(([name, value]) => binding(name, `json = ${quoted(JSON.stringify(value))}`)),
  ]
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "disk", disk = (path = ${quoted(actors)}, writable = true)),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [${modules.join(', ')}],
  compatibilityDate = ${quoted(worker.compatibilityDate)},
  compatibilityFlags = [${(worker.compatibilityFlags ?? []).map(quoted).join(', ')}],
  durableObjectNamespaces = [${namespaces.join(', ')}],
  durableObjectStorage = (localDisk = "disk"),
  globalOutbound = "internet",
  bindings = [${bindings.join(', ')}],
);
`
}

const binding = (name: string, value: string): string => `(name = ${quoted(name)}, ${value})`

/** Cap'n Proto text and JSON agree on how strings are quoted. */
const quoted = (text: string): string => JSON.stringify(text)
