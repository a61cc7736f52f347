import { parseArgs } from 'node:util'
import { CommandError, runCommand, usageError } from '../../src/cli/command.ts'
import { measureBooks } from './books.ts'
import { conditions, startNoise } from './conditions.ts'
import { measureGateway } from './gateway.ts'
import { measureJobs } from './jobs.ts'
import { measureQueueDepth } from './queue-depth.ts'
import { measureRetention } from './retention.ts'
import type { Section } from './section.ts'
import { measureSubmits } from './submits.ts'
import { measureSubscribers } from './subscribers.ts'
import { World } from './world.ts'

const PARTS = ['submit', 'jobs', 'plain', 'queue-depth', 'subscribers', 'books', 'gateway', 'retention'] as const
type Part = (typeof PARTS)[number]

const HELP = `npm run bench -- [--quick] [--only ${PARTS.join(',')}] [--rounds n] [--jobs n] [--retention seconds] [--rate n] [--json]

Durable submits and jobs of Switchyard beside the bare limit of the platform, BullMQ and pg-boss, measured in turns in one
run; what queue depth, subscribers and budgets cost; the gateway beside Portkey's and a bare proxy. Nothing is asserted on
time. About ten minutes, with --quick about one.
  --only   some of the parts; "plain" adds plain workerd to submit and jobs
  --rounds how often everything is measured, in turns: 5, with --quick 1
  --jobs, --retention, --rate   of the part "retention", which runs only where it is named: 200,000 jobs, a minute, and 80
           jobs per second, so that the first 5,000 fill the minute; 42 minutes
  --json   the figures of every round
`

type Size = {
  rounds: number
  submitSeconds: number
  jobSeconds: number
  chatSeconds: number
  depths: [number, number]
  operations: number
}

/** Seconds are per measurement, operations per step. An instance queues a million: the rest is room for the submits measured. */
const FULL: Size = {
  rounds: 5,
  submitSeconds: 1,
  jobSeconds: 2,
  chatSeconds: 0.6,
  depths: [1_000, 990_000],
  operations: 500,
}
const QUICK: Size = {
  rounds: 1,
  submitSeconds: 0.25,
  jobSeconds: 0.5,
  chatSeconds: 0.25,
  depths: [1_000, 100_000],
  operations: 100,
}

const main = async (): Promise<number> => {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      jobs: { type: 'string', default: '200000' },
      retention: { type: 'string', default: '60' },
      rate: { type: 'string', default: '80' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const parts = partsOf(values.only)
  const standard = values.quick ? QUICK : FULL
  const rounds = values.rounds === undefined ? standard.rounds : wholeNumber('rounds', values.rounds)
  const size = { ...standard, rounds }
  const trimmed = {
    jobs: wholeNumber('jobs', values.jobs),
    retentionS: wholeNumber('retention', values.retention),
    perSecond: wholeNumber('rate', values.rate),
  }
  const world = new World()
  const stopped = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new CommandError(`stopped by ${signal}`)))
  })
  const startedAt = performance.now()
  const noise = startNoise()
  const under = conditions(world.folder)
  try {
    const sections = await Promise.race([measure(world, parts, size, trimmed), stopped])
    under.push(world.versions.join(', '), ...world.durability, ...world.notes)
    await world.close()
    under.push(noise() ?? '', `${size.rounds} rounds in turns, ${Math.round((performance.now() - startedAt) / 1000)} s`)
    process.stdout.write(values.json ? json(under, sections) : text(under, sections))
  } finally {
    await world.close()
  }
  return 0
}

const wholeNumber = (name: string, text: string): number => {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw usageError(`--${name} must be a whole number`)
  return Number(text)
}

/** Trimming is measured over many minutes, so only where it is asked for. */
const USUAL = PARTS.filter((part) => part !== 'retention')

const partsOf = (only: string | undefined): Set<Part> => {
  const wanted = only?.split(',') ?? USUAL
  const parts = wanted.map((name) => {
    const part = PARTS.find((known) => known === name)
    if (!part) throw usageError(`there is no part "${name}"`)
    return part
  })
  return new Set(parts)
}

const measure = async (
  world: World,
  parts: Set<Part>,
  size: typeof FULL | typeof QUICK,
  trimmed: { jobs: number; retentionS: number; perSecond: number },
): Promise<Section[]> => {
  const sections: Section[] = []
  const onlyPlain = parts.has('plain') && !parts.has('submit') && !parts.has('jobs')
  const submits = parts.has('submit') || onlyPlain
  const jobs = parts.has('jobs') || onlyPlain
  const [shallow, deep] = size.depths
  const say = (line: string) => process.stderr.write(`${line}\n`)
  if (submits || jobs) {
    say('starting the servers')
    const targets = await world.targets({ jobs, plain: parts.has('plain') })
    if (submits) say('submit')
    if (submits) sections.push(await measureSubmits(targets, size.rounds, size.submitSeconds))
    if (jobs) say('jobs')
    if (jobs) sections.push(await measureJobs(targets, size.rounds, size.jobSeconds))
    await world.stopServers()
  }
  if (parts.has('queue-depth')) {
    say('queue-depth')
    sections.push(await measureQueueDepth(world, [shallow, deep], size.rounds, size.operations))
    await world.stopServers()
  }
  if (parts.has('subscribers')) {
    say('subscribers')
    sections.push(await measureSubscribers(world, size.rounds, size.jobSeconds))
    await world.stopServers()
  }
  if (parts.has('books')) {
    say('books')
    sections.push(await measureBooks(world, size.rounds, size.jobSeconds))
    await world.stopServers()
  }
  if (parts.has('gateway')) {
    say('gateway')
    sections.push(...(await measureGateway(world, size.rounds, size.chatSeconds)))
  }
  if (parts.has('retention')) {
    say('retention')
    sections.push(await measureRetention(world, trimmed))
  }
  return sections
}

const text = (under: string[], sections: Section[]): string => {
  const blocks = sections.map(({ title, text, notes }) =>
    [title, '', text, ...notes.map((note) => `  ${note}`)].join('\n'),
  )
  const lines = under.filter((line) => line !== '').map((line) => `  ${line}`)
  return `\n${blocks.join('\n\n')}\n\nconditions\n${lines.join('\n')}\n`
}

const json = (under: string[], sections: Section[]): string =>
  `${JSON.stringify({ conditions: under, parts: sections.map(({ title, data, notes }) => ({ title, notes, data })) }, null, 2)}\n`

await runCommand(main)
process.exit()
