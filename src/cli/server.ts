import { type ChildProcess, spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { CommandError, ROOT } from './command.ts'
import { endRuntimes } from './processes.ts'
import { tagPrefix } from './state.ts'

/** The product as a child process, started the way `npm start` starts it. */
export type Server = {
  url: string
  pid: number
  /** Everything it printed so far, stdout and stderr. */
  output: () => string
  /** SIGTERM, then waits for the end. The exit code. */
  stop: () => Promise<number | null>
  /** Process and runtime at once, as a power cut would. Resolves when both are gone. */
  kill9: () => Promise<void>
  ended: Promise<number | null>
}

const READY_WITHIN_MS = 30_000

/** Rejects with what the process printed when it ends, or stays silent, before it is ready. */
export const startServer = async (environment: Record<string, string>): Promise<Server> => {
  // A process group of its own: a Ctrl-C reaches only the command, which then stops the product in order.
  const child = spawn(process.execPath, [join(ROOT, 'src/cli/start.ts')], {
    cwd: ROOT,
    env: { ...process.env, PORT: '0', STOP_WITH_PARENT: 'true', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  const ended = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  const url = await Promise.race([
    readyUrl(child),
    ended.then(() => null),
    new Promise<null>((resolve) => setTimeout(resolve, READY_WITHIN_MS, null).unref()),
  ])
  if (url === null || child.pid === undefined) {
    child.kill('SIGKILL')
    throw new CommandError(output.trim() || 'the server did not start')
  }
  const pid = child.pid
  return {
    url,
    pid,
    ended,
    output: () => output,
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
    kill9: async () => {
      process.kill(-pid, 'SIGKILL')
      await ended
      await endRuntimes(tagPrefix(resolve(ROOT, environment.STATE || '.state'), pid))
    },
  }
}

const readyUrl = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => {
    let seen = ''
    const read = (chunk: string) => {
      seen += chunk
      const ready = /^ready (http:\S+)$/m.exec(seen)
      if (!ready?.[1]) return
      child.stdout?.off('data', read)
      resolve(ready[1])
    }
    child.stdout?.on('data', read)
  })
