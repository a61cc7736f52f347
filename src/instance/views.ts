import { type Fault, faultType } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import type { ImageInput, ImageOutput } from '../contract/image.ts'
import type { ApiKey, Credential } from '../contract/instance.ts'
import { isFinal, type JobError, type JobRecord, type WaitingFor } from '../contract/job.ts'
import { admit, nextRequestAt } from '../core/admission.ts'
import type { CredentialRow, KeyRow } from './admin-store.ts'
import type { Books } from './books.ts'
import type { AttemptRow, JobRow } from './job-store.ts'

/** Rows as clients see them. */

export const isoTime = (ms: number): string => new Date(ms).toISOString()
const isoTimeOrNull = (ms: number | null): string | null => (ms === null ? null : isoTime(ms))

export type JobContext = { instance: string; progress: number; ahead: number | null; books: Books; now: number }

export const jobRecord = (row: JobRow, attempts: AttemptRow[], context: JobContext): JobRecord => {
  const output = row.output === null ? null : (JSON.parse(row.output) as ImageOutput)
  const input = JSON.parse(row.input) as ImageInput
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
      started_at: isoTime(attempt.started_at_ms),
      ended_at: isoTimeOrNull(attempt.ended_at_ms),
      outcome: attempt.outcome,
      provider_request_id: attempt.provider_request_id,
      error: jobError(attempt.fault),
    })),
    cost_usd: costOf(row),
    usage: output ? { images: output.images.length } : null,
    timing: {
      queued_ms: row.started_at_ms === null ? null : row.started_at_ms - row.created_at_ms,
      provider_ms: row.provider_ms,
      store_ms: row.store_ms,
      total_ms: row.ended_at_ms === null ? null : row.ended_at_ms - row.created_at_ms,
    },
    queue: queueOf(row, context),
    metadata: JSON.parse(row.metadata) as Record<string, string>,
    request_id: row.request_id,
    created_at: isoTime(row.created_at_ms),
    started_at: isoTimeOrNull(row.started_at_ms),
    ended_at: isoTimeOrNull(row.ended_at_ms),
    // Nothing is trimmed yet, so nothing expires.
    expires_at: null,
  }
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

const queueOf = (row: JobRow, context: JobContext): JobRecord['queue'] => {
  if (row.status !== 'queued' && row.status !== 'scheduled') return null
  if (row.due_at_ms !== null) {
    return { position: null, waiting_for: 'not_before', limit: null, estimated_start_at: isoTime(row.due_at_ms) }
  }
  const limit = context.books.limiter(row.provider)
  const rules = context.books.setups.get(row.provider)?.rules
  const load = context.books.load(row.provider)
  const admission = rules ? admit(load, rules, context.now) : null
  const waitingFor: WaitingFor = admission && !admission.admitted ? admission.waitingFor : 'order'
  const isFirst = context.ahead === 0
  return {
    position: context.ahead === null ? null : context.ahead + 1,
    waiting_for: waitingFor,
    limit: waitingFor === 'order' ? null : limit,
    estimated_start_at:
      rules && isFirst && waitingFor === 'provider_rate' ? isoTime(nextRequestAt(load, rules, context.now)) : null,
  }
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

export const credentialView = (row: CredentialRow): Credential => ({
  name: row.name,
  provider: row.provider,
  weight: row.weight,
  enabled: row.enabled,
  hint: row.hint,
  created_at: isoTime(row.created_at_ms),
  updated_at: isoTime(row.updated_at_ms),
})
