import { execFileSync } from 'node:child_process'
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { ROOT } from '../../src/cli/command.ts'
import { WORKERD } from './plain-workerd.ts'
import { median, number } from './statistics.ts'

/** Under which conditions the figures were made: without them they say nothing. */
export const conditions = (folder: string): string[] => {
  const [cpu] = cpus()
  const version = (name: string) =>
    (JSON.parse(readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8')) as { version: string }).version
  const workerd = execFileSync(WORKERD, ['--version'], { encoding: 'utf8' }).trim()
  return [
    `${cpus().length} x ${cpu?.model ?? 'unknown CPU'}, ${process.platform} ${release()}, load ${number(loadavg()[0] ?? 0, 2)} at the start`,
    `Node ${process.versions.node}, ${workerd}, miniflare ${version('miniflare')}, bullmq ${version('bullmq')}, pg-boss ${version('pg-boss')}, @portkey-ai/gateway ${version('@portkey-ai/gateway')}`,
    `state in a temporary folder on ${fileSystemOf(folder)}; an fsync of 4 KiB takes ${number(fsyncUs(folder))} us there`,
    'Switchyard and the bare limit: SQLite of Durable Objects, an answer waits for the fsync of its commit',
    'plain workerd has no simulators: D1 and R2 are stood in for in memory (workers/stand-ins.js), logs go to a file',
  ]
}

const fileSystemOf = (folder: string): string => {
  try {
    const mounts = readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([, place = '']) => `${folder}/`.startsWith(place === '/' ? '/' : `${place}/`))
      .sort(([, a = ''], [, b = '']) => b.length - a.length)
    return mounts[0]?.[2] ?? 'an unknown file system'
  } catch {
    return 'an unknown file system'
  }
}

const fsyncUs = (folder: string): number => {
  const file = openSync(join(folder, 'fsync'), 'w')
  const block = Buffer.alloc(4096)
  const times = Array.from({ length: 50 }, () => {
    const startedAt = performance.now()
    writeSync(file, block)
    fsyncSync(file)
    return (performance.now() - startedAt) * 1000
  })
  closeSync(file)
  return median(times)
}

/** Share of the machine's time that others used since `since`, from /proc/stat; null where there is none. */
export const startNoise = (): (() => string | null) => {
  const before = busyTicks()
  const ownBefore = ownSeconds()
  return () => {
    const after = busyTicks()
    if (!before || !after) return null
    const own = (ownSeconds() - ownBefore) * 100
    const share = (100 * Math.max(0, after.busy - before.busy - own)) / Math.max(1, after.all - before.all)
    const steal = (100 * (after.steal - before.steal)) / Math.max(1, after.all - before.all)
    return `others on this machine used ${number(share)}% of it during the run, and ${number(steal)}% was stolen by its host`
  }
}

const busyTicks = (): { busy: number; all: number; steal: number } | null => {
  try {
    const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n')
    const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number)
    const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0] = ticks
    const busy = user + nice + system + irq + soft
    return { busy, all: busy + idle + wait + steal, steal }
  } catch {
    return null
  }
}

/** This process and the children that have ended: read when every server has been stopped. */
const ownSeconds = (): number => {
  const fields = readFileSync('/proc/self/stat', 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ')
  return [11, 12, 13, 14].reduce((sum, i) => sum + Number(fields[i] ?? 0), 0) / 100
}
