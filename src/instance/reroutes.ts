import { type Fault, fault } from '../contract/fault.ts'
import { providerIdOf } from '../contract/ids.ts'
import { earliest } from '../core/alarm.ts'
import { LIMITS } from '../limits.ts'
import { alternativesOf } from './alternatives.ts'
import { modelReadyAt, providerReadyAt, roomAt } from './availability.ts'
import type { Desk } from './desk.ts'
import type { JobRow } from './job-rows.ts'
import type { Transitions } from './transitions.ts'

/** How far the queues of a model have been offered, by priority; and when to begin anew. */
type Offered = { passed: Map<number, { tag: number; id: string }>; againAtMs: number | null }

/** Offers jobs that wait for a model that cannot be called to the other models they allow. */
export class Reroutes {
  readonly #desk: Desk
  readonly #transitions: Transitions
  /** Of models that cannot be called. */
  readonly #offered = new Map<string, Offered>()

  constructor(desk: Desk, transitions: Transitions) {
    this.#desk = desk
    this.#transitions = transitions
  }

  /** A transaction was rolled back: what was offered in it was not. */
  reload(): void {
    this.#offered.clear()
  }

  /**
   * Each waiting job once, in bounded steps; those whose other model had no room, again when it has. Returns when to go on, or
   * null.
   */
  offer(provider: string, now: number): number | null {
    const { books } = this.#desk
    const queues = books.queues.ready(provider)
    for (const model of this.#offered.keys())
      if (providerIdOf(model) === provider && !queues.has(model)) this.#offered.delete(model)
    if (queues.size === 0) return null
    const readyAtMs = providerReadyAt(books, provider, now)
    let goOnAtMs: number | null = null
    for (const [model, priorities] of queues) {
      const why = this.#whyLeave(model, readyAtMs, now)
      if (why) goOnAtMs = earliest(goOnAtMs, this.#offerQueue(model, priorities, why, now))
      else this.#offered.delete(model)
    }
    return goOnAtMs
  }

  /** A job came due, into a queue that may have been offered already, perhaps before those that were the last. */
  comeLate(id: string, now: number): void {
    const row = this.#desk.jobs.find(id)
    if (row?.status !== 'queued' || row.due_at_ms !== null) return
    const offered = this.#offered.get(row.model)
    if (!offered) return
    const why = this.#whyLeave(row.model, providerReadyAt(this.#desk.books, row.provider, now), now)
    if (why) this.#offerJob(row, offered, why, now)
  }

  /** Null where the model can be called, or soon enough. Limits let most wait for seconds: that is their order, not an outage. */
  #whyLeave(model: string, providerReadyAtMs: number | null, now: number): Fault | null {
    const provider = providerIdOf(model)
    if (providerReadyAtMs === null || providerReadyAtMs > now + WORTH_WAITING_MS)
      return fault('provider_unavailable', `The provider "${provider}" cannot be called now.`)
    const limitedUntilMs = modelReadyAt(this.#desk.books, model, 1, now)
    return limitedUntilMs !== null && limitedUntilMs > now + LIMITS.limitWorthWaitingMs
      ? fault('provider_rate_limited', `The limits of "${model}" let nothing begin for a while.`)
      : null
  }

  #offerQueue(model: string, priorities: ReadonlyMap<number, number>, why: Fault, now: number): number | null {
    const offered = this.#offered.get(model) ?? { passed: new Map(), againAtMs: null }
    this.#offered.set(model, offered)
    if (offered.againAtMs !== null && offered.againAtMs <= now) {
      offered.passed.clear()
      offered.againAtMs = null
    }
    for (const [priority, waiting] of [...priorities]) {
      const passed = offered.passed.get(priority) ?? null
      const rows = this.#desk.jobs.heads(model, priority, waiting, LIMITS.reroutesPerTurn, passed)
      for (const row of rows) {
        if (!this.#offerJob(row, offered, why, now)) {
          offered.againAtMs = now + WORTH_WAITING_MS
          return offered.againAtMs
        }
        offered.passed.set(priority, { tag: row.tag, id: row.id })
      }
      if (rows.length === LIMITS.reroutesPerTurn) return now
    }
    return offered.againAtMs
  }

  /**
   * False where another model could be called, but not for one more. Only from an outage jobs go to wait elsewhere: between two
   * models with little room they would go back and forth.
   */
  #offerJob(row: JobRow, offered: Offered, why: Fault, now: number): boolean {
    if (row.resume !== null) return true
    const { books } = this.#desk
    const others = alternativesOf(books, row, this.#triedBy(row), now)
    const ready = others.filter(({ readyAtMs }) => readyAtMs <= now)
    const mayWaitThere = why.code === 'provider_unavailable'
    const other = ready.find(({ model }) => mayWaitThere || roomAt(books, model, now) > 0)
    if (other) {
      this.#transitions.apply(row, { type: 'rerouted', model: other.model, fault: why })
      return true
    }
    // No sooner than it is worth looking at all of them again.
    for (const { readyAtMs } of others)
      offered.againAtMs = earliest(offered.againAtMs, Math.max(readyAtMs, now + WORTH_WAITING_MS))
    return ready.length === 0
  }

  /** As after a fault: what the job has fallen back from would fail it again, and may have to be paid again. */
  #triedBy(row: JobRow): Set<string> {
    const attempts = row.attempt > row.round_after ? this.#desk.jobs.attempts(row.id) : []
    return new Set([row.model, ...attempts.filter(({ number }) => number > row.round_after).map(({ model }) => model)])
  }
}

/** A provider that can be called again within this time is waited for. */
const WORTH_WAITING_MS = LIMITS.breakerOpenMs / 2
