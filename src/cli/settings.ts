import { randomBytes } from 'node:crypto'
import { appendFileSync, chmodSync, linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { CommandError, ROOT } from './command.ts'

/** What `npm start` obeys. Names are those of the environment; the environment wins over `.dev.vars`. */
export type Settings = {
  port: number
  /** Absolute folder of everything that outlives the process. */
  state: string
  rootKey: string
  masterKey: string
  /** Worker variables that were set; those that were not keep the value of wrangler.toml. */
  vars: Partial<Record<WorkerVar, string>>
}

type Environment = Record<string, string | undefined>
type KeyName = 'ROOT_KEY' | 'MASTER_KEY'
type WorkerVar = (typeof WORKER_VARS)[number]

const WORKER_VARS = ['ALLOW_PRIVATE_UPSTREAMS', 'CORS_ORIGINS', 'PUBLIC_ARTIFACT_BASE_URL', 'PUBLIC_BASE_URL'] as const

const MAKE: Record<KeyName, () => string> = {
  ROOT_KEY: () => `root_${randomBytes(32).toString('base64url')}`,
  MASTER_KEY: () => randomBytes(32).toString('base64'),
}

/** `DEV_VARS` moves the file, for tests and for a second set of keys. */
export const devVarsPath = (environment: Environment): string =>
  resolve(environment.DEV_VARS ?? join(ROOT, '.dev.vars'))

/** Reads the settings, and on a first run makes and keeps the keys that nobody gave. */
export const readSettings = (environment: Environment): Settings => {
  const port = readPort(environment.PORT)
  const file = devVarsPath(environment)
  const stored = ensureKeys(file, environment)
  const given: Environment = { ...stored, ...withoutEmpty(environment) }
  const vars: Settings['vars'] = {}
  for (const name of WORKER_VARS) {
    const value = environment[name] ?? stored[name]
    if (value !== undefined) vars[name] = value
  }
  return {
    port,
    state: resolve(ROOT, environment.STATE || '.state'),
    rootKey: checkRootKey(given.ROOT_KEY ?? ''),
    masterKey: checkMasterKey(given.MASTER_KEY ?? ''),
    vars,
  }
}

/**
 * Makes each key that neither the environment nor the file has and writes it to the file, readable by its owner only; a file
 * with keys that others may read is tightened to that. Keys must outlive the process: a credential sealed under a lost master
 * key cannot be opened again.
 */
export const ensureKeys = (file: string, environment: Environment): Environment => {
  const stored = readVars(file)
  const lines = (['ROOT_KEY', 'MASTER_KEY'] as const)
    .filter((name) => !environment[name] && !stored?.[name])
    .map((name) => `${name}="${MAKE[name]()}"\n`)
    .join('')
  if (stored && (lines !== '' || stored.ROOT_KEY || stored.MASTER_KEY)) tighten(file, lines !== '')
  if (lines === '') return stored ?? {}
  if (stored === null) {
    createWhole(
      file,
      `# Made on the first run. Keep it: the credentials in the state are sealed under MASTER_KEY.\n${lines}`,
    )
  } else {
    appendFileSync(file, `${readFileSync(file, 'utf8').endsWith('\n') ? '' : '\n'}${lines}`)
  }
  return readVars(file) ?? {}
}

const readPort = (text: string | undefined): number => {
  const port = Number(text || '8787')
  if (!/^\d*$/.test(text ?? '') || port > 65_535) {
    throw new CommandError(`PORT must be a whole number from 0 (any free port) to 65535, not "${text}"`)
  }
  return port
}

const checkRootKey = (key: string): string => {
  if (/^[\x21-\x7e]{16,256}$/.test(key)) return key
  throw new CommandError('ROOT_KEY is malformed: it must be 16 to 256 printable characters without spaces')
}

const checkMasterKey = (key: string): string => {
  const isKey = (part: string) => {
    const bytes = Buffer.from(part, 'base64')
    return bytes.length === 32 && bytes.toString('base64') === part
  }
  if (key.split(',').every((part) => isKey(part.trim()))) return key
  throw new CommandError(
    'MASTER_KEY is malformed: it must be 32 bytes in base64, or several separated by commas (make one: openssl rand -base64 32)',
  )
}

const withoutEmpty = (environment: Environment): Environment =>
  Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))

const readVars = (file: string): Environment | null => {
  try {
    return parseEnv(readFileSync(file, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new CommandError(`cannot read ${file}: ${(error as Error).message}`)
  }
}

/** Before keys are written to it. A file of another owner's, or on a disk that is read alone, is theirs to tighten. */
const tighten = (file: string, isWritten: boolean): void => {
  const { mode } = statSync(file)
  if ((mode & OTHERS) === 0) return
  try {
    chmodSync(file, mode & 0o700)
  } catch (error) {
    if (isWritten) throw new CommandError(`cannot keep others from reading ${file}: ${(error as Error).message}`)
  }
}

/** The bits of a mode that let in anybody but the owner. */
const OTHERS = 0o077

/** A link appears with its whole content or not at all, so of two first runs at once one wins and both read the same. */
const createWhole = (file: string, content: string): void => {
  const draft = `${file}.${process.pid}`
  try {
    writeFileSync(draft, content, { mode: 0o600, flag: 'wx' })
    linkSync(draft, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new CommandError(`cannot write ${file}: ${(error as Error).message}`)
    }
  } finally {
    rmSync(draft, { force: true })
  }
}
