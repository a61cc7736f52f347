import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { CommandError, ROOT, runCommand } from './command.ts'

/** What a server needs to know of wrangler.toml and migrations/, so that serving does not load wrangler (a second). */
export type Bundle = {
  name: string
  script: string
  /** Compiled modules that the script imports, by file name. */
  wasm: Record<string, Uint8Array<ArrayBuffer>>
  compatibilityDate: string
  compatibilityFlags: string[]
  durableObjects: Record<string, string>
  d1: Record<string, string>
  r2: Record<string, string>
  rateLimits: Record<string, { namespace: string; limit: number; period: 10 | 60 }>
  vars: Record<string, string>
  migrations: { name: string; statements: string[] }[]
}

const DIST = join(ROOT, 'dist')
const DESCRIPTION = 'bundle.json'
/** Older bundles stay for processes that are just about to read them. */
const KEEP_MS = 60 * 60 * 1000

/**
 * The bundle of the sources as they are: `dist/<hash of the sources>/`. Made in a folder of its own and renamed when it is
 * whole, so two builds at once never see each other's halves; built already, it is only read.
 */
export const build = async (): Promise<Bundle> => {
  const folder = join(DIST, hashOfSources())
  if (!existsSync(folder)) await make(folder)
  const { script, ...description } = JSON.parse(readFileSync(join(folder, DESCRIPTION), 'utf8')) as Described
  const modules = readdirSync(folder).filter((name) => name.endsWith('.wasm'))
  const wasm = Object.fromEntries(modules.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]))
  return { ...description, script: readFileSync(join(folder, script), 'utf8'), wasm }
}

/** As it lies on disk: the script's file name, and the modules beside it. */
type Described = Omit<Bundle, 'wasm'>

const hashOfSources = (): string => {
  const files = [
    ...globSync('src/**/*', { cwd: ROOT, exclude: ['src/cli/**'] }),
    ...globSync('migrations/**/*', { cwd: ROOT }),
    'wrangler.toml',
    'package-lock.json',
    // This file decides what a bundle holds.
    'src/cli/build.ts',
  ]
  const hash = createHash('sha256')
  for (const file of files.sort()) {
    const path = join(ROOT, file)
    if (statSync(path).isFile()) hash.update(`${file}\0`).update(readFileSync(path)).update('\0')
  }
  return hash.digest('hex').slice(0, 16)
}

const make = async (folder: string): Promise<void> => {
  mkdirSync(DIST, { recursive: true })
  removeOldBundles()
  const draft = join(DIST, `.draft-${process.pid}-${randomBytes(4).toString('hex')}`)
  try {
    await runWrangler(['deploy', '--dry-run', '--env', '', '--outdir', draft])
    writeFileSync(join(draft, DESCRIPTION), JSON.stringify(await describe(), null, 2))
    renameSync(draft, folder)
  } catch (error) {
    const lost = ['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')
    if (!lost) throw error
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

/** Wrangler without its habits: no metrics, no check for a newer version, no sample of `request.cf`, no log files. */
export const wranglerEnvironment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_HIDE_BANNER: 'true',
  WRANGLER_WRITE_LOGS: 'false',
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
})

export const WRANGLER = join(ROOT, 'node_modules/wrangler/bin/wrangler.js')

const runWrangler = async (args: string[]): Promise<void> => {
  const child = spawn(process.execPath, [WRANGLER, ...args], {
    cwd: ROOT,
    env: wranglerEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk))
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code !== 0) throw new CommandError(`the build failed:\n${output.trim()}`)
}

/** The part of wrangler's configuration that is read here; its own type is not published. */
type Configuration = {
  name?: string
  main?: string
  compatibility_date?: string
  compatibility_flags: string[]
  durable_objects: { bindings: { name: string; class_name: string }[] }
  d1_databases: { binding: string; database_id?: string }[]
  r2_buckets: { binding: string; bucket_name?: string }[]
  ratelimits: { name: string; namespace_id: string; simple: { limit: number; period: 10 | 60 } }[]
  vars: Record<string, unknown>
}

const describe = async (): Promise<Described> => {
  const { unstable_readConfig: readConfig, unstable_splitSqlQuery: splitSql } = await import('wrangler')
  const config: Configuration = readConfig({ config: join(ROOT, 'wrangler.toml'), env: '' }, { hideWarnings: true })
  const migrations = join(ROOT, 'migrations')
  return {
    name: config.name ?? 'switchyard',
    script: `${(config.main ?? '').replace(/^.*\//, '').replace(/\.ts$/, '')}.js`,
    compatibilityDate: config.compatibility_date ?? '',
    compatibilityFlags: config.compatibility_flags,
    durableObjects: Object.fromEntries(config.durable_objects.bindings.map((one) => [one.name, one.class_name])),
    d1: Object.fromEntries(config.d1_databases.map((one) => [one.binding, one.database_id ?? one.binding])),
    r2: Object.fromEntries(config.r2_buckets.map((one) => [one.binding, one.bucket_name ?? one.binding])),
    rateLimits: Object.fromEntries(
      config.ratelimits.map((one) => [one.name, { namespace: one.namespace_id, ...one.simple }]),
    ),
    vars: Object.fromEntries(Object.entries(config.vars).map(([name, value]) => [name, String(value)])),
    migrations: readdirSync(migrations)
      .filter((name) => name.endsWith('.sql'))
      .sort()
      .map((name) => ({ name, statements: splitSql(readFileSync(join(migrations, name), 'utf8')) })),
  }
}

const removeOldBundles = (): void => {
  for (const name of readdirSync(DIST)) {
    const path = join(DIST, name)
    if (Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) > KEEP_MS) {
      rmSync(path, { recursive: true, force: true })
    }
  }
}

if (import.meta.main) {
  await runCommand(async () => {
    const bundle = await build()
    process.stdout.write(`built dist/${hashOfSources()} (${Math.ceil(bundle.script.length / 1024)} KiB)\n`)
    return 0
  })
}
