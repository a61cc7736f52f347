import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * The runtime (workerd) does not end with the process that started it: measured on 2026-11-21, it keeps serving its port
 * and firing alarms after a `kill -9` of its parent. Each runtime we start therefore carries a tag in its environment, and
 * only a process that bears the tag and is a runtime is ever ended: neither a reused pid nor a foreign one can be hit.
 */
export const RUNTIME_TAG = 'SWITCHYARD_RUNTIME'

const GONE_WITHIN_MS = 10_000

/** Pids of runtimes whose tag begins with `prefix`. */
export const findRuntimes = (prefix: string): number[] => {
  const wanted = `${RUNTIME_TAG}=${prefix}`
  return existsSync('/proc/self/environ') ? findInProc(wanted) : findWithPs(wanted)
}

/** Ends them at once (their writes are committed or never acknowledged) and waits until they are gone. */
export const endRuntimes = async (prefix: string): Promise<number> => {
  const pids = findRuntimes(prefix)
  for (const pid of pids) killIfThere(pid)
  const until = Date.now() + GONE_WITHIN_MS
  for (const pid of pids) {
    while (!isGone(pid)) {
      if (Date.now() > until) throw new Error(`the runtime with pid ${pid} does not end`)
      await sleep(5)
    }
  }
  return pids.length
}

/** A zombie with one task left has closed its files and its port; who reaps it, and when, is not our concern. */
const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    const state = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '')[0]
    return state === 'Z' && readdirSync(`/proc/${pid}/task`).length <= 1
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' || !isAlive(pid)
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const killIfThere = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

const findInProc = (wanted: string): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0', 1)[0]?.includes('workerd') === true &&
          readFileSync(`/proc/${pid}/environ`, 'latin1')
            .split('\0')
            .some((variable) => variable.startsWith(wanted))
        )
      } catch {
        // It ended while we looked, or belongs to someone else.
        return false
      }
    })
    .map(Number)

/** Where there is no /proc (macOS): `-E` appends the environment to the command of one's own processes. */
const findWithPs = (wanted: string): number[] =>
  execFileSync('ps', ['-axEww', '-o', 'pid=,command='], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
    .split('\n')
    .filter((line) => line.includes('workerd') && line.includes(` ${wanted}`))
    .map((line) => Number.parseInt(line, 10))
