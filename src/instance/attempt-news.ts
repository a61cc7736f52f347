import { type Fault, fault } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import type { AttemptEnd, AttemptRef, RateHints } from '../contract/rpc.ts'
import { tokensByKind, type Usage } from '../contract/usage.ts'
import { chargeTokens, returnTokens } from '../core/admission.ts'
import type { JobEvent } from '../core/lifecycle.ts'
import { writeResume } from '../job/resume.ts'
import { LIMITS } from '../limits.ts'
import { findModel } from '../providers/registry.ts'
import { alternativesOf } from './alternatives.ts'
import { hasRoomBeside, usableCredentials } from './availability.ts'
import type { Credentials } from './credentials.ts'
import type { Desk } from './desk.ts'
import { type AttemptRow, type JobRow, openAttemptOf } from './job-rows.ts'
import { isStandIn } from './stand-in.ts'
import { toldOf } from './told.ts'
import { releaseProbes, type Transitions } from './transitions.ts'
import { attemptCode, Verdicts } from './verdicts.ts'

/**
 * What is heard of attempts, and what follows for their jobs: an end is settled and taken to the lifecycle with all that it
 * needs to know, and so is one that nobody will hear of any more. Every method runs inside the caller's transaction.
 */
export class AttemptNews {
  readonly #desk: Desk
  readonly #transitions: Transitions
  readonly #credentials: Credentials
  readonly #verdicts: Verdicts

  constructor(desk: Desk, transitions: Transitions, credentials: Credentials) {
    this.#desk = desk
    this.#transitions = transitions
    this.#credentials = credentials
    this.#verdicts = new Verdicts(desk, credentials)
  }

  /** What a provider's rate headers said while an attempt goes on. */
  heed(job: string, rates: RateHints): void {
    const row = this.#desk.jobs.findRunning(job)
    if (row) this.#verdicts.heed(row, openAttemptOf(row)?.credential ?? null, rates)
  }

  /** Whether that changes anything: nearly always it does not, and costs no transaction. */
  isNews(row: JobRow, rates: RateHints): boolean {
    return this.#verdicts.isNews(row, openAttemptOf(row)?.credential ?? null, rates)
  }

  /** An attempt ended. Late news, of an attempt that is no longer the job's, changes nothing. */
  end(ref: AttemptRef, end: AttemptEnd): void {
    const { jobs } = this.#desk
    const row = jobs.findReadable(ref.job)
    if (row?.status !== 'running' || row.attempt !== ref.attempt) return
    this.#close(row, this.#learn(row, end), end)
  }

  /** An attempt on the line ended. A client that has left is no failure: the job is canceled, and what was made is booked. */
  endOnLine(ref: AttemptRef, end: AttemptEnd, abandoned: boolean): void {
    const { jobs } = this.#desk
    const row = jobs.findReadable(ref.job)
    if (!row) return
    if (!abandoned) {
      this.end(ref, end)
      return
    }
    const abandonedEnd = { ...end, fault: LEFT }
    this.#settle(row, this.#learn(row, abandonedEnd), abandonedEnd)
    this.#transitions.apply(jobs.find(row.id) ?? row, { type: 'cancel' }, {}, null, end.costMicros, end.presumedMicros)
  }

  /**
   * The lane of a running attempt knows nothing of it. One that has lived since before the attempt began was never given
   * it, so nothing was sent; otherwise nobody can say whether the provider was called.
   */
  lose(ref: AttemptRef, laneBornAtMs: number): void {
    const { jobs } = this.#desk
    const row = jobs.findReadable(ref.job)
    if (row?.status !== 'running' || row.attempt !== ref.attempt) return
    const attempts = jobs.attempts(row.id)
    const startedAtMs = attempts.at(-1)?.started_at_ms ?? 0
    releaseProbes(this.#desk, row)
    const isUndelivered = laneBornAtMs + LIMITS.clockSkewMs < startedAtMs
    const end = isUndelivered ? UNDELIVERED : UNHEARD
    this.#close(row, attempts, { ...end, resume: row.resume ?? (isUndelivered ? null : this.#reconciling(row)) })
  }

  /** A Worker was silent for a lease: nobody can say what became of its attempt. */
  loseOnLine(job: string): void {
    const row = this.#desk.jobs.findReadable(job)
    if (row?.status !== 'running') return
    const attempts = this.#desk.jobs.attempts(row.id)
    releaseProbes(this.#desk, row)
    this.#close(row, attempts, { ...UNHEARD, final: true })
  }

  /** What an end says of its provider and its limits is learned while the job still counts as running. Answers its attempts. */
  #learn(row: JobRow, end: AttemptEnd): AttemptRow[] {
    const attempts = this.#desk.jobs.attempts(row.id)
    const last = attempts.at(-1) ?? null
    if (end.usage) this.#correctTokens(row, last?.credential ?? null, end.usage)
    this.#verdicts.learn(row, end, last)
    return attempts
  }

  /** Limits in tokens were charged with what was expected: now with what it was. */
  #correctTokens(row: JobRow, credential: string | null, usage: Usage): void {
    const { books, admin, ambient } = this.#desk
    const surplus = usage.inputTokens + usage.outputTokens - row.tokens
    const own = credential === null ? [] : books.placesOf({ provider: row.provider, model: row.model, credential })
    for (const limiter of [...books.limiters(row.model), ...own]) {
      const load =
        surplus < 0
          ? returnTokens(limiter.load, books.tokenCharges.giveBack(row.id, limiter.name, -surplus))
          : chargeTokens(limiter, surplus, ambient.now())
      if (load === limiter.load) continue
      books.setLoad(limiter.name, load)
      admin.saveLimiter(limiter.name, load)
    }
  }

  #close(row: JobRow, open: AttemptRow[], end: AttemptEnd): void {
    const { attempts, costMicros } = this.#settle(row, open, end)
    const event: JobEvent = end.fault ? this.#failed(row, attempts, end.fault, end) : { type: 'done' }
    const data = end.fault ? {} : { cost_usd: costMicros === null ? null : microsToUsd(costMicros), ...toldOf(end) }
    this.#transitions.apply(row, event, data, null, end.costMicros, end.presumedMicros)
  }

  /** Writes what an attempt came to. Answers the job's attempts with it, and what they cost together. */
  #settle(row: JobRow, open: AttemptRow[], end: AttemptEnd): { attempts: AttemptRow[]; costMicros: number | null } {
    const { jobs, ambient } = this.#desk
    const outcome = end.fault ? attemptCode(end.fault) : 'done'
    const closed = {
      at: ambient.now(),
      outcome,
      providerRequestId: end.providerRequestId,
      costMicros: end.costMicros,
      fault: end.fault,
    } as const
    jobs.closeAttempt(row.id, row.attempt, closed)
    const tokens = end.usage ? tokensByKind(end.usage) : {}
    this.#desk.usage.attemptEnded(row, { ...end, outcome, tokens })
    const attempts: AttemptRow[] = open.map((item) =>
      item.number === row.attempt ? { ...item, ended_at_ms: closed.at, outcome, cost_micros: end.costMicros } : item,
    )
    if (outcome === 'provider_rate_limited') this.#thin(row, attempts)
    const costMicros = sumOf(attempts)
    jobs.saveResult(row.id, {
      output: end.output ? JSON.stringify(end.output) : null,
      costMicros,
      providerMs: end.providerMs,
      storeMs: end.storeMs,
    })
    if (end.usage) jobs.saveUsage(row.id, end.usage)
    return { attempts, costMicros }
  }

  /**
   * A job may wait for days before a provider that says "too fast" again and again: of such attempts at a model the first
   * and the latest are kept. They bought nothing, and their number goes on.
   */
  #thin(row: JobRow, attempts: AttemptRow[]): void {
    const alike = attempts.filter(
      (item) => item.model === row.model && item.outcome === 'provider_rate_limited' && item.cost_micros === 0,
    )
    for (const { number } of alike.slice(1, 1 - LIMITS.rateLimitedAttemptsKept))
      this.#desk.jobs.forgetAttempt(row.id, number)
  }

  #failed(row: JobRow, attempts: AttemptRow[], problem: Fault, { resume, final }: AttemptEnd): JobEvent {
    const { books, ambient } = this.#desk
    const model = findModel(row.model)
    const code = attemptCode(problem)
    const now = ambient.now()
    const last = attempts.find((item) => item.number === row.attempt)
    const own = this.#credentials.find(row.provider, last?.credential ?? null)
    // What was tried before a replay is tried anew.
    const round = attempts.filter((item) => item.number > row.round_after)
    return {
      type: 'failed',
      fault: problem,
      attempt: {
        code,
        retryAfterMs: problem.retryAfterMs,
        idempotent: model?.card.idempotent ?? false,
        resumable: resume !== null,
        // What stands for a credential is no other one.
        otherCredential: usableCredentials(books, row.provider, now).usable.some((item) => !isStandIn(item)),
        secretReplaced: own?.enabled === true && last !== undefined && last.secret < own.secret,
        // What goes on from a checkpoint belongs to its own account.
        roomElsewhere: resume === null && own !== null && hasRoomBeside(books, own, row, now),
        final: final ?? false,
      },
      resume,
      earlier: round
        .filter((item) => item.model === row.model && item.number < row.attempt)
        .flatMap((item) => (item.outcome && item.outcome !== 'done' ? [item.outcome] : [])),
      alternatives: alternativesOf(books, row, new Set(round.map((item) => item.model)), now),
      jitter: ambient.random(),
    }
  }

  /** An adapter that can find a lost create is asked before anyone says that nothing is known. */
  #reconciling(row: JobRow): string | null {
    const found = findModel(row.model)
    if (!found?.provider.reconcile || row.started_at_ms === null) return null
    const last = this.#desk.jobs.attempts(row.id).at(-1)
    if (!last) return null
    const account = this.#desk.books.credentialName(row.provider, last.credential)
    return writeResume({ stage: 'reconcile', sinceMs: last.started_at_ms, attempt: row.attempt, tries: 0, account })
  }
}

const LEFT = fault('canceled', 'The client left before the answer was whole.')

const UNHEARD: AttemptEnd = {
  output: null,
  fault: fault('outcome_unknown', 'The process that ran the attempt ended before it could say what became of it.'),
  costMicros: null,
  providerRequestId: null,
  providerMs: 0,
  storeMs: 0,
  resume: null,
}

const UNDELIVERED: AttemptEnd = {
  ...UNHEARD,
  fault: fault('provider_unavailable', 'The attempt never reached the process that should have run it.'),
  costMicros: 0,
}

/** Sum over the attempts; unknown as soon as one is, and zero only where nothing was bought. */
const sumOf = (attempts: AttemptRow[]): number | null =>
  attempts
    .filter((item) => item.ended_at_ms !== null)
    .reduce<number | null>(
      (sum, item) => (sum === null || item.cost_micros === null ? null : sum + item.cost_micros),
      0,
    )
