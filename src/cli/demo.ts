import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { build } from './build.ts'
import { type Client, createClient, type JobEvent } from './client.ts'
import { CommandError, ROOT, runCommand, usageError } from './command.ts'
import { openIdeogram } from './emulator.ts'
import { bar, initialView, money, paint, plainLine, seconds, slug, step } from './progress.ts'
import { type Server, startServer } from './server.ts'
import { readSettings } from './settings.ts'

const HELP = `Runs one image job from prompt to picture against a server of its own, and shows it live.

  npm run demo -- ["a prompt"] [options]

  --model <provider/model>  which model draws (default: ideogram/ideogram-4)
  --aspect <w:h>            such as 16:9 (default: 1:1)
  --count <n>               pictures, 1 to 8 (default: 1)
  --out <folder>            where pictures are written (default: out)
  --json                    one JSON object on stdout and nothing else
  --help                    this

Ideogram itself is used when IDEOGRAM_API_KEY is set (and costs money), otherwise the emulator beside it.
Exit code: 0 with a picture, 1 when the job failed, 2 for a wrong flag.
`

const EMULATOR_LATENCY_MS = 3_000
const JOB_WITHIN_MS = 180_000
const INSTANCE = 'demo'
const FINAL = ['job.succeeded', 'job.failed', 'job.canceled']

type Options = { prompt: string; model: string; aspect: string; count: number; out: string; json: boolean }
type Job = {
  id: string
  status: string
  model: string | null
  output: {
    images: { url: string; content_type: string; sha256: string; width: number; height: number; bytes: number }[]
  } | null
  error: { code: string; message: string } | null
  cost_usd: number | null
  timing: { queued_ms: number | null; provider_ms: number | null; store_ms: number | null; total_ms: number | null }
}
type Picture = { file: string; sha256: string; width: number; height: number; bytes: number }

const demo = async (): Promise<number> => {
  const options = readOptions(process.argv.slice(2))
  if (options === null) {
    process.stdout.write(HELP)
    return 0
  }
  const say = options.json ? () => {} : (line: string) => void process.stdout.write(`${line}\n`)
  const cleanUp: (() => unknown)[] = []
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => reject(new CommandError('interrupted', signal === 'SIGINT' ? 130 : 143)))
    }
  })
  try {
    return await Promise.race([run(options, say, cleanUp), interrupted])
  } finally {
    for (const undo of cleanUp.reverse()) await undo()
  }
}

const run = async (options: Options, say: (line: string) => void, cleanUp: (() => unknown)[]): Promise<number> => {
  await build()
  const ideogram = await openIdeogram(process.env.IDEOGRAM_API_KEY, { latencyMs: EMULATOR_LATENCY_MS })
  cleanUp.push(ideogram.close)
  say(
    ideogram.emulated
      ? `Provider: the Ideogram emulator at ${ideogram.baseUrl} (set IDEOGRAM_API_KEY for the real one)`
      : `Provider: Ideogram itself at ${ideogram.baseUrl}; this costs money`,
  )
  const server = await startOwnServer(ideogram.emulated, cleanUp)
  say(`Server:   ${server.url}, started for this run\n`)
  const root = createClient(server.url, readSettings(process.env).rootKey)
  const user = await provision(root, ideogram)
  const events: JobEvent[] = []
  const job = await watch(user, options, events, say)
  const pictures = job.status === 'succeeded' ? await download(server.url, job, options) : []
  if (options.json) {
    const provider = { name: 'ideogram', emulated: ideogram.emulated }
    process.stdout.write(`${JSON.stringify({ provider, job, pictures, events })}\n`)
  } else report(job, pictures, say)
  return job.status === 'succeeded' ? 0 : 1
}

const readOptions = (args: string[]): Options | null => {
  const { values, positionals } = parse(args)
  if (values.help) return null
  const count = Number(values.count)
  if (!Number.isInteger(count) || count < 1 || count > 8) throw usageError('--count must be a whole number from 1 to 8')
  if (!/^[a-z0-9-]+\/\S+$/.test(values.model)) throw usageError('--model must be written provider/model')
  if (!/^\d+:\d+$/.test(values.aspect)) throw usageError('--aspect must be written such as 16:9')
  const prompt = positionals.join(' ').trim() || 'a lighthouse at dawn'
  return { prompt, model: values.model, aspect: values.aspect, count, out: values.out, json: values.json }
}

const parse = (args: string[]) => {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        model: { type: 'string', default: 'ideogram/ideogram-4' },
        aspect: { type: 'string', default: '1:1' },
        count: { type: 'string', default: '1' },
        out: { type: 'string', default: join(ROOT, 'out') },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    throw usageError((error as Error).message.split('. ')[0] ?? 'wrong arguments')
  }
}

/** A state of its own, thrown away afterwards: the demo neither sees nor leaves anything in `.state`. */
const startOwnServer = async (emulated: boolean, cleanUp: (() => unknown)[]): Promise<Server> => {
  const state = mkdtempSync(join(tmpdir(), 'switchyard-demo-'))
  cleanUp.push(() => rmSync(state, { recursive: true, force: true }))
  const server = await startServer({ STATE: state, ALLOW_PRIVATE_UPSTREAMS: String(emulated) })
  cleanUp.push(server.stop)
  return server
}

const provision = async (root: Client, ideogram: { baseUrl: string; apiKey: string }): Promise<Client> => {
  const base = `/v1/instances/${INSTANCE}`
  await root.ask('POST', '/v1/instances', { id: INSTANCE })
  await root.ask('PUT', `${base}/providers/ideogram`, { enabled: true, base_url: ideogram.baseUrl })
  await root.ask('POST', `${base}/providers/ideogram/credentials`, { name: 'demo', secret: ideogram.apiKey })
  const { key } = await root.ask<{ key: string }>('POST', `${base}/keys`, { name: 'demo', role: 'user' })
  return root.withKey(key)
}

/** Subscribes first and posts then, so that no event can be missed. */
const watch = async (user: Client, options: Options, events: JobEvent[], say: (line: string) => void): Promise<Job> => {
  const base = `/v1/instances/${INSTANCE}`
  const subscription = await user.subscribe(`${base}/events`)
  const screen = options.json ? { show: () => {}, end: () => {} } : drawEvents(say)
  subscription.onEvent((event) => {
    events.push(event)
    screen.show(event)
  })
  try {
    const posted = await user.ask<Job>('POST', `${base}/jobs`, {
      type: 'image.generate',
      input: { prompt: options.prompt, aspect_ratio: options.aspect, count: options.count },
      models: [options.model],
    })
    await subscription.until((event) => event.job === posted.id && FINAL.includes(event.type), JOB_WITHIN_MS)
    return await user.ask<Job>('GET', `${base}/jobs/${posted.id}`)
  } finally {
    screen.end()
    await Promise.race([subscription.close(), sleep(1_000)])
  }
}

/** A moving bar on a terminal; a line an event where nobody is watching. */
const drawEvents = (say: (line: string) => void) => {
  const begun = performance.now()
  const elapsed = () => performance.now() - begun
  if (!process.stdout.isTTY) {
    let tenth = 0
    const show = (event: JobEvent) => {
      const line = plainLine(event, elapsed(), tenth)
      if (event.type === 'job.progress') tenth = Math.max(tenth, Math.floor(Number(event.data.progress ?? 0) * 10))
      if (line !== null) say(line)
    }
    return { show, end: () => {} }
  }
  const style = { colour: coloured(), width: process.stdout.columns || 80 }
  let view = initialView
  const draw = () => void process.stdout.write(`\r\u001b[2K${bar(view, elapsed(), style)}`)
  const timer = setInterval(draw, 100)
  const show = (event: JobEvent) => {
    view = step(view, event)
    draw()
  }
  const end = () => {
    clearInterval(timer)
    process.stdout.write('\n')
  }
  return { show, end }
}

const coloured = (): boolean => Boolean(process.stdout.isTTY) && !process.env.NO_COLOR

const download = async (url: string, job: Job, options: Options): Promise<Picture[]> => {
  mkdirSync(options.out, { recursive: true })
  const images = job.output?.images ?? []
  return await Promise.all(
    images.map(async (image, index) => {
      const response = await fetch(new URL(image.url, url))
      if (!response.ok) throw new CommandError(`the picture could not be fetched: ${response.status}`)
      const bytes = Buffer.from(await response.arrayBuffer())
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      if (sha256 !== image.sha256) throw new CommandError(`the picture is not what was stored: sha256 ${sha256}`)
      const number = images.length > 1 ? `-${index + 1}` : ''
      const ending = image.content_type.replace('image/', '').replace('jpeg', 'jpg')
      const file = join(options.out, `${slug(options.prompt)}-${job.id}${number}.${ending}`)
      writeFileSync(file, bytes)
      return { file, sha256, width: image.width, height: image.height, bytes: bytes.length }
    }),
  )
}

const report = (job: Job, pictures: Picture[], say: (line: string) => void): void => {
  const style = { colour: coloured() }
  if (job.status !== 'succeeded') {
    const reason = job.error ? `${job.error.code}: ${job.error.message}` : 'no reason given'
    process.stderr.write(`${paint(style, '31', `\nThe job ${job.status}`)} (${reason})\n`)
    return
  }
  const part = (ms: number | null) => (ms === null ? 'unknown' : seconds(ms))
  const { queued_ms, provider_ms, store_ms, total_ms } = job.timing
  say(`\n${paint(style, '32', 'Done')}  ${job.id} by ${job.model ?? 'unknown'}`)
  say(`Cost:     ${money(job.cost_usd)}`)
  say(
    `Time:     ${part(total_ms)} = queued ${part(queued_ms)} + provider ${part(provider_ms)} + stored ${part(store_ms)}`,
  )
  for (const picture of pictures) {
    say(
      `Picture:  ${relative(process.cwd(), picture.file)} (${picture.width}x${picture.height}, ${picture.bytes} bytes, sha256 checked)`,
    )
  }
}

await runCommand(demo)
process.exit()
