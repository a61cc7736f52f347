import { refText } from '../contract/rpc.ts'
import { admit, initialLoad, type Limiter, slotsOf, withinReach } from '../core/admission.ts'
import { earliest } from '../core/alarm.ts'
import { type Breaker, passBreaker } from '../core/breaker.ts'
import { nextClass, serveJob } from '../core/fair-queue.ts'
import { laneWithRoom } from '../core/lanes.ts'
import { LIMITS } from '../limits.ts'
import { pickCredential, pickOwner } from './availability.ts'
import type { CredentialRow } from './credential-store.ts'
import type { Credentials } from './credentials.ts'
import type { Desk } from './desk.ts'
import type { JobRow } from './job-rows.ts'
import { providerCall } from './provider-call.ts'
import type { Transitions } from './transitions.ts'
import { WaitingLines } from './waiting-lines.ts'
import { wishesOf } from './wishes.ts'

/** Waiting jobs read in one query. */
const ROWS_AT_ONCE = 64

/** Jobs looked at in a turn before those that only wait for their own credential step aside. */
const CROWDED = 64

/** Whom a job that cannot start now holds up: nobody else, all jobs of its model, or all of its provider. */
type Started =
  | { started: true }
  | { started: false; holdsUp: 'nobody' | 'model' | 'provider'; untilMs: number | null; hasLeft?: true }

/** Hands out work: for every provider with room, the jobs whose turn it is. Runs inside the caller's transaction. */
export class Dispatcher {
  readonly #desk: Desk
  readonly #transitions: Transitions
  readonly #credentials: Credentials

  constructor(desk: Desk, transitions: Transitions, credentials: Credentials) {
    this.#desk = desk
    this.#transitions = transitions
    this.#credentials = credentials
  }

  /** A job behind which and before which nobody waits at its provider starts without a place in the queue, if it may. */
  startAtOnce(id: string, now: number): void {
    const { books, jobs } = this.#desk
    const row = jobs.find(id)
    if (row?.status !== 'queued' || row.due_at_ms !== null || books.queues.waitingAt(row.provider) !== 1) return
    if (!books.setups.get(row.provider)?.enabled) return
    if (this.#start(row, now).started) serveJob(books.order(row.provider), row.priority, row.project ?? '', row.tag)
  }

  /** Claims until a provider's limits, its queue or the lanes are exhausted; returns when to try again, or null. */
  claim(provider: string, now: number): number | null {
    const { books } = this.#desk
    const setup = books.setups.get(provider)
    if (!setup?.enabled || books.queues.ready(provider).size === 0) return null
    const lines = new WaitingLines(this.#desk, provider, Math.max(1, Math.min(this.#roomOf(provider), ROWS_AT_ONCE)))
    let wakeAt = this.#closeFull(provider, lines, now)
    let moved = false
    for (let looked = 0; looked < LIMITS.claimsPerTurn; looked += 1) {
      // Who ends makes room, and rings for the next turn; until then no row is worth reading.
      if (this.#roomOf(provider) < 1) return wakeAt
      const priority = nextClass(books.order(provider), lines.classes(), now)
      if (priority === null) return wakeAt
      const row = lines.first(priority)
      // Other classes may still have some.
      if (!row) continue
      const outcome = this.#start(row, now, looked >= CROWDED)
      if (outcome.started) {
        moved = true
        serveJob(books.order(provider), row.priority, row.project ?? '', row.tag)
      } else {
        moved ||= outcome.hasLeft ?? false
        wakeAt = earliest(wakeAt, outcome.untilMs)
      }
      const holdsUp = outcome.started ? 'nobody' : outcome.holdsUp
      if (holdsUp === 'provider') return wakeAt
      if (holdsUp === 'model') lines.close(row.model)
      else lines.pass(row)
    }
    // There may be more behind those that were looked at.
    return moved ? now : wakeAt
  }

  /** Models whose own limits let nothing begin are out of this turn; returns when the first may be back, as far as is known. */
  #closeFull(provider: string, lines: WaitingLines, now: number): number | null {
    const { books } = this.#desk
    let wakeAt: number | null = null
    for (const model of books.queues.ready(provider).keys()) {
      const [, ...own] = books.limiters(model)
      if (own.length === 0) continue
      const admission = admit(this.#withinReach(own, now), 0, now)
      if (admission.admitted) continue
      lines.close(model)
      wakeAt = earliest(wakeAt, admission.untilMs)
    }
    return wakeAt
  }

  /** Calls that the provider's concurrency lets begin. */
  #roomOf(provider: string): number {
    const [limiter] = this.#desk.books.limiters(`${provider}/`)
    return limiter ? slotsOf(limiter) - limiter.load.running : 0
  }

  /** `isCrowded`: many were looked at in this turn and stay. */
  #start(row: JobRow, now: number, isCrowded = false): Started {
    const { books, admin, jobs, ambient } = this.#desk
    if (row.foreground === 1 && !this.#desk.isWaitedFor(row.id)) {
      // Whoever waited on the line is gone, with an earlier process of ours.
      this.#transitions.apply(row, { type: 'cancel' })
      return { started: false, holdsUp: 'nobody', untilMs: null, hasLeft: true }
    }
    this.#bringWithinReach(row, now)
    const owner = this.#ownerOf(row)
    const picked = owner ? pickOwner(books, owner, row, now) : pickCredential(books, row, now, ambient.random())
    if (owner && !picked.credential && picked.untilMs !== null && isCrowded) {
      // It steps aside for a while: many of its kind would hide who stands behind them.
      const dueAtMs = Math.min(Math.ceil(picked.untilMs), now + LIMITS.leaseMs)
      const hasLeft = this.#transitions.apply(row, { type: 'postponed', dueAtMs })
      return { started: false, holdsUp: 'nobody', untilMs: dueAtMs, ...(hasLeft ? { hasLeft } : {}) }
    }
    if (!picked.credential) {
      const holdsUp = owner ? 'nobody' : picked.ofModel ? 'model' : 'provider'
      return { started: false, holdsUp, untilMs: picked.untilMs }
    }
    const { credential } = picked
    const breakerName = books.limiter(row.provider)
    const probe = refText({ job: row.id, attempt: row.attempt + 1 })
    const passage = passBreaker(books.breaker(breakerName), now, probe)
    if (!passage.passes) return { started: false, holdsUp: 'provider', untilMs: passage.untilMs }
    const limiters = [...books.limiters(row.model), ...picked.limiters]
    const admission = admit(limiters, row.tokens, now)
    if (!admission.admitted) {
      const holdsUp = admission.limit === breakerName ? 'provider' : 'model'
      return { started: false, holdsUp, untilMs: admission.untilMs }
    }
    const lane = row.foreground === 1 ? null : laneWithRoom(books.lanes)
    if (lane === null && row.foreground === 0) return { started: false, holdsUp: 'provider', untilMs: null }
    // It ends or waits for its budget, and has left the queue.
    if (!this.#transitions.mayStart(row)) return { started: false, holdsUp: 'nobody', untilMs: null, hasLeft: true }
    for (const [i, limiter] of limiters.entries()) {
      const { name, rules } = limiter
      const load = admission.loads[i] ?? initialLoad()
      books.tokenCharges.charge(row.id, limiter, now)
      books.setLoad(name, load)
      // What runs is counted from the jobs; only a rate has something to remember.
      if (rules.rates.length > 0) admin.saveLimiter(name, load)
    }
    this.#probe(breakerName, passage.breaker)
    this.#probeCredential(row.provider, credential, probe, now)
    const limit = this.#desk.accounts.outputLimit(row, now)
    this.#transitions.apply(row, { type: 'claimed' }, limit === null ? {} : { output_limit: limit }, lane)
    jobs.openAttempt(row.id, row.attempt + 1, row.model, credential, this.#reasonOf(row), now)
    books.holdCredential(row.id, { provider: row.provider, model: row.model, credential: credential.name })
    this.#credentials.begun(credential, now)
    if (lane === null) this.#open(row, credential, limit)
    else this.#assign(row, credential, lane, limit)
    return { started: true }
  }

  /** What stands before a call of this job. */
  #bringWithinReach(row: JobRow, now: number): void {
    const { books } = this.#desk
    const { credentials = [], retired = [], standIn = null } = books.setups.get(row.provider) ?? {}
    const own = [...credentials, ...retired, ...(standIn ? [standIn] : [])].flatMap(({ provider, name }) =>
      books.placesOf({ provider, model: row.model, credential: name }),
    )
    this.#withinReach([...books.limiters(row.model), ...own], now)
  }

  /** A clock that was set back must stop no limit for longer than its window. */
  #withinReach(limiters: readonly Limiter[], now: number): Limiter[] {
    return limiters.map((limiter) => {
      const load = withinReach(limiter, now)
      if (load === limiter.load) return limiter
      this.#desk.books.setLoad(limiter.name, load)
      return { ...limiter, load }
    })
  }

  /** What goes on from an earlier attempt belongs to the account of its credential: another knows nothing of it. */
  #ownerOf(row: JobRow): CredentialRow | null {
    if (row.resume === null) return null
    return this.#credentials.findOwner(row.provider, this.#desk.jobs.attempts(row.id).at(-1)?.credential ?? null)
  }

  /** Why this attempt is made, for the job's record. */
  #reasonOf(row: JobRow): string {
    // Only a replay leaves no fault behind attempts.
    if (row.fault === null && row.attempt > 0)
      return row.resume === null ? 'replayed' : 'replayed: stores what was made'
    if (row.fault === null) return wishesOf(row).reason
    const { code } = JSON.parse(row.fault) as { code: string }
    if (row.resume !== null) return `goes on after ${code}`
    const last = this.#desk.jobs.attempts(row.id).at(-1)
    return last?.model === row.model ? `again after ${code}` : `fallback after ${code}`
  }

  /** A breaker that lets one call through remembers it. */
  #probe(name: string, breaker: Breaker): void {
    const { books, admin } = this.#desk
    if (breaker.state === 'closed') return
    books.breakers.set(name, breaker)
    admin.saveBreaker(name, breaker)
  }

  #probeCredential(provider: string, credential: CredentialRow, holder: string, now: number): void {
    const name = this.#desk.books.credentialName(provider, credential.name)
    const passage = passBreaker(this.#desk.books.breaker(name), now, holder)
    if (passage.passes) this.#probe(name, passage.breaker)
  }

  /** Of a job that runs. */
  reopen(row: JobRow, credential: CredentialRow): void {
    const limit = this.#desk.accounts.outputLimit(row, this.#desk.ambient.now())
    this.#open({ ...row, attempt: row.attempt - 1 }, credential, limit)
  }

  #open(row: JobRow, credential: CredentialRow, limit: number | null): void {
    const { books } = this.#desk
    const setup = books.setups.get(row.provider)
    if (!setup) return
    const price = wishesOf(row).prices?.[row.model]
    this.#transitions.open({
      job: row.id,
      attempt: row.attempt + 1,
      model: row.model,
      ...providerCall(books, setup, credential),
      deadlineAtMs: row.deadline_at_ms,
      price: price ? JSON.stringify(price) : null,
      ...(limit === null ? {} : { outputLimit: limit }),
      delayMs: 0,
    })
  }

  #assign(row: JobRow, credential: CredentialRow, lane: number, limit: number | null): void {
    const { books } = this.#desk
    const setup = books.setups.get(row.provider)
    if (!setup) return
    const { prices } = wishesOf(row)
    const webhook = this.#desk.webhookUrl(row.provider, { job: row.id, attempt: row.attempt + 1 })
    this.#transitions.assign(lane, {
      job: row.id,
      attempt: row.attempt + 1,
      type: row.type,
      model: row.model,
      input: row.input,
      ...providerCall(books, setup, credential),
      maxCostMicros: leftOfMaxCost(row),
      ...(prices ? { price: prices[row.model] ?? null } : {}),
      ...(limit === null ? {} : { outputLimit: limit }),
      deadlineAtMs: row.deadline_at_ms,
      resume: row.resume,
      requestId: row.request_id,
      ...(webhook === null ? {} : { webhookUrl: webhook }),
    })
  }
}

/** `max_cost_usd` is of the whole job: what earlier attempts bought, or may have bought, counts. */
const leftOfMaxCost = (row: JobRow): number | null => {
  const { maxCostMicros } = wishesOf(row)
  return maxCostMicros === null ? null : Math.max(0, maxCostMicros - row.spent_micros)
}
