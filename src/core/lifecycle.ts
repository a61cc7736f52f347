import type { DurableEvent } from '../contract/event.ts'
import type { Fault } from '../contract/fault.ts'
import type { Status } from '../contract/job.ts'
import { type Alternative, type AttemptFault, countsAsAttempt, decide, type FailedJob } from './outcome.ts'

/**
 * A job's life as a state machine: what it is, what can happen to it, and what then is told. The shell applies the new
 * state and the events in one transaction. Times are ms since the epoch.
 */
export type Job = {
  status: Status
  /** Not before this time: `not_before`, or a retry's turn. Null when it can start at once. */
  dueAtMs: number | null
  /** `provider/model` it runs or will run on. */
  model: string
  /** Attempts begun, and those of them that count against `maxAttempts`. */
  attempt: number
  counted: number
  /** From what the next attempt goes on without calling the provider anew; opaque here. A failed job keeps its last. */
  resume: string | null
  fault: Fault | null
  startedAtMs: number | null
  endedAtMs: number | null
}

export type Policy = Pick<
  FailedJob,
  'maxAttempts' | 'deadlineAtMs' | 'fallback' | 'onContentRejected' | 'onOutcomeUnknown'
>

export type JobEvent =
  | { type: 'due' }
  | { type: 'claimed' }
  | { type: 'done' }
  | {
      type: 'failed'
      fault: Fault
      attempt: AttemptFault
      resume: string | null
      earlier: FailedJob['earlier']
      alternatives: Alternative[]
      jitter: number
    }
  /** Another model takes a waiting job: its own provider cannot be called. */
  | { type: 'rerouted'; model: string; fault: Fault }
  /** A waiting job may not begin before this time. */
  | { type: 'postponed'; dueAtMs: number }
  /** Switchyard itself lets it go no further. */
  | { type: 'refused'; fault: Fault }
  | { type: 'cancel' }
  | { type: 'deadline' }
  /** A failed job runs again, on `model`; `resume` is what it may go on from, or null. */
  | { type: 'replay'; model: string; resume: string | null }

export type Step = { job: Job; emit: { type: DurableEvent; data: { [key: string]: string | number | null } } | null }

/** Which status may follow which: the picture in docs/job-lifecycle.md. */
export const ARROWS: Record<Status, readonly Status[]> = {
  scheduled: ['queued', 'failed', 'canceled'],
  queued: ['running', 'failed', 'canceled'],
  running: ['queued', 'succeeded', 'failed', 'canceled'],
  succeeded: [],
  failed: ['queued'],
  canceled: [],
}

/** The new state and what to tell, or null where the event comes too late or out of turn and changes nothing. */
export const step = (job: Job, policy: Policy, event: JobEvent, now: number): Step | null => {
  switch (event.type) {
    case 'due':
      return job.dueAtMs === null ? null : { job: { ...job, status: 'queued', dueAtMs: null }, emit: null }
    case 'claimed':
      return job.status === 'queued' && job.dueAtMs === null ? claimed(job, now) : null
    case 'done':
      return job.status === 'running' ? ended(job, 'succeeded', null, now) : null
    case 'failed':
      return job.status === 'running' ? afterFault(job, policy, event, now) : null
    case 'rerouted':
      return job.status === 'queued' ? rerouted(job, event.model, event.fault) : null
    case 'postponed':
      return job.status === 'queued' ? { job: { ...job, dueAtMs: event.dueAtMs }, emit: null } : null
    case 'refused':
      return ended(job, 'failed', event.fault, now)
    case 'cancel':
      return ended(job, 'canceled', { code: 'canceled', message: 'The job was canceled.', source: 'switchyard' }, now)
    case 'deadline':
      return ended(
        job,
        'failed',
        { code: 'deadline_exceeded', message: 'The job did not end before its deadline.', source: 'switchyard' },
        now,
        job.resume,
      )
    case 'replay':
      return job.status === 'failed' ? replayed(job, event.model, event.resume) : null
  }
}

const claimed = (job: Job, now: number): Step => ({
  job: { ...job, status: 'running', attempt: job.attempt + 1, startedAtMs: job.startedAtMs ?? now },
  emit: { type: 'job.started', data: { attempt: job.attempt + 1, model: job.model } },
})

const rerouted = (job: Job, model: string, fault: Fault): Step => ({
  job: { ...job, model, resume: null, fault },
  emit: { type: 'job.fallback', data: { code: fault.code, message: fault.message, from: job.model, to: model } },
})

/** Attempts are numbered on, and those that count begin anew. The first start stays: it is the job's. */
const replayed = (job: Job, model: string, resume: string | null): Step => ({
  job: { ...job, status: 'queued', dueAtMs: null, model, counted: 0, resume, fault: null, endedAtMs: null },
  emit: { type: 'job.replayed', data: { model, attempts: job.attempt } },
})

const ended = (
  job: Job,
  status: 'succeeded' | 'failed' | 'canceled',
  fault: Fault | null,
  now: number,
  resume: string | null = null,
): Step | null => {
  if (!ARROWS[job.status].includes(status)) return null
  return {
    job: { ...job, status, fault, dueAtMs: null, resume, endedAtMs: now },
    emit: { type: `job.${status}`, data: fault ? { code: fault.code, message: fault.message } : {} },
  }
}

const afterFault = (
  job: Job,
  policy: Policy,
  event: Extract<JobEvent, { type: 'failed' }>,
  now: number,
): Step | null => {
  const counted = job.counted + (countsAsAttempt(event.attempt) ? 1 : 0)
  const failedJob: FailedJob = { ...policy, attempts: counted, earlier: event.earlier }
  const decision = decide(failedJob, event.attempt, event.alternatives, now, event.jitter)
  if (decision.next === 'fail') return ended({ ...job, counted }, 'failed', event.fault, now, event.resume)
  const falls = decision.next === 'fallback'
  const waiting: Job = {
    ...job,
    counted,
    status: 'queued',
    dueAtMs: decision.dueAtMs > now ? decision.dueAtMs : null,
    model: falls ? decision.model : job.model,
    resume: falls ? null : event.resume,
    fault: event.fault,
  }
  const why = {
    attempt: job.attempt,
    code: event.fault.code,
    message: event.fault.message,
    retry_in_ms: Math.max(0, decision.dueAtMs - now),
  }
  return falls
    ? { job: waiting, emit: { type: 'job.fallback', data: { ...why, from: job.model, to: decision.model } } }
    : { job: waiting, emit: { type: 'job.retrying', data: why } }
}
