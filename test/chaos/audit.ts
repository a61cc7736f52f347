import type { JobEvent } from '../../src/cli/client.ts'
import type { Credential } from '../../src/contract/instance.ts'
import type { Job } from '../../src/contract/job.ts'
import { account, madeBy } from './accounting.ts'
import { auditBooks } from './books.ts'
import { isFinalEvent, replay } from './follower.ts'
import { inFlight, mostWithin, openAttempts } from './load.ts'
import { persist } from './patience.ts'
import { auditUsage } from './usage.ts'
import { BASE, type Limits, PROVIDERS, type ProviderId, type World } from './world.ts'

/** What must hold after the storm. Each check adds a sentence to `broken` where it does not. */
export type Audit = { broken: string[]; figures: Record<string, unknown> }

export type Evidence = {
  world: World
  limits: Record<ProviderId, Limits>
  /** Ids that were acknowledged, each once. */
  acknowledged: readonly string[]
  followed: readonly JobEvent[]
  keep?: ((name: string, text: string) => void) | undefined
}

export const audit = async (evidence: Evidence): Promise<Audit> => {
  const { world } = evidence
  const jobs = await persist(() => allJobs(world))
  const told = await replay(world, evidence.followed.at(-1)?.seq ?? 0)
  evidence.keep?.('crashes.json', JSON.stringify(world.crashes))
  evidence.keep?.('jobs.json', JSON.stringify(jobs))
  evidence.keep?.('events.json', JSON.stringify(told))
  const parts = [
    auditJobs(jobs, evidence.acknowledged),
    auditEvents(jobs, told, evidence.followed),
    auditMoney(world, jobs),
    auditLost(world, jobs),
    ...PROVIDERS.map((provider) => auditLoad(evidence, jobs, provider)),
    await auditCredentials(world),
    await auditBooks(world),
    await auditUsage(world, jobs, told),
  ]
  return {
    broken: parts.flatMap(({ broken }) => broken),
    figures: Object.assign({}, ...parts.map(({ figures }) => figures)),
  }
}

const allJobs = async (world: World): Promise<Job[]> => {
  const jobs: Job[] = []
  for (let after: string | null = ''; after !== null; ) {
    const path = `${BASE}/jobs?limit=100${after ? `&after=${after}` : ''}`
    const page: { data: Job[]; next: string | null } = await world.user().ask('GET', path)
    jobs.push(...page.data)
    after = page.next
  }
  return jobs
}

const auditJobs = (jobs: Job[], acknowledged: readonly string[]): Audit => {
  const broken: string[] = []
  const open = jobs.filter((job) => !['succeeded', 'failed', 'canceled'].includes(job.status))
  if (open.length > 0) broken.push(`${open.length} jobs are not final: ${sample(open.map(({ id }) => id))}`)
  const known = new Set(jobs.map(({ id }) => id))
  const lost = acknowledged.filter((id) => !known.has(id))
  if (lost.length > 0) broken.push(`${lost.length} acknowledged jobs are gone: ${sample(lost)}`)
  if (known.size !== new Set(acknowledged).size) broken.push(`${known.size} jobs for ${acknowledged.length} submits`)
  const unfinished = jobs.filter((job) => job.attempts.some(({ outcome }) => outcome === null))
  if (unfinished.length > 0) broken.push(`attempts without an outcome: ${sample(unfinished.map(({ id }) => id))}`)
  const outcomes = jobs.flatMap((job) => job.attempts).map(({ outcome }) => outcome ?? 'open')
  const errors = jobs.flatMap(({ error }) => (error ? [error.code] : []))
  return {
    broken,
    figures: { jobs: counts(jobs.map(({ status }) => status)), errors: counts(errors), attempts: counts(outcomes) },
  }
}

const auditEvents = (jobs: Job[], told: readonly JobEvent[], followed: readonly JobEvent[]): Audit => {
  const broken: string[] = []
  for (const [who, events] of Object.entries({ told, followed })) {
    const gap = events.findIndex(({ seq }, index) => seq !== index + 1)
    if (gap !== -1) broken.push(`the events ${who} have a gap: number ${events[gap]?.seq} stands in place ${gap + 1}`)
  }
  const other = followed.findIndex((event, index) => JSON.stringify(event) !== JSON.stringify(told[index]))
  if (other !== -1) broken.push(`event ${other + 1} was told differently before and after a crash`)
  const ends = Map.groupBy(told.filter(isFinalEvent), ({ job }) => job)
  for (const job of jobs) {
    const types = (ends.get(job.id) ?? []).map(({ type }) => type)
    if (types.length !== 1 || types[0] !== `job.${job.status}`)
      broken.push(`${job.id} is ${job.status}, its final events are ${types.join(', ') || 'none'}`)
  }
  return { broken, figures: { events: told.length } }
}

const auditMoney = (world: World, jobs: Job[]): Audit => {
  const made = madeBy(world)
  const { unaccounted, twice, invented, byId, byOutcome } = account(jobs, made)
  const broken = [
    ...unaccounted.map((item) => `nobody asked for ${item.provider} ${item.id} ("${item.prompt}")`),
    ...twice.map(
      ({ call, made: item }) =>
        `${call.job} attempt ${call.attempts[0]?.number} made ${item.provider} accept twice: ${JSON.stringify(call.attempts)}`,
    ),
    ...invented.map((id) => `no provider ever gave the id ${id}`),
  ]
  const bought = `${made.length}: ${byId} by id, ${byOutcome} by outcome, ${unaccounted.length} unaccounted`
  return { broken, figures: { generations: bought } }
}

/** A lease, the question and its answer, on a machine under load. */
const JUDGED_WITHIN_MS = 20_000

/** What a crash cut off must be found at once: until then it holds a slot, and its job waits. */
const auditLost = ({ crashes }: World, jobs: Job[]): Audit => {
  const lost = crashes.flatMap(({ killedAt, readyAt }, index) =>
    jobs.flatMap(({ id, attempts }) =>
      attempts
        .filter(({ started_at: start, ended_at: end, error }) => {
          const survived = !error?.message.startsWith('The process that ran the attempt ended')
          return !survived && Date.parse(start) <= killedAt && Date.parse(end ?? '') >= killedAt
        })
        .map(({ number, started_at: start, ended_at: end }) => ({
          attempt: `${id}/${number}, crash ${index + 1}, begun ${killedAt - Date.parse(start)} ms before it`,
          afterMs: Math.max(0, Date.parse(end ?? '') - readyAt),
        })),
    ),
  )
  const slowest = Math.max(0, ...lost.map(({ afterMs }) => afterMs))
  const broken = lost
    .filter(({ afterMs }) => afterMs > JUDGED_WITHIN_MS)
    .map(({ attempt, afterMs }) => `judged only ${afterMs} ms after the start: ${attempt}`)
  return { broken, figures: { lost_in_crashes: lost.length, judged_after_at_most_ms: slowest } }
}

const auditLoad = ({ world, limits }: Evidence, jobs: Job[], provider: ProviderId): Audit => {
  const broken: string[] = []
  const { concurrency, requests_per_minute: perMinute } = limits[provider]
  const made = madeBy(world).filter((item) => item.provider === provider)
  const { owned, all, orphans } = inFlight(made, account(jobs, made).owners)
  const open = openAttempts(jobs, provider)
  const port = Number(new URL(world[provider].url).port)
  const creates = world.creates.filter((create) => create.port === port).map(({ at }) => at)
  const inMinute = mostWithin(creates, 60_000)
  if (open > concurrency) broken.push(`${provider}: ${open} attempts at once, the limit is ${concurrency}`)
  if (owned > concurrency) broken.push(`${provider}: ${owned} generations at once, the limit is ${concurrency}`)
  if (inMinute > perMinute) broken.push(`${provider}: ${inMinute} creates in a minute, the limit is ${perMinute}`)
  const stats = world[provider].stats()
  const seen = {
    creates: creates.length,
    most_in_a_minute: `${inMinute} of ${perMinute}`,
    most_attempts_at_once: `${open} of ${concurrency}`,
    most_generations_at_once: `${owned} of ${concurrency}, ${all} with up to ${orphans} that were given up`,
    refused: stats.rejected,
    faults: stats.faults,
  }
  return { broken, figures: { [provider]: seen } }
}

const auditCredentials = async (world: World): Promise<Audit> => {
  const broken: string[] = []
  for (const provider of PROVIDERS) {
    const rows = await world
      .root()
      .ask<Credential[] | { data: Credential[] }>('GET', `${BASE}/providers/${provider}/credentials`)
    for (const { name, enabled, disabled_reason: reason } of Array.isArray(rows) ? rows : rows.data) {
      const wanted = name !== 'refused'
      if (enabled !== wanted || (reason === null) !== wanted)
        broken.push(`${provider}: the credential ${name} is enabled ${enabled}, because: ${reason}`)
    }
  }
  return { broken, figures: {} }
}

const counts = (values: readonly string[]): Record<string, number> =>
  Object.fromEntries([...Map.groupBy(values, (value) => value)].map(([value, all]) => [value, all.length]))

const sample = (ids: readonly string[]): string => ids.slice(0, 5).join(', ')
