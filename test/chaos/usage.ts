import type { JobEvent } from '../../src/cli/client.ts'
import type { Job } from '../../src/contract/job.ts'
import type { LogLine, LogPage } from '../../src/contract/log.ts'
import type { UsageReport } from '../../src/contract/usage-report.ts'
import { account, type Call, type Made, madeBy } from './accounting.ts'
import type { Audit } from './audit.ts'
import { persist } from './patience.ts'
import { BASE, PROVIDERS, type ProviderId, type World } from './world.ts'

/**
 * `GET usage` and `GET logs` after the storm, against what the emulators and the jobs themselves counted: equal, whatever
 * was killed. What an emulator turned away cannot be compared one to one: an answer may be lost on its way.
 */
export const auditUsage = async (world: World, jobs: Job[], told: readonly JobEvent[]): Promise<Audit> => {
  const usage = await persist(() =>
    world.user().ask<UsageReport>('GET', `${BASE}/usage?interval=hour&group_by=provider,model,project`),
  )
  const lines = await wholeLog(world, '')
  const pairs = [
    ...sumsOf(usage, jobs),
    ...PROVIDERS.flatMap((provider) => ofProvider(world, usage, jobs, provider)),
    ...ofLog(lines, told),
    ['log, warnings', (await wholeLog(world, '&level=warn')).length, lines.filter(isGrave).length] as const,
    ['log, credentials disabled', await disabledIn(world), PROVIDERS.length] as const,
  ]
  const broken = pairs.flatMap(([what, told, counted]) =>
    same(told, counted) ? [] : [`${what}: ${JSON.stringify(told)} told, ${JSON.stringify(counted)} counted`],
  )
  const { attempts, images, cost_usd, unknown_cost_attempts } = usage.total
  return { broken, figures: { usage: { attempts, images, cost_usd, unknown_cost_attempts }, log: lines.length } }
}

/** What, as the product tells it, as it was counted. */
type Pair = readonly [what: string, told: unknown, counted: unknown]

const sumsOf = ({ total, data }: UsageReport, jobs: Job[]): Pair[] => {
  const outcomes = jobs.flatMap((job) => job.attempts).map(({ outcome }) => outcome ?? 'open')
  return [
    ['usage, attempts', total.attempts, outcomes.length],
    ['usage, errors', total.errors, counts(outcomes.filter((outcome) => outcome !== 'done'))],
    ['usage, jobs', total.jobs, { succeeded: 0, failed: 0, canceled: 0, ...counts(jobs.map(({ status }) => status)) }],
    ['usage, jobs by bucket', sum(data.map((bucket) => ended(bucket.jobs))), jobs.length],
    ['usage, money by bucket', micros(sum(data.map((bucket) => bucket.cost_usd))), micros(total.cost_usd)],
    ...[...new Set(jobs.map(({ project }) => project))].map((project): Pair => {
      const own = data.filter((bucket) => bucket.project === project)
      const counted = jobs.filter((job) => job.project === project).length
      return [`usage, jobs of ${project}`, sum(own.map((bucket) => ended(bucket.jobs))), counted]
    }),
  ]
}

/** What was made and came to be known: pictures and money, against the emulator's own record of each generation. */
const ofProvider = (world: World, usage: UsageReport, jobs: Job[], provider: ProviderId): Pair[] => {
  const own = usage.data.filter((bucket) => bucket.provider === provider)
  const made = madeBy(world).filter((item) => item.provider === provider)
  const { owners } = account(jobs, made)
  const of = (fits: (call: Call) => boolean): Made[] =>
    made.filter(({ id }) => {
      const call = owners.get(id)
      return call !== undefined && fits(call)
    })
  const delivered = of(({ attempts }) => attempts.some(({ outcome }) => outcome === 'done'))
  const bought = of(({ attempts }) => attempts.some(({ outcome }) => outcome !== null && KNOWING.includes(outcome)))
  const records = recordsOf(world)[provider]
  const done = sum(own.map(({ attempts, errors }) => attempts - sum(Object.values(errors))))
  return [
    [`${provider}, generations delivered`, done, delivered.length],
    [
      `${provider}, pictures`,
      sum(own.map(({ images }) => images)),
      sum(delivered.map(({ id }) => records.get(id)?.images ?? 0)),
    ],
    [
      `${provider}, money`,
      sum(own.map(({ cost_usd }) => micros(cost_usd))),
      sum(bought.map(({ id }) => records.get(id)?.costUsdMicros ?? 0)),
    ],
  ]
}

/** Ends of an attempt after which the provider's bill is known. */
const KNOWING = ['done', 'artifact_failed', 'content_rejected']

const recordsOf = ({ ideogram, replicate }: World) => ({
  ideogram: new Map(ideogram.stats().generations.map((record) => [record.id, record])),
  replicate: new Map(replicate.stats().predictions.map((record) => [record.id, record])),
})

/** Every event is a line, once and in order. */
const ofLog = (lines: LogLine[], told: readonly JobEvent[]): Pair[] => {
  const events = lines.filter(({ event }) => event.startsWith('job.')).reverse()
  return [
    [
      'log, events',
      events.map(({ id, event, job }) => [id, event, job]),
      told.filter(({ type }) => type.startsWith('job.')).map(({ seq, type, job }) => [`${seq}`, type, job]),
    ],
    ['log, lines without a request', events.filter(({ request_id }) => request_id === null).length, 0],
  ]
}

const wholeLog = async ({ user }: World, query: string): Promise<LogLine[]> => {
  const lines: LogLine[] = []
  for (let after = ''; ; ) {
    const page = await persist(() => user().ask<LogPage>('GET', `${BASE}/logs?limit=100${query}${after}`))
    lines.push(...page.data)
    if (page.next === null) return lines
    after = `&after=${page.next}`
  }
}

const disabledIn = async ({ root }: World): Promise<number> => {
  const { data } = await root().ask<LogPage>('GET', `${BASE}/logs?limit=100&event=credential.disabled`)
  return new Set(data.map((line) => line.data['provider'])).size === data.length ? data.length : -data.length
}

const isGrave = ({ level }: LogLine): boolean => level !== 'info'
const ended = (jobs: UsageReport['total']['jobs']): number => jobs.succeeded + jobs.failed + jobs.canceled
const micros = (usd: number): number => Math.round(usd * 1_000_000)
const sum = (numbers: readonly number[]): number => numbers.reduce((total, item) => total + item, 0)
const counts = (values: readonly string[]): Record<string, number> =>
  Object.fromEntries([...Map.groupBy(values, (value) => value)].map(([value, all]) => [value, all.length]))
const same = (a: unknown, b: unknown): boolean => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))
const sorted = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value
