import { type Fault, fault } from '../contract/fault.ts'
import type { ImageInput } from '../contract/image.ts'
import type { AttemptEnd, AttemptRef, RateHint } from '../contract/rpc.ts'
import { tokensByKind, type Usage } from '../contract/usage.ts'
import { chargeTokens, returnTokens } from '../core/admission.ts'
import { earliest } from '../core/alarm.ts'
import { rankCandidates } from '../core/choice.ts'
import { setBackMs } from '../core/clock.ts'
import { projectOf } from '../core/ledger.ts'
import type { JobEvent } from '../core/lifecycle.ts'
import type { Alternative } from '../core/outcome.ts'
import { writeResume } from '../job/resume.ts'
import { LIMITS } from '../limits.ts'
import { findModel } from '../providers/registry.ts'
import { candidatesFor, hasRoomBeside, usableCredentials } from './availability.ts'
import { Credentials } from './credentials.ts'
import type { Desk } from './desk.ts'
import { Dispatcher } from './dispatcher.ts'
import type { AttemptRow, JobRow, MoneyOfRow, NewJob } from './job-rows.ts'
import { logUnreadable } from './log.ts'
import { Reroutes } from './reroutes.ts'
import { isStandIn } from './stand-in.ts'
import { textCandidatesOf } from './text-candidates.ts'
import { toldOf } from './told.ts'
import { type Effects, releaseProbes, Transitions } from './transitions.ts'
import { attemptCode, Verdicts } from './verdicts.ts'
import { wishesOf } from './wishes.ts'

/**
 * Decides what runs next and what follows what, with the pure core. Every method runs inside the caller's transaction;
 * what it asks the world to do is handed over after the commit.
 */
export class Scheduler {
  readonly #desk: Desk
  readonly #transitions: Transitions
  readonly #dispatcher: Dispatcher
  readonly #verdicts: Verdicts
  readonly credentials: Credentials
  readonly #reroutes: Reroutes
  /** When the last turn was. */
  #latestMs = 0

  constructor(desk: Desk) {
    this.#desk = desk
    this.#transitions = new Transitions(desk)
    this.credentials = new Credentials(desk, (type, data, requestId) =>
      this.#transitions.announce(type, data, requestId),
    )
    this.#dispatcher = new Dispatcher(desk, this.#transitions, this.credentials)
    this.#verdicts = new Verdicts(desk, this.credentials)
    this.#reroutes = new Reroutes(desk, this.#transitions, (row, now) =>
      this.#alternatives(row, new Set([row.model]), now),
    )
  }

  /** A transaction was rolled back: what was offered in it was not. */
  reload(): void {
    this.#reroutes.reload()
  }

  takeEffects(): Effects {
    return this.#transitions.takeEffects()
  }

  submit(job: NewJob, money: MoneyOfRow): void {
    this.#transitions.insert(job, money)
    this.#dispatcher.startAtOnce(job.id, this.#desk.ambient.now())
  }

  /** False where the job had already ended. */
  cancel(row: JobRow): boolean {
    return this.#transitions.apply(row, { type: 'cancel' })
  }

  /** A failed job runs again, from the back of the queue. False where it is not a failed one. */
  replay(row: JobRow, model: string, resume: string | null): boolean {
    return this.#transitions.apply(row, { type: 'replay', model, resume }, { replay: row.replays + 1 })
  }

  /** An attempt ended. Late news, of an attempt that is no longer the job's, changes nothing. */
  end(ref: AttemptRef, end: AttemptEnd): void {
    const { jobs } = this.#desk
    const row = jobs.findReadable(ref.job)
    if (row?.status !== 'running' || row.attempt !== ref.attempt) return
    if (end.usage) this.#correctTokens(row, end.usage)
    const attempts = jobs.attempts(row.id)
    this.#verdicts.learn(row, end, attempts.at(-1) ?? null)
    this.#close(row, attempts, end)
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
    if (end.usage) this.#correctTokens(row, end.usage)
    const attempts = jobs.attempts(row.id)
    this.#verdicts.learn(row, { ...end, fault: LEFT }, attempts.at(-1) ?? null)
    this.#settle(row, attempts, { ...end, fault: LEFT })
    this.#transitions.apply(jobs.find(row.id) ?? row, { type: 'cancel' }, {}, null, end.costMicros)
  }

  /** Hands out once more the attempt on the line that runs: whoever was to drive it never heard of it. */
  reopen(job: string): void {
    const row = this.#desk.jobs.findRunning(job)
    const last = this.#desk.jobs.attempts(job).at(-1)
    const credential = row && last ? this.credentials.findOwner(row.provider, last.credential) : null
    if (row && credential) this.#dispatcher.reopen(row, credential)
  }

  /** A Worker was silent for a lease: nobody can say what became of its attempt. */
  loseOnLine(job: string): void {
    const row = this.#desk.jobs.findReadable(job)
    if (row?.status !== 'running') return
    const attempts = this.#desk.jobs.attempts(row.id)
    releaseProbes(this.#desk, row)
    this.#close(row, attempts, { ...UNHEARD, final: true })
  }

  /** Limits in tokens were charged with what was expected: now with what it was. */
  #correctTokens(row: JobRow, usage: Usage): void {
    const { books, admin, ambient, jobs } = this.#desk
    const surplus = usage.inputTokens + usage.outputTokens - row.tokens
    const credential = jobs.attempts(row.id).at(-1)?.credential ?? null
    const own = credential === null ? [] : [books.credentialLimiter(row.provider, credential)]
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
    const problem = isUndelivered
      ? fault('provider_unavailable', 'The attempt never reached the process that should have run it.')
      : fault('outcome_unknown', 'The process that ran the attempt ended before it could say what became of it.')
    this.#close(row, attempts, {
      output: null,
      fault: problem,
      costMicros: isUndelivered ? 0 : null,
      providerRequestId: null,
      providerMs: 0,
      storeMs: 0,
      resume: row.resume ?? (isUndelivered ? null : this.#reconciling(row)),
    })
  }

  /** What a provider's rate headers said while an attempt goes on. */
  rateHint(job: string, rate: RateHint): void {
    const row = this.#desk.jobs.find(job)
    if (row) this.#verdicts.hint(row.provider, this.#desk.jobs.attempts(job).at(-1)?.credential ?? null, rate)
  }

  /**
   * One turn: what is due comes back, what is past its deadline ends, jobs of a failed provider are offered to others, and
   * every provider with room gets the jobs whose turn it is. Returns when the actor must wake again, or null.
   */
  turn(): number | null {
    const { jobs, books, accounts, ambient } = this.#desk
    const now = ambient.now()
    const backMs = setBackMs(this.#latestMs, now)
    if (backMs > 0) jobs.setBack(backMs)
    this.#latestMs = now
    const due = jobs.due(now)
    for (const row of due) this.#transitions.apply(row, { type: 'due' })
    for (const row of jobs.overdue(now)) this.#transitions.apply(row, { type: 'deadline' })
    let wakeAt = earliest(accounts.lines.wake(accounts, jobs, this.#transitions, now), this.credentials.turn(now))
    for (const { id } of due) this.#reroutes.comeLate(id, now)
    for (const provider of books.setups.keys()) wakeAt = earliest(wakeAt, this.#reroutes.offer(provider, now))
    for (const provider of books.setups.keys()) wakeAt = earliest(wakeAt, this.#dispatcher.claim(provider, now))
    // Asked last: who was to begin may have been put off.
    wakeAt = earliest(wakeAt, accounts.lines.nextWindow(accounts, now), jobs.nextDue(), jobs.nextDeadline())
    jobs.careful = false
    for (const { scope, data } of accounts.flush()) {
      this.#transitions.announce('budget.alert', data, '', projectOf(scope))
    }
    this.#desk.usage.flush()
    return this.#setAside(now) ? now : wakeAt
  }

  /** Rows that this turn could not read leave its way; the books, in which they stood, are made anew. True where one did. */
  #setAside(now: number): boolean {
    const { instance, jobs, events, admin, books, accounts } = this.#desk
    let changed = false
    for (const { id, columns, isNew } of jobs.unreadable.take()) {
      if (isNew) logUnreadable(instance, id, columns)
      const aside = jobs.setAside(id, UNREADABLE, now)
      if (aside !== null && aside !== 'put off') this.#transitions.ended(aside, UNREADABLE)
      changed ||= aside !== null
    }
    if (!changed) return false
    // What this transaction has done so far is written before the mirrors are made anew from what is written.
    jobs.flush()
    events.flush()
    books.reload(jobs, events, admin)
    accounts.reload()
    return true
  }

  #close(row: JobRow, open: AttemptRow[], end: AttemptEnd): void {
    const { attempts, costMicros } = this.#settle(row, open, end)
    const event: JobEvent = end.fault ? this.#failed(row, attempts, end.fault, end) : { type: 'done' }
    const data = end.fault ? {} : { cost_usd: usd(costMicros), ...toldOf(end) }
    this.#transitions.apply(row, event, data, null, end.costMicros)
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

  /** An adapter that can find a lost create is asked before anyone says that nothing is known. */
  #reconciling(row: JobRow): string | null {
    const found = findModel(row.model)
    if (!found?.provider.reconcile || row.started_at_ms === null) return null
    const last = this.#desk.jobs.attempts(row.id).at(-1)
    if (!last) return null
    const account = this.#desk.books.credentialName(row.provider, last.credential)
    return writeResume({ stage: 'reconcile', sinceMs: last.started_at_ms, attempt: row.attempt, tries: 0, account })
  }

  #failed(row: JobRow, attempts: AttemptRow[], problem: Fault, { resume, final }: AttemptEnd): JobEvent {
    const { books, ambient } = this.#desk
    const model = findModel(row.model)
    const code = attemptCode(problem)
    const now = ambient.now()
    const last = attempts.find((item) => item.number === row.attempt)
    const own = this.credentials.find(row.provider, last?.credential ?? null)
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
        roomElsewhere: resume === null && own !== null && hasRoomBeside(books, own, row.tokens, now),
        final: final ?? false,
      },
      resume,
      earlier: round
        .filter((item) => item.model === row.model && item.number < row.attempt)
        .flatMap((item) => (item.outcome && item.outcome !== 'done' ? [item.outcome] : [])),
      alternatives: this.#alternatives(row, new Set(round.map((item) => item.model)), now),
      jitter: ambient.random(),
    }
  }

  #alternatives(row: JobRow, tried: ReadonlySet<string>, now: number): Alternative[] {
    const { models, prefer, fallback, prices } = wishesOf(row)
    if (!fallback) return []
    const untried = models.filter((name) => !tried.has(name))
    if (untried.length === 0) return []
    const { books } = this.#desk
    const candidates =
      row.type === 'image.generate@1'
        ? candidatesFor(books, untried, JSON.parse(row.input) as ImageInput, row.tokens, now).candidates
        : textCandidatesOf(books, row, untried, prices, now)
    return rankCandidates(candidates, prefer, now).flatMap(({ model, readyAtMs }) =>
      readyAtMs === null ? [] : [{ model, readyAtMs }],
    )
  }
}

/** Honest for a job that ran as for one that never did: its record is all that is known of it. */
const UNREADABLE = fault('outcome_unknown', 'The record of the job cannot be read: what became of it is not known.')

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

const usd = (micros: number | null): number | null => (micros === null ? null : micros / 1_000_000)

/** Sum over the attempts; unknown as soon as one is, and zero only where nothing was bought. */
const sumOf = (attempts: AttemptRow[]): number | null =>
  attempts
    .filter((item) => item.ended_at_ms !== null)
    .reduce<number | null>(
      (sum, item) => (sum === null || item.cost_micros === null ? null : sum + item.cost_micros),
      0,
    )
