import { type Fault, faultType } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import type { ApiKey, Credential, ProviderView } from '../contract/instance.ts'
import { isFinal, type JobError, type JobOutput, type JobRecord, type WaitingFor } from '../contract/job.ts'
import type { Quota } from '../contract/quota.ts'
import { tokensByKind, type Usage } from '../contract/usage.ts'
import { admit, type Limiter, limitInForce, paceOf, readyAt, requestQuota, slotsOf } from '../core/admission.ts'
import { type Breaker, passBreaker } from '../core/breaker.ts'
import type { CredentialUse } from '../core/credential-use.ts'
import { estimateStart } from '../core/estimate.ts'
import { isWhole } from '../core/pace.ts'
import { medianMs } from '../core/track-record.ts'
import { LIMITS } from '../limits.ts'
import type { KeyRow } from './admin-store.ts'
import { credentialRoom, ownerOf, pickCredential, pickOwner, typicalMsOf } from './availability.ts'
import type { Books } from './books.ts'
import type { CredentialRow } from './credential-store.ts'
import type { AttemptRow, JobRow } from './job-rows.ts'
import { jobPrice } from './pricing.ts'
import { wishesOf } from './wishes.ts'

/** Rows as clients see them. */

export const isoTime = (ms: number): string => new Date(ms).toISOString()
export const isoTimeOrNull = (ms: number | null): string | null => (ms === null ? null : isoTime(ms))

export type JobContext = {
  instance: string
  progress: number
  ahead: number | null
  /** When the budget that the job waits for has its next window; null where it waits for none, or none will come. */
  budgetStartMs: number | null
  /** When the job may be trimmed, and when its pictures may be. */
  expiresAtMs: number | null
  artifactsExpireAtMs: number | null
  books: Books
  now: number
}

export const jobRecord = (row: JobRow, attempts: AttemptRow[], context: JobContext): JobRecord => {
  const output = row.output === null ? null : (JSON.parse(row.output) as JobOutput)
  const input = JSON.parse(row.input) as JobRecord['input']
  const { skipped, prices } = wishesOf(row)
  const price = prices?.[row.model]
  return {
    id: row.id,
    object: 'job',
    type: row.type,
    status: row.status,
    instance: context.instance,
    project: row.project,
    priority: row.priority,
    input,
    output,
    error: isFinal(row.status) ? jobError(row.fault) : null,
    model: row.model,
    progress: row.status === 'succeeded' ? 1 : context.progress,
    attempts: attempts.map((attempt) => ({
      number: attempt.number,
      model: attempt.model,
      reason: attempt.reason,
      started_at: isoTime(attempt.started_at_ms),
      ended_at: isoTimeOrNull(attempt.ended_at_ms),
      outcome: attempt.outcome,
      provider_request_id: attempt.provider_request_id,
      error: jobError(attempt.fault),
    })),
    attempts_left_out: Math.max(0, row.attempt - attempts.length),
    skipped,
    cost_usd: costOf(row),
    held_usd: row.held_micros === null ? null : microsToUsd(row.held_micros),
    estimate_usd: row.estimate_micros === null ? null : microsToUsd(row.estimate_micros),
    price: price ? jobPrice(price) : null,
    usage: usageOf(row, output),
    usage_estimated: row.usage !== null && (JSON.parse(row.usage) as Usage).estimated,
    timing: {
      queued_ms: row.started_at_ms === null ? null : row.started_at_ms - row.created_at_ms,
      provider_ms: row.provider_ms,
      store_ms: row.store_ms,
      total_ms: row.ended_at_ms === null ? null : row.ended_at_ms - row.created_at_ms,
    },
    queue: queueOf(row, attempts, context),
    batch: row.batch,
    replays: row.replays,
    discarded_at: isoTimeOrNull(row.discarded_at_ms),
    metadata: JSON.parse(row.metadata) as Record<string, string>,
    request_id: row.request_id,
    created_at: isoTime(row.created_at_ms),
    started_at: isoTimeOrNull(row.started_at_ms),
    ended_at: isoTimeOrNull(row.ended_at_ms),
    expires_at: isoTimeOrNull(context.expiresAtMs),
    artifacts_expire_at: hasImages(output) ? isoTimeOrNull(context.artifactsExpireAtMs) : null,
    archived: false,
  }
}

/** Whether something of it is stored beside the row. */
export const hasImages = (output: JobOutput | null): boolean =>
  output !== null && 'images' in output && output.images.length > 0

const usageOf = (row: JobRow, output: JobOutput | null): JobRecord['usage'] => {
  if (output && 'images' in output) return { images: output.images.length }
  if (row.usage === null) return null
  const kinds = Object.entries(tokensByKind(JSON.parse(row.usage) as Usage))
  return Object.fromEntries(kinds.map(([kind, count]) => [`${kind}_tokens`, count]))
}

/** A job that never reached a provider cost nothing; one that did costs what is known, or null. */
const costOf = (row: JobRow): number | null => {
  if (row.attempt === 0) return isFinal(row.status) ? 0 : null
  return row.cost_micros === null ? null : microsToUsd(row.cost_micros)
}

const jobError = (text: string | null): JobError | null => {
  if (text === null) return null
  const problem = JSON.parse(text) as Fault
  return {
    type: faultType(problem.code),
    code: problem.code as JobError['code'],
    message: problem.message,
    param: problem.param ?? null,
    source: problem.source,
  }
}

const queueOf = (row: JobRow, attempts: AttemptRow[], context: JobContext): JobRecord['queue'] => {
  if (row.status !== 'queued' && row.status !== 'scheduled') return null
  if (row.budget_scope !== null) {
    const startMs = context.budgetStartMs
    const limit = `instance:${context.instance}:budget:${row.budget_scope}`
    return { position: null, waiting_for: 'budget', limit, estimated_start_at: isoTimeOrNull(startMs) }
  }
  if (row.due_at_ms !== null) {
    return { position: null, waiting_for: 'not_before', limit: null, estimated_start_at: isoTime(row.due_at_ms) }
  }
  const { books, now, ahead } = context
  const limiters = books.limiters(row.model)
  // What goes on from an earlier attempt waits for that one's credential alone.
  const owner = row.resume === null ? null : ownerOf(books, row.provider, attempts.at(-1)?.credential ?? null)
  const blocked = whyNotNow(row, owner, context)
  const position = ahead === null ? null : ahead + 1
  if (position === null || blocked.untilMs === NEVER_MS)
    return { position, waiting_for: blocked.waiting_for, limit: blocked.limit, estimated_start_at: null }
  const [provider] = limiters
  const record = books.record(row.model)
  const room = credentialRoom(books, row, now)
  const estimate = estimateStart({
    ahead: position - 1,
    now,
    readyAtMs: Math.max(now, blocked.untilMs ?? now, ...limiters.map((limiter) => readyAt(limiter, row.tokens, now))),
    running: provider?.load.running ?? 0,
    concurrency: Math.min(room.slots, ...limiters.map(slotsOf)),
    durationMs: medianMs(record) ?? typicalMsOf(row.model),
    intervalMs: Math.max(room.intervalMs, ...limiters.map((limiter) => paceOf(limiter, row.tokens))),
  })
  return {
    position,
    waiting_for: blocked.waiting_for,
    limit: blocked.limit,
    estimated_start_at: isoTime(Math.ceil(estimate)),
  }
}

const NEVER_MS = Number.POSITIVE_INFINITY

/** What holds up a call of this job's model at this moment; `order` where only other jobs stand before it. */
const whyNotNow = (
  row: JobRow,
  owner: CredentialRow | null,
  { books, now }: JobContext,
): { waiting_for: WaitingFor; limit: string | null; untilMs: number | null } => {
  const provider = books.limiter(row.provider)
  // Nobody knows when an operator enables it again.
  if (!books.setups.get(row.provider)?.enabled) return { waiting_for: 'breaker', limit: provider, untilMs: NEVER_MS }
  const passage = passBreaker(books.breaker(provider), now)
  if (!passage.passes) return { waiting_for: 'breaker', limit: provider, untilMs: passage.untilMs }
  const picked = owner ? pickOwner(books, owner, row, now) : pickCredential(books, row, now, 0)
  if (!picked.credential && picked.waitingFor === 'breaker')
    return { waiting_for: 'breaker', limit: picked.limit, untilMs: picked.untilMs ?? NEVER_MS }
  const admission = admit(books.limiters(row.model), row.tokens, now)
  if (!admission.admitted)
    return { waiting_for: admission.waitingFor, limit: admission.limit, untilMs: admission.untilMs }
  if (!picked.credential) return { waiting_for: picked.waitingFor, limit: picked.limit, untilMs: picked.untilMs }
  return { waiting_for: 'order', limit: null, untilMs: null }
}

/** The models of a provider that are narrowed by themselves now. */
export const narrowedModels = (books: Books, provider: string, now: number): ProviderView['adaptive']['models'] =>
  books.paces
    .ofProvider(provider)
    .filter(({ load }) => !isWhole(load, now))
    .map((pace) => {
      const nextAtMs = readyAt(pace, 1, now)
      return {
        model: pace.of.model,
        credential: pace.of.credential,
        limit: pace.name,
        share: pace.load.adaptive.share,
        running: pace.load.running,
        concurrency: pace.rules.concurrency === null ? null : slotsOf(pace),
        requests_per_minute: limitInForce(pace, 'per_minute'),
        tokens_per_minute: limitInForce(pace, 'tokens_per_minute'),
        next_request_at: nextAtMs > now ? isoTime(Math.ceil(nextAtMs)) : null,
      }
    })

/** Room in the queue, and what the providers' rates let out now. */
export const quotasOf = (books: Books, queueBound: number, now: number): Quota[] => [
  { name: 'queue', limit: queueBound, windowS: null, left: Math.max(0, queueBound - books.waiting()), resetS: null },
  ...[...books.setups.keys()].flatMap((id) => {
    const [limiter] = books.limiters(`${id}/`)
    const quota = limiter ? requestQuota(limiter, now) : null
    return quota ? [quotaView(id, quota, now)] : []
  }),
  ...modelQuotas(books, now),
]

/** Of models that are narrowed with all credentials, those with the least left. */
const modelQuotas = (books: Books, now: number): Quota[] => {
  if (books.paces.size === 0) return []
  const quotas = [...books.setups.keys()].flatMap((id) =>
    books.paces.ofProvider(id).flatMap((pace) => {
      const quota = pace.of.credential !== null || isWhole(pace.load, now) ? null : requestQuota(pace, now)
      return quota ? [quotaView(pace.of.model, quota, now)] : []
    }),
  )
  return quotas.sort((a, b) => a.left - b.left || a.limit - b.limit).slice(0, LIMITS.pacesInHeaders)
}

const quotaView = (name: string, quota: NonNullable<ReturnType<typeof requestQuota>>, now: number): Quota => {
  const { limit, windowMs, left, nextAt } = quota
  return { name, limit, windowS: windowMs / 1000, left, resetS: nextAt > now ? Math.ceil((nextAt - now) / 1000) : null }
}

export const keyView = (key: KeyRow): ApiKey => ({
  id: key.id,
  name: key.name,
  role: key.role,
  project: key.project,
  scopes: key.scopes,
  created_at: isoTime(key.created_at_ms),
  expires_at: isoTimeOrNull(key.expires_at_ms),
})

export const breakerView = (breaker: Breaker): ProviderView['breaker'] => ({
  state: breaker.state,
  failures: breaker.state === 'closed' ? breaker.failures : 0,
  until: breaker.state === 'open' ? isoTime(breaker.untilMs) : null,
})

export const credentialView = (
  row: CredentialRow,
  breaker: Breaker,
  limiter: Limiter,
  use: CredentialUse,
  now: number,
): Credential => ({
  name: row.name,
  provider: row.provider,
  weight: row.weight,
  enabled: row.enabled,
  disabled_reason: row.disabled_reason,
  breaker: breakerView(breaker),
  limits: row.limits,
  live: {
    running: limiter.load.running,
    next_request_at: readyAt(limiter, 1, now) > now ? isoTime(Math.ceil(readyAt(limiter, 1, now))) : null,
    share: limiter.load.adaptive.share,
  },
  usage: {
    attempts: use.attempts,
    errors: use.errors,
    cost_usd: microsToUsd(use.costMicros),
    last_used_at: isoTimeOrNull(use.lastUsedAtMs),
    last_error: use.lastError && { code: use.lastError.code, at: isoTime(use.lastError.atMs) },
  },
  key_id: row.key_id,
  hint: row.hint,
  created_at: isoTime(row.created_at_ms),
  updated_at: isoTime(row.updated_at_ms),
})
