import { type Fault, ok, type Result } from '../contract/fault.ts'
import type { CallEnd, CallNext, OpenCall } from '../contract/foreground-rpc.ts'
import { providerIdOf } from '../contract/ids.ts'
import { isFinal } from '../contract/job.ts'
import type { PriceSnapshot } from '../contract/price.ts'
import type { AttemptEnd, AttemptRef } from '../contract/rpc.ts'
import type { Usage } from '../contract/usage.ts'
import type { ModelHold } from '../core/call-bound.ts'
import { callCostMicros, presumedCallMicros } from '../core/call-cost.ts'
import { type Candidate, rankCandidates, reasonOf } from '../core/choice.ts'
import { FAULT_TABLE } from '../core/outcome.ts'
import { LIMITS } from '../limits.ts'
import { type Principal, projectFor } from './access.ts'
import { systemAmbient } from './ambient.ts'
import { modelReadyAt, textCandidate } from './availability.ts'
import { noProvider } from './chosen.ts'
import { queueFull } from './intake.ts'
import type { JobRow, NewJob, Wishes } from './job-rows.ts'
import type { Parts } from './parts.ts'
import { textPriceOf } from './pricing.ts'
import { queueBound } from './reader.ts'
import { holdOf } from './text-candidates.ts'
import { attemptCode } from './verdicts.ts'
import { wishesOf } from './wishes.ts'

/** Calls on the line as jobs: taken in, ended, given up. Every function runs in a transaction. */

/** Takes a call in under the admission of a submit. It begins at once where it may, or has a place in the queue. */
export const takeCall = (
  parts: Parts,
  principal: Principal,
  requestId: string,
  id: string,
  call: OpenCall,
): Result<null> => {
  const now = systemAmbient.now()
  const project = projectFor(principal, call.project)
  if (!project.ok) return project
  if (parts.books.waiting() >= queueBound(parts)) return queueFull()
  const planned = planCall(parts, call, { id, requestId, project: project.value, now })
  if (!planned.ok) return planned
  const job = planned.value
  // A job waits for its budget for days; a client on the line does not.
  const money = parts.accounts.admit(job, principal.project !== null, now, false)
  if (!money.ok) return money
  parts.scheduler.submit(job, money.value)
  return ok(null)
}

type Origin = { id: string; requestId: string; project: string | null; now: number }

const planCall = (parts: Parts, call: OpenCall, origin: Origin): Result<NewJob> => {
  const { books } = parts
  const { now } = origin
  const prices: Record<string, PriceSnapshot> = {}
  const holds: Record<string, ModelHold> = {}
  const candidates = call.candidates.map(({ model, expected, bound }): Candidate => {
    const priced = textPriceOf(books, model, expected, now)
    if (priced) prices[model] = priced
    const hold = priced && holdOf(priced, bound)
    if (hold) holds[model] = hold
    return textCandidate(
      books,
      model,
      expected.inputTokens + expected.outputTokens,
      priced?.estimated_micros ?? null,
      now,
    )
  })
  const ranked = rankCandidates(candidates, call.prefer, now)
  const [best] = ranked
  if (!best || best.readyAtMs === null) return noProvider(best?.model ?? '')
  const expected = call.candidates.find(({ model }) => model === best.model)?.expected
  const wishes: Wishes = {
    models: ranked.map(({ model }) => model),
    reason: reasonOf(call.prefer, best.model === call.candidates[0]?.model),
    skipped: call.skipped,
    prices,
    holds,
    fallback: call.fallback,
    maxAttempts: LIMITS.attemptsDefault,
    onContentRejected: 'fail',
    onOutcomeUnknown: 'fail',
    maxCostMicros: call.maxCostMicros,
    prefer: call.prefer,
    deadlineMs: call.deadlineS * 1000,
  }
  return ok({
    id: origin.id,
    status: 'queued',
    due_at_ms: null,
    provider: providerIdOf(best.model),
    model: best.model,
    tag: 0,
    queued_at_ms: now,
    tokens: (expected?.inputTokens ?? 0) + (expected?.outputTokens ?? 0),
    deadline_at_ms: now + call.deadlineS * 1000,
    created_at_ms: now,
    type: call.type,
    project: origin.project,
    priority: LIMITS.priorityDefault,
    request_id: origin.requestId,
    // What was asked and answered passes the Worker only.
    input: 'null',
    wishes: JSON.stringify(wishes),
    metadata: JSON.stringify(call.metadata),
    foreground: 1,
  })
}

/** Books what an attempt on the line came to. Repeats and latecomers change nothing. */
export const endCall = (parts: Parts, ref: AttemptRef, end: CallEnd): void => {
  const row = parts.jobs.findReadable(ref.job)
  if (row?.status !== 'running' || row.attempt !== ref.attempt || row.foreground === 0) return
  parts.scheduler.attempts.endOnLine(ref, attemptEndOf(row, end), end.abandoned)
}

/** What the caller is told of a job whose attempt has ended; null while it waits for its next attempt. */
export const callEnded = (parts: Parts, job: string): CallNext | null => {
  const row = parts.jobs.findReadable(job)
  if (row && !isFinal(row.status)) return null
  const fault = row?.fault ? (JSON.parse(row.fault) as Fault) : null
  return { next: 'end', fault, costMicros: row?.cost_micros ?? null }
}

/** Its turn did not come while its caller waited. */
export const giveUpCall = (parts: Parts, job: string): void => {
  const row = parts.jobs.findReadable(job)
  if (row && !isFinal(row.status)) parts.scheduler.cancel(row)
}

/** When one of the models could be called, as far as limits go. */
export const retryAfterOf = (parts: Parts, call: OpenCall, now: number): number => {
  const times = call.candidates.flatMap(({ model, expected }) => {
    const readyAtMs = modelReadyAt(parts.books, model, expected.inputTokens + expected.outputTokens, now)
    return readyAtMs === null ? [] : [readyAtMs]
  })
  return Math.max(1_000, Math.min(...times, now + LIMITS.retryAfterMaxMs) - now)
}

const attemptEndOf = (row: JobRow, end: CallEnd): AttemptEnd => {
  const price = wishesOf(row).prices?.[row.model] ?? null
  const costMicros = costOf(end, price)
  const presumed = costMicros === null && end.usage ? presumedCallMicros(price, end.usage, end.serviceTier) : null
  return {
    output: null,
    fault: end.fault,
    costMicros,
    ...(presumed === null ? {} : { presumedMicros: presumed }),
    providerRequestId: end.providerRequestId,
    providerMs: end.providerMs,
    storeMs: 0,
    resume: null,
    final: end.delivered || end.abandoned,
    rates: end.rate,
    ...(end.usage ? { usage: end.usage } : {}),
  }
}

/** By the same rules as the Worker counts for the client. A failure that used nothing has bought nothing, whatever the price of a call. */
const costOf = (end: CallEnd, price: PriceSnapshot | null): number | null => {
  if (end.cached || (end.usage && end.fault && isNothing(end.usage))) return 0
  if (end.usage) return callCostMicros(price, end.usage, end.serviceTier)
  return end.fault && FAULT_TABLE[attemptCode(end.fault)].bought === 'nothing' ? 0 : null
}

const isNothing = ({ inputTokens, outputTokens }: Usage): boolean => inputTokens + outputTokens === 0
