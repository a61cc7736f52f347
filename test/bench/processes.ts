import { type ChildProcess, spawn } from 'node:child_process'
import { openSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { Readable } from 'node:stream'

/** What processes cost, from /proc (Linux; elsewhere the figures are missing), and children that say when they are ready. */

/** USER_HZ: 100 on every Linux that Node supports. */
const TICKS_PER_SECOND = 100

type Stat = { pid: number; parent: number; name: string; cpuSeconds: number; residentBytes: number }

const readStat = (pid: number): Stat | null => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const name = text.slice(text.indexOf('(') + 1, text.lastIndexOf(')'))
    // Behind the name, from field 3 (state) on: proc(5).
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const [parent = 0, userTicks = 0, systemTicks = 0, pages = 0] = [1, 11, 12, 21].map((i) => Number(fields[i]))
    return { pid, parent, name, cpuSeconds: (userTicks + systemTicks) / TICKS_PER_SECOND, residentBytes: pages * 4096 }
  } catch {
    return null
  }
}

const everyPid = (): number[] => {
  try {
    return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []))
  } catch {
    return []
  }
}

/** The processes and all that descend from them. */
const familyOf = (roots: readonly number[]): Stat[] => {
  const all = everyPid().flatMap((pid) => readStat(pid) ?? [])
  const inside = new Set(roots)
  for (let before = -1; before !== inside.size; ) {
    before = inside.size
    for (const one of all) if (inside.has(one.parent)) inside.add(one.pid)
  }
  return all.filter((one) => inside.has(one.pid))
}

/** User and system time so far, in seconds, of the processes and what descends from them. */
export const cpuSeconds = (roots: readonly number[]): number =>
  familyOf(roots).reduce((sum, one) => sum + one.cpuSeconds, 0)

/** Resident memory of the runtimes among them. */
export const runtimeBytes = (roots: readonly number[]): number =>
  familyOf(roots).reduce((sum, one) => sum + (one.name.startsWith('workerd') ? one.residentBytes : 0), 0)

/** Resident memory of the processes and what descends from them. */
export const residentBytes = (roots: readonly number[]): number =>
  familyOf(roots).reduce((sum, one) => sum + one.residentBytes, 0)

export type Child = { pid: number; ready: string; stop: () => Promise<void> }

type ChildOptions = {
  env?: Record<string, string>
  /** What it prints on stdout, stderr or descriptor 3 once it is ready; the first group is returned as `ready`. */
  ready: RegExp
  user?: { uid: number; gid: number } | undefined
  /** File for stdout and stderr; otherwise they are read and dropped. */
  log?: string
  /** SIGTERM by default. */
  stopSignal?: NodeJS.Signals
}

const READY_WITHIN_MS = 60_000
const GONE_WITHIN_MS = 10_000

/** Starts a process and waits for its line. Rejects with what it printed when it ends or stays silent. */
export const startChild = async (command: string, args: string[], options: ChildOptions): Promise<Child> => {
  const output = options.log === undefined ? 'pipe' : openSync(options.log, 'a')
  const child = spawn(command, args, {
    stdio: ['ignore', output, output, 'pipe'],
    env: { ...process.env, ...options.env },
    ...options.user,
  })
  const ready = await firstMatch(child, options.ready)
  // What it prints later is read and dropped: a full pipe would stop it.
  for (const stream of streamsOf(child)) stream.resume()
  return { pid: child.pid ?? 0, ready, stop: () => stop(child, options.stopSignal ?? 'SIGTERM') }
}

const streamsOf = (child: ChildProcess): Readable[] =>
  child.stdio.slice(1).flatMap((stream) => (stream && 'resume' in stream ? [stream] : []))

const firstMatch = (child: ChildProcess, pattern: RegExp): Promise<string> =>
  new Promise((resolve, reject) => {
    let seen = ''
    const fail = (why: string) => {
      child.kill('SIGKILL')
      reject(new Error(`${child.spawnfile} ${why}: ${seen.trim().slice(-2_000)}`))
    }
    const timer = setTimeout(fail, READY_WITHIN_MS, 'is not ready')
    const read = (chunk: Buffer) => {
      seen += chunk
      const found = pattern.exec(seen)
      if (!found) return
      clearTimeout(timer)
      for (const stream of streamsOf(child)) stream.off('data', read)
      child.off('exit', ended)
      resolve(found[1] ?? found[0])
    }
    const ended = () => fail('ended')
    for (const stream of streamsOf(child)) stream.on('data', read)
    child.once('exit', ended).once('error', (error) => fail(error.message))
  })

const stop = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), GONE_WITHIN_MS)
  await ended
  clearTimeout(timer)
}

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
