import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { CommandError } from './command.ts'
import { endRuntimes } from './processes.ts'
import { startWarden } from './warden.ts'

/** The right to serve one state folder. Two runtimes on one folder would run every job twice. */
export type StateHold = {
  folder: string
  /** Tag that the runtime on this state must carry in its environment. */
  tag: string
  /** Runtimes that an earlier owner left behind and that were ended. */
  orphansEnded: number
  /** Notes where it serves, for the message that the next one gets. */
  announce: (url: string) => void
  release: () => Promise<void>
}

/** Where a runtime's tag begins: which state it serves and, with a pid, for which process. */
export const tagPrefix = (folder: string, pid?: number): string => {
  const place = createHash('sha256').update(realpathSync(folder)).digest('hex').slice(0, 16)
  return pid === undefined ? `${place}.` : `${place}.${pid}.`
}

/** How long to wait for a predecessor that is just ending. */
const LOCK_WAIT_MS = 1_000

/**
 * Takes the folder, or fails with a message when a living process holds it. The lock is one of the operating system, taken
 * through SQLite: it ends with the process, so a crash leaves none behind and there is no stale lock to judge.
 */
export const takeState = async (folder: string): Promise<StateHold> => {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new CommandError(`cannot use the state folder ${folder}: ${(error as Error).message}`)
  }
  const real = realpathSync(folder)
  const lock = new DatabaseSync(join(real, 'lock'), { timeout: LOCK_WAIT_MS })
  try {
    // The journal is only for writes, and the lock never writes: none is left behind by a crash.
    lock.exec('PRAGMA journal_mode = MEMORY')
    lock.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if ((error as { errcode?: number }).errcode !== 5) throw error
    throw new CommandError(`the state folder ${folder} is in use by ${readOwner(real)}; stop that or set another STATE`)
  }
  const orphansEnded = await endRuntimes(tagPrefix(real))
  const tag = `${tagPrefix(real, process.pid)}${randomBytes(6).toString('hex')}`
  clearTemporary(real)
  const announce = (url: string) => writeFileSync(join(real, 'owner.json'), JSON.stringify({ pid: process.pid, url }))
  announce('')
  const warden = startWarden(tag)
  const release = async () => {
    await warden.release()
    for (const name of ['owner.json', 'tmp']) rmSync(join(real, name), { recursive: true, force: true })
    lock.close()
  }
  return { folder: real, tag, orphansEnded, announce, release }
}

const readOwner = (folder: string): string => {
  try {
    const owner = JSON.parse(readFileSync(join(folder, 'owner.json'), 'utf8')) as { pid: number; url: string }
    return `process ${owner.pid}${owner.url ? ` (${owner.url})` : ''}`
  } catch {
    return 'another process'
  }
}

/** The runtime's temporary files live inside the state, so that those of a killed process are found and removed. */
const clearTemporary = (folder: string): void => {
  const temporary = join(folder, 'tmp')
  rmSync(temporary, { recursive: true, force: true })
  mkdirSync(temporary, { mode: 0o700 })
  process.env.TMPDIR = temporary
}
