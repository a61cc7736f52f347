import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { build, WRANGLER, wranglerEnvironment } from './build.ts'
import { CommandError, ROOT, runCommand } from './command.ts'
import { openIdeogram } from './emulator.ts'
import { devVarsPath, ensureKeys } from './settings.ts'

const STATE = join(ROOT, '.state/dev')
const READY_WITHIN_MS = 60_000

/** `npm run dev`: the Worker under `wrangler dev`, reloaded on every change, with the Ideogram emulator beside it. */
const dev = async (): Promise<number> => {
  const port = process.env.PORT || '8787'
  // Wrangler reads the keys from this file and no other.
  const vars = devVarsPath({})
  ensureKeys(vars, {})
  mkdirSync(STATE, { recursive: true })
  const ideogram = await openIdeogram(process.env.IDEOGRAM_API_KEY, { latencyMs: 1_000 })
  try {
    await migrate()
    const args = ['dev', '--env', '', '--ip', '127.0.0.1', '--port', port, '--persist-to', STATE]
    const child = wrangler([...args, '--show-interactive-dev-session=false', ...overrides()], 'inherit')
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
    if (await answers(`http://127.0.0.1:${port}/healthz`, ended)) sayWhatNext(port, vars, ideogram)
    return (await ended) ?? 0
  } finally {
    await ideogram.close()
  }
}

/** The emulator lives on a loopback address; `npm start` keeps the strict default. */
const overrides = (): string[] => {
  const given = ['CORS_ORIGINS', 'PUBLIC_ARTIFACT_BASE_URL', 'PUBLIC_BASE_URL'].filter((name) => process.env[name])
  return ['ALLOW_PRIVATE_UPSTREAMS:true', ...given.map((name) => `${name}:${process.env[name]}`)].flatMap((pair) => [
    '--var',
    pair,
  ])
}

const migrate = async (): Promise<void> => {
  const { d1 } = await build()
  for (const binding of Object.keys(d1)) {
    const args = ['d1', 'migrations', 'apply', binding, '--env', '', '--local', '--persist-to', STATE]
    const child = wrangler(args, 'pipe')
    let output = ''
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk))
    child.stderr?.on('data', (chunk: Buffer) => (output += chunk))
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    if (code !== 0) throw new CommandError(`the migrations failed:\n${output.trim()}`)
  }
}

const wrangler = (args: string[], stdout: 'inherit' | 'pipe') =>
  spawn(process.execPath, [WRANGLER, ...args], {
    cwd: ROOT,
    // CI: no questions, which would wait for an answer that nobody is there to give.
    env: { ...wranglerEnvironment(), CI: '1' },
    stdio: ['ignore', stdout, stdout],
  })

const answers = async (url: string, ended: Promise<unknown>): Promise<boolean> => {
  let over = false
  void ended.then(() => {
    over = true
  })
  const until = Date.now() + READY_WITHIN_MS
  while (!over && Date.now() < until) {
    const response = await fetch(url).catch(() => null)
    await response?.body?.cancel()
    if (response?.ok) return true
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  return false
}

const sayWhatNext = (port: string, vars: string, ideogram: { emulated: boolean; baseUrl: string }): void => {
  const url = `http://localhost:${port}`
  process.stdout.write(`
Switchyard is running on ${url} and reloads when a source changes.
  ROOT_KEY is in ${vars}
  Ideogram: ${ideogram.emulated ? `the emulator at ${ideogram.baseUrl} (any key is let in)` : `${ideogram.baseUrl}, with IDEOGRAM_API_KEY`}

Try:
  export ROOT_KEY=$(sed -n 's/^ROOT_KEY="\\(.*\\)"/\\1/p' ${vars})
  curl ${url}/v1/instances -H "Authorization: Bearer $ROOT_KEY" -H 'Content-Type: application/json' -d '{"id":"prod"}'
  curl -X PUT ${url}/v1/instances/prod/providers/ideogram -H "Authorization: Bearer $ROOT_KEY" \\
    -H 'Content-Type: application/json' -d '{"enabled":true,"base_url":"${ideogram.baseUrl}"}'
`)
}

await runCommand(dev)
process.exit()
