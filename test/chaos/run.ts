import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runChaos } from './chaos.ts'

/** `npm run chaos`: the whole storm. Ends with 1 where a promise was broken; `--keep` names a folder for its traces. */

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '1000' },
    kills: { type: 'string', default: '3' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    keep: { type: 'string' },
  },
})
const [jobs, kills, seed] = [values.jobs, values.kills, values.seed].map(Number)
if (!isWhole(jobs) || !isWhole(kills) || !isWhole(seed)) throw new Error('--jobs, --kills and --seed are whole numbers')

const say = (line: string): void => void process.stdout.write(`${line}\n`)
say(`seed ${seed}; again with: npm run chaos -- --jobs ${jobs} --kills ${kills} --seed ${seed}`)
say('(the same jobs, faults and cancellations; what meets what is up to the machine)')

const { broken, figures } = await runChaos({
  jobs,
  kills,
  seed,
  limits: {
    ideogram: { concurrency: 12, requests_per_minute: 240 },
    replicate: { concurrency: 20, requests_per_minute: 240 },
  },
  deadlineS: 900,
  withinMs: 900_000,
  say,
  keep: (name, text) => {
    if (values.keep === undefined) return
    mkdirSync(values.keep, { recursive: true })
    writeFileSync(join(values.keep, name), text)
  },
})
say(JSON.stringify(figures, null, 2))
for (const sentence of broken) say(`BROKEN: ${sentence}`)
say(broken.length === 0 ? 'every promise was kept' : `${broken.length} promises broken; seed ${seed}`)
process.exit(broken.length === 0 ? 0 : 1)

function isWhole(value: number | undefined): value is number {
  return Number.isInteger(value) && Number(value) >= 0
}
