import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { JobEvent } from '../../src/cli/client.ts'
import { findRuntimes } from '../../src/cli/processes.ts'
import { bar, initialView, money, plainLine, slug, step } from '../../src/cli/progress.ts'
import { tagPrefix } from '../../src/cli/state.ts'
import { afterFile, api, freshState, MASTER_KEY, ROOT_KEY, startEmulator, startProduct } from './harness.ts'

const ROOT = join(import.meta.dirname, '../..')

type Run = { code: number | null; stdout: string; stderr: string }

const command = async (name: string, args: string[] = [], env: Record<string, string> = {}): Promise<Run> => {
  const keys = { ROOT_KEY, MASTER_KEY, IDEOGRAM_API_KEY: '', PORT: '0' }
  const child = spawn(process.execPath, [join(ROOT, 'src/cli', `${name}.ts`), ...args], {
    cwd: ROOT,
    env: { ...process.env, ...keys, ...env },
  })
  afterFile(() => child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout, stderr }
}

/** One readable line and nothing that looks like a stack. */
const expectMessage = (run: Run, text: RegExp): void => {
  expect(run.code).toBe(1)
  expect(run.stderr).toMatch(text)
  expect(run.stderr.trim().split('\n')).toHaveLength(1)
  expect(run.stdout).toBe('')
}

describe('npm start', () => {
  test('says which port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => other.once('listening', resolve))
    afterFile(() => other.close())
    const port = String((other.address() as AddressInfo).port)
    expectMessage(await command('start', [], { STATE: freshState(), PORT: port }), new RegExp(`port ${port} is taken`))
  })

  test.each([
    ['MASTER_KEY', 'dG9vIHNob3J0', /MASTER_KEY is malformed: it must be 32 bytes in base64/],
    ['MASTER_KEY', 'not base64 at all', /MASTER_KEY is malformed/],
    ['ROOT_KEY', 'short', /ROOT_KEY is malformed/],
    ['ROOT_KEY', 'a key with spaces that is long enough', /ROOT_KEY is malformed/],
    ['PORT', 'eighty', /PORT must be a whole number/],
    ['PORT', '65536', /PORT must be a whole number/],
  ])('refuses %s=%s in one line', async (name, value, text) => {
    expectMessage(await command('start', [], { STATE: freshState(), [name]: value }), text)
  })

  test('refuses a state folder that another process serves, and leaves that one alone', async () => {
    const first = await startProduct()
    const refused = await command('start', [], { STATE: first.state })
    expectMessage(refused, new RegExp(`in use by process ${first.pid} \\(${first.url}\\)`))
    expect((await api(first.url).call('GET', '/healthz')).status).toBe(200)
  })

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'stops on %s with code 0 and leaves no process and no lock behind',
    async (signal) => {
      const product = await startProduct()
      process.kill(product.pid, signal)
      expect(await product.ended).toBe(0)
      expect(runtimesOf(product)).toEqual([])
      expect(readdirSync(product.state)).not.toContain('owner.json')
      expect(readdirSync(product.state)).not.toContain('tmp')
    },
  )

  test.each(['SIGTERM', 'SIGKILL'] as const)('ends when npm, which started it, gets %s', async (signal) => {
    const state = freshState()
    const env = { ...process.env, STATE: state, PORT: '0', ROOT_KEY, MASTER_KEY }
    const npm = spawn('npm', ['start'], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'ignore'] })
    afterFile(() => npm.kill('SIGKILL'))
    await new Promise<void>((resolve) => npm.stdout.on('data', (chunk) => /^ready /m.test(String(chunk)) && resolve()))
    expect(findRuntimes(tagPrefix(state))).toHaveLength(1)
    npm.kill(signal)
    await expect.poll(() => findRuntimes(tagPrefix(state)), { timeout: 10_000 }).toEqual([])
    await expect.poll(() => readdirSync(state), { timeout: 10_000 }).not.toContain('owner.json')
  })

  test('makes its keys on the first run, for its owner only, and keeps them', async () => {
    const vars = join(freshState(), 'vars')
    const state = freshState()
    const env = { DEV_VARS: vars, ROOT_KEY: '', MASTER_KEY: '' }
    const first = await startProduct({ state, env })
    const made = readFileSync(vars, 'utf8')
    expect(made).toMatch(/^ROOT_KEY="root_[\w-]{43}"$/m)
    expect(made).toMatch(/^MASTER_KEY="[A-Za-z0-9+/]{43}="$/m)
    expect(statSync(vars).mode & 0o777).toBe(0o600)
    const key = /^ROOT_KEY="(.*)"$/m.exec(made)?.[1] ?? ''
    expect((await api(first.url, key).call('POST', '/v1/instances', { id: 'prod' })).status).toBe(201)
    expect(first.output()).not.toContain(key)
    await first.stop()
    const second = await startProduct({ state, env })
    expect(readFileSync(vars, 'utf8')).toBe(made)
    expect((await api(second.url, key).call('GET', '/v1/instances/prod')).status).toBe(200)
  })

  test('lets the environment win over the file', async () => {
    const vars = join(freshState(), 'vars')
    const product = await startProduct({ env: { DEV_VARS: vars } })
    expect(existsSync(vars)).toBe(false)
    expect((await api(product.url).call('POST', '/v1/instances', { id: 'prod' })).status).toBe(201)
  })

  test('keeps the directory, the jobs and the pictures over a restart and over kill -9', async () => {
    const emulator = await startEmulator()
    let product = await startProduct()
    const image = await makePicture(product.url, emulator.url)
    for (const end of ['stop', 'kill9'] as const) {
      await product[end]()
      product = await startProduct({ state: product.state })
      const root = api(product.url)
      expect((await root.call('GET', '/v1/instances/prod')).status).toBe(200)
      const job = await root.ask<Job>('GET', image.job)
      const url = new URL(job.output?.images[0]?.url ?? '')
      const picture = await fetch(new URL(url.pathname + url.search, product.url))
      expect(picture.status).toBe(200)
      expect(sha256(Buffer.from(await picture.arrayBuffer()))).toBe(image.sha256)
    }
  })

  test('a kill -9 of the process alone does not leave its runtime serving', async () => {
    const product = await startProduct()
    const [runtime] = runtimesOf(product)
    expect(runtime).toBeTypeOf('number')
    process.kill(product.pid, 'SIGKILL')
    await product.ended
    await expect.poll(() => runtimesOf(product), { timeout: 5_000 }).toEqual([])
    await expect(fetch(product.url)).rejects.toThrow()
  })

  test('ends a runtime that was left behind before it serves the same state', async () => {
    const product = await startProduct()
    // Both at once: the warden is what would otherwise have ended the runtime.
    for (const pid of [...wardensOf(product.pid), product.pid]) process.kill(pid, 'SIGKILL')
    await product.ended
    expect(runtimesOf(product)).toHaveLength(1)
    const next = await startProduct({ state: product.state })
    expect(next.output()).toContain('ended 1 runtime(s)')
    expect(runtimesOf(product)).toEqual([])
    expect(runtimesOf(next)).toHaveLength(1)
  })
})

describe('npm run demo', () => {
  test('prints one JSON object with --json, writes the picture and leaves no state', async () => {
    const out = freshState()
    const temporary = freshState()
    const run = await command('demo', ['--json', '--out', out, '--aspect', '16:9', 'A Red Kite!'], {
      TMPDIR: temporary,
    })
    expect(run.stderr).toBe('')
    expect(run.code).toBe(0)
    const result = JSON.parse(run.stdout) as {
      job: Job
      pictures: { file: string; sha256: string }[]
      events: JobEvent[]
    }
    expect(result.job.status).toBe('succeeded')
    expect(result.events.map(({ type }) => type)).toEqual(
      expect.arrayContaining(['job.queued', 'job.started', 'job.succeeded']),
    )
    const [picture] = result.pictures
    expect(picture?.file).toBe(join(out, `a-red-kite-${result.job.id}.png`))
    expect(sha256(readFileSync(picture?.file ?? ''))).toBe(picture?.sha256)
    expect(readdirSync(temporary)).toEqual([])
  }, 60_000)

  test('says in plain lines what happens, what it cost and where the picture is', async () => {
    const run = await command('demo', ['--out', freshState()])
    expect(run.code).toBe(0)
    expect(run.stdout).toContain('the Ideogram emulator')
    expect(run.stdout).toMatch(/job\.queued[\s\S]*job\.started[\s\S]*job\.succeeded/)
    expect(run.stdout).toMatch(/Cost: +\$0\.\d\d/)
    expect(run.stdout).toMatch(/Picture: +\S*a-lighthouse-at-dawn-job_\w{26}\.png/)
    expect(run.stdout).not.toContain('\u001b')
  }, 60_000)

  test('ends with 1 and the fault when the job fails', async () => {
    const run = await command('demo', ['--model', 'ideogram/none-such'])
    expect(run.code).toBe(1)
    expect(run.stderr).toMatch(/none-such|no_provider/)
  }, 60_000)

  test.each([['--colour'], ['--count', '0'], ['--count', 'x'], ['--model', 'nameless'], ['--aspect', 'wide']])(
    'refuses %s %s with code 2',
    async (...args) => {
      const run = await command('demo', args)
      expect(run.code).toBe(2)
      expect(run.stderr).toMatch(/--help/)
      expect(run.stdout).toBe('')
    },
  )

  test('explains itself with --help', async () => {
    const run = await command('demo', ['--help'])
    expect(run.code).toBe(0)
    expect(run.stdout).toContain('--json')
  })
})

describe('npm run deploy', () => {
  test('wants to know where', async () => {
    expect((await command('deploy')).code).toBe(2)
    expect((await command('deploy', ['moon'])).code).toBe(2)
  })
})

describe('the progress bar', () => {
  const event = (type: string, data: Record<string, unknown> = {}): JobEvent => ({
    seq: 7,
    type,
    job: 'job_1',
    at: '',
    data,
  })

  test('never moves back, is full at the end and fits the terminal', () => {
    const style = { colour: false, width: 80 }
    let view = initialView
    const shares = []
    for (const one of [
      event('job.queued'),
      event('job.started'),
      event('job.progress', {
        progress: 0.6,
        message: 'a message that is much too long for the line it has to stand in',
      }),
      event('job.retrying'),
      event('job.progress', { progress: 0.2 }),
      event('job.progress', { progress: 7 }),
      event('job.succeeded'),
      event('job.unheard_of'),
    ]) {
      view = step(view, one)
      shares.push(view.fraction)
      expect(bar(view, 1234, style).length).toBeLessThanOrEqual(80)
    }
    expect(shares).toEqual([0, 0, 0.6, 0.6, 0.6, 1, 1, 1])
    expect(view.phase).toBe('succeeded')
    expect(bar(view, 1234, style)).toContain('100 %  1.2 s  succeeded')
  })

  test('tells a tenth at a time where nobody watches', () => {
    expect(plainLine(event('job.progress', { progress: 0.25 }), 1000, 1)).toContain('25 %')
    expect(plainLine(event('job.progress', { progress: 0.25 }), 1000, 2)).toBeNull()
    expect(plainLine(event('job.started'), 1000, 0)).toContain('#7 job.started')
  })

  test('an unknown price is not nothing', () => {
    expect([money(null), money(0), money(0.06), money(0.0042)]).toEqual(['unknown', '$0.0000', '$0.06', '$0.0042'])
  })

  test('names files after the prompt, whatever is in it', () => {
    expect(slug('A Lighthouse, at dawn!')).toBe('a-lighthouse-at-dawn')
    expect(slug('../../etc/passwd')).toBe('etc-passwd')
    expect(slug('灯台')).toBe('picture')
    expect(slug('é'.repeat(100)).length).toBeLessThanOrEqual(48)
  })
})

type Job = { id: string; status: string; output: { images: { url: string; sha256: string }[] } | null }

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const runtimesOf = ({ state, pid }: { state: string; pid: number }): number[] => findRuntimes(tagPrefix(state, pid))

const wardensOf = (pid: number): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const line = readFileSync(`/proc/${name}/cmdline`, 'latin1')
        return line.includes('warden.ts') && line.includes(`.${pid}.`)
      } catch {
        return false
      }
    })
    .map(Number)

const makePicture = async (url: string, emulator: string): Promise<{ job: string; sha256: string }> => {
  const root = api(url)
  const base = '/v1/instances/prod'
  await root.ask('POST', '/v1/instances', { id: 'prod' })
  await root.ask('PUT', `${base}/providers/ideogram`, { enabled: true, base_url: emulator })
  await root.ask('POST', `${base}/providers/ideogram/credentials`, { name: 'one', secret: 'emulator-key' })
  const body = { type: 'image.generate', input: { prompt: 'a lighthouse at dawn' } }
  const job = await root.ask<Job>('POST', `${base}/jobs`, body, { prefer: 'wait=20' })
  expect(job.status).toBe('succeeded')
  return { job: `${base}/jobs/${job.id}`, sha256: job.output?.images[0]?.sha256 ?? '' }
}
