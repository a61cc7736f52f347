import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { type Client, createClient } from '../../src/cli/client.ts'
import { type Server, startServer } from '../../src/cli/server.ts'
import { type IdeogramEmulator, type IdeogramOptions, startIdeogram } from '../emulators/ideogram.ts'

/** What every test from outside needs: the product as a process, a provider that outlives it, folders that go away. */

/** Public on purpose: they open nothing but a test. */
export const ROOT_KEY = 'root-key-of-the-tests-0123456789abcdef'
export const MASTER_KEY = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='

/** What must be in no line that any product of the whole run prints: keys, and the prompts that tests submit. */
const unspoken = new Set([ROOT_KEY, MASTER_KEY])
/** Short texts would be found by chance. */
const LONG_ENOUGH = 12

/** Marks a secret or a prompt: every log of the file is searched for it when the file's tests are over. */
export const neverSay = (text: string): string => {
  if (text.length >= LONG_ENOUGH) unspoken.add(text)
  return text
}

const cleanUps: (() => unknown)[] = []

afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

/** Runs after the last test of the file, whatever became of the tests; the latest first. */
export const afterFile = (cleanUp: () => unknown): void => void cleanUps.push(cleanUp)

/** An empty folder that is removed after the file's last test. */
export const freshState = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-e2e-'))
  afterFile(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/**
 * Starts the product as `npm start` does, on a free port, with the keys above. `stop` is SIGTERM; `kill9` is `kill -9` of the
 * process and its runtime at once. What still runs after the file's last test is stopped.
 */
export const startProduct = async ({
  state = freshState(),
  env = {},
}: {
  state?: string
  env?: Record<string, string>
} = {}): Promise<Server & { state: string }> => {
  const server = await startServer({ STATE: state, ROOT_KEY, MASTER_KEY, ALLOW_PRIVATE_UPSTREAMS: 'true', ...env })
  let running = true
  void server.ended.then(() => {
    running = false
  })
  afterFile(async () => {
    if (running) await server.stop()
    const said = [...unspoken].filter((text) => server.output().includes(text))
    if (said.length > 0)
      throw new Error(
        `the log repeats ${said.length} secrets or prompts, such as one that begins with "${said[0]?.slice(0, 8)}"`,
      )
  })
  return { ...server, state }
}

/** Ideogram's emulator inside the test's own process: it lives on while the product is killed. */
export const startEmulator = async (options: IdeogramOptions = {}): Promise<IdeogramEmulator> => {
  const emulator = await startIdeogram(options)
  afterFile(() => emulator.close())
  return emulator
}

export const api = (url: string, key: string | null = ROOT_KEY): Client => createClient(url, key)
