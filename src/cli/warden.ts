import { spawn } from 'node:child_process'
import { endRuntimes } from './processes.ts'

/**
 * A small process that outlives its owner by a moment: when the owner is gone, however it went (the pipe between them
 * closes), it ends the owner's runtime. In a process group of its own, so that a `kill -9` of the whole group spares it.
 */
export type Warden = { release: () => Promise<void> }

export const startWarden = (tag: string): Warden => {
  const child = spawn(process.execPath, [import.meta.filename, tag], {
    detached: true,
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()))
  child.unref()
  return {
    release: async () => {
      child.ref()
      child.stdin.end()
      await ended
    },
  }
}

if (import.meta.main) {
  const tag = process.argv[2]
  if (!tag) throw new Error('the warden needs the tag of the runtime it watches')
  // A Ctrl-C that reaches it must not end it before its owner.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  process.stdin.resume()
  process.stdin.once('close', () => void endRuntimes(tag))
}
