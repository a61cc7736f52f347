import type { AttemptView, Job } from '../../src/contract/job.ts'
import type { ProviderId, World } from './world.ts'

/** Who asked for what the providers made: each accepted generation against the attempts of its job. */

/** A generation as an emulator has it. Times are ms since the epoch. */
export type Made = { provider: ProviderId; id: string; prompt: string; at: number; endedAt: number | null }

/**
 * One call of a provider and all attempts that lived on it: an attempt that "goes on" polls, stores or looks for what an
 * earlier one began. A call may be accepted once.
 */
export type Call = { job: string; provider: string; attempts: AttemptView[] }

export type Account = {
  owners: Map<string, Call>
  /** By their ids; by time and outcome, since the answer with the id never arrived. */
  byId: number
  byOutcome: number
  unaccounted: Made[]
  twice: { call: Call; made: Made }[]
  /** Ids in attempts that no provider ever gave. */
  invented: string[]
}

export const madeBy = ({ ideogram, replicate }: World): Made[] => [
  ...ideogram.stats().generations.map(({ id, prompt, acceptedAt, completedAt }) => ({
    provider: 'ideogram' as const,
    id,
    prompt,
    at: acceptedAt,
    endedAt: completedAt,
  })),
  ...replicate.stats().predictions.map(({ id, prompt, createdAt, completedAt }) => ({
    provider: 'replicate' as const,
    id,
    prompt,
    at: createdAt,
    endedAt: completedAt,
  })),
]

export const callsOf = (job: Job): Call[] => {
  const calls: Call[] = []
  for (const attempt of job.attempts) {
    const last = calls.at(-1)
    if (last && attempt.reason.startsWith('goes on after')) last.attempts.push(attempt)
    else calls.push({ job: job.id, provider: attempt.model.split('/')[0] ?? '', attempts: [attempt] })
  }
  return calls
}

/** Ends of an attempt after which nobody here knows whether the provider made something. */
const UNKNOWING = ['outcome_unknown', 'provider_timeout', 'canceled', 'deadline_exceeded']
/** A request that was canceled under way may be accepted a moment later. */
const UNDERWAY_MS = 3_000

export const account = (jobs: readonly Job[], made: readonly Made[]): Account => {
  const calls = Map.groupBy(
    jobs.flatMap((job) => callsOf(job).map((call) => ({ prompt: job.input?.prompt, call }))),
    ({ prompt }) => prompt,
  )
  const result: Account = { owners: new Map(), byId: 0, byOutcome: 0, unaccounted: [], twice: [], invented: [] }
  const taken = new Map<Call, Made>()
  const settle = (item: Made, call: Call): void => {
    if (taken.has(call)) result.twice.push({ call, made: item })
    taken.set(call, item)
    result.owners.set(item.id, call)
  }
  for (const item of made) {
    const own = (calls.get(item.prompt) ?? []).map(({ call }) => call)
    const known = own.find((call) => idsOf(call).includes(item.id))
    const could = own.filter((candidate) => couldHaveAsked(candidate, item))
    // The latest of those that have none yet: a request may arrive a little after its attempt was given up, not before it.
    const call = known ?? could.findLast((candidate) => !taken.has(candidate)) ?? could[0]
    if (!call) result.unaccounted.push(item)
    else settle(item, call)
    if (known) result.byId += 1
    else if (call) result.byOutcome += 1
  }
  const real = new Set(made.map(({ id }) => id))
  result.invented = jobs.flatMap(callsOf).flatMap((call) => idsOf(call).filter((id) => !real.has(id)))
  return result
}

const idsOf = (call: Call): string[] => [
  ...new Set(call.attempts.flatMap(({ provider_request_id: id }) => (id === null ? [] : [id]))),
]

const couldHaveAsked = (call: Call, item: Made): boolean => {
  const first = call.attempts[0]
  const last = call.attempts.at(-1)
  if (!first || !last?.ended_at || call.provider !== item.provider) return false
  const began = Date.parse(first.started_at) <= item.at
  return began && item.at <= Date.parse(last.ended_at) + UNDERWAY_MS && call.attempts.some(isUnknowing)
}

const isUnknowing = ({ outcome }: AttemptView): boolean => outcome !== null && UNKNOWING.includes(outcome)
