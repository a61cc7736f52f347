import { fault } from '../contract/fault.ts'
import { earliest } from '../core/alarm.ts'
import { LIMITS } from '../limits.ts'
import { alternativesOf } from './alternatives.ts'
import { providerReadyAt } from './availability.ts'
import type { Desk } from './desk.ts'
import type { JobRow } from './job-rows.ts'
import type { Transitions } from './transitions.ts'

/** How far the queues of a provider have been offered, by model and priority; and when to begin anew. */
type Offered = { passed: Map<string, { tag: number; id: string }>; againAtMs: number | null }

/** Offers jobs that wait for a provider that cannot be called to the other models they allow. */
export class Reroutes {
  readonly #desk: Desk
  readonly #transitions: Transitions
  /** Of providers that cannot be called. */
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
    const { books, jobs } = this.#desk
    const queues = books.queues.ready(provider)
    const readyAtMs = queues.size === 0 ? now : providerReadyAt(books, provider, now)
    if (readyAtMs !== null && readyAtMs <= now + WORTH_WAITING_MS) {
      this.#offered.delete(provider)
      return null
    }
    const offered = this.#offered.get(provider) ?? { passed: new Map(), againAtMs: null }
    this.#offered.set(provider, offered)
    if (offered.againAtMs !== null && offered.againAtMs <= now) {
      offered.passed.clear()
      offered.againAtMs = null
    }
    for (const [model, priorities] of queues) {
      for (const [priority, waiting] of [...priorities]) {
        const key = `${model} ${priority}`
        const rows = jobs.heads(model, priority, waiting, LIMITS.reroutesPerTurn, offered.passed.get(key) ?? null)
        for (const row of rows) this.#offerJob(row, offered, now)
        const last = rows.at(-1)
        if (last) offered.passed.set(key, { tag: last.tag, id: last.id })
        if (rows.length === LIMITS.reroutesPerTurn) return now
      }
    }
    return offered.againAtMs
  }

  /** A job came due, into a queue that may have been offered already, perhaps before those that were the last. */
  comeLate(id: string, now: number): void {
    const row = this.#desk.jobs.find(id)
    if (row?.status !== 'queued' || row.due_at_ms !== null) return
    const offered = this.#offered.get(row.provider)
    if (offered) this.#offerJob(row, offered, now)
  }

  #offerJob(row: JobRow, offered: Offered, now: number): void {
    if (row.resume !== null) return
    const others = alternativesOf(this.#desk.books, row, this.#triedBy(row), now)
    const other = others.find(({ readyAtMs }) => readyAtMs <= now)
    if (!other) {
      // No sooner than it is worth looking at all of them again.
      for (const { readyAtMs } of others)
        offered.againAtMs = earliest(offered.againAtMs, Math.max(readyAtMs, now + WORTH_WAITING_MS))
      return
    }
    const why = fault('provider_unavailable', `The provider "${row.provider}" cannot be called now.`)
    this.#transitions.apply(row, { type: 'rerouted', model: other.model, fault: why })
  }

  /** As after a fault: what the job has fallen back from would fail it again, and may have to be paid again. */
  #triedBy(row: JobRow): Set<string> {
    const attempts = row.attempt > row.round_after ? this.#desk.jobs.attempts(row.id) : []
    return new Set([row.model, ...attempts.filter(({ number }) => number > row.round_after).map(({ model }) => model)])
  }
}

/** A provider that can be called again within this time is waited for. */
const WORTH_WAITING_MS = LIMITS.breakerOpenMs / 2
