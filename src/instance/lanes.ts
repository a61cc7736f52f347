import type { Assignment, AttemptRef, CredentialSecret } from '../contract/rpc.ts'
import { refText } from '../contract/rpc.ts'
import type { LaneRpc } from '../job/lane-rpc.ts'
import { LIMITS } from '../limits.ts'

/** An attempt in a lane, and when it began, in ms since the epoch. */
export type RunningAttempt = AttemptRef & { startedAtMs: number }

/**
 * The Instance's side of its lanes. A lane's lease is kept here, in memory: what is durable is which lane a job runs in.
 * After a restart every lease has run out, so every lane with work is asked at once what became of it.
 */
export class Lanes {
  readonly #lane: (number: number) => LaneRpc
  /** When each lane was last heard of, in ms since the epoch. */
  readonly #heardAt = new Map<number, number>()
  /** Attempts on their way to a lane: it cannot know them yet. */
  readonly #underway = new Set<string>()
  readonly #asking = new Set<number>()
  /** Lanes to ask after attempts begun before a process was, the Instance's or the lane's own; and when to ask. */
  readonly #unasked: Map<number, { atMs: number; beganBeforeMs: number }>
  /** Since when each lane's process lives. */
  readonly #bornAt = new Map<number, number>()

  /** `inherited`: lanes in which an earlier process of the Instance left attempts running. */
  constructor(lane: (number: number) => LaneRpc, inherited: readonly number[], now: number) {
    this.#lane = lane
    this.#unasked = new Map(inherited.map((number) => [number, { atMs: 0, beganBeforeMs: now }]))
  }

  heard(lane: number, now: number): void {
    this.#heardAt.set(lane, now)
  }

  /** A lane that reports from a new process may have lost what the earlier one drove. */
  reported(lane: number, now: number, bornAtMs: number): void {
    this.heard(lane, now)
    const before = this.#bornAt.get(lane)
    this.#bornAt.set(lane, bornAtMs)
    if (before !== undefined && before !== bornAtMs) this.#unasked.set(lane, { atMs: 0, beganBeforeMs: bornAtMs })
  }

  /** Hands out work. A lane that cannot be reached loses its lease, so that it is asked soon. */
  async assign(lane: number, assignments: Assignment[], now: number): Promise<void> {
    const refs = assignments.map(refText)
    for (const ref of refs) this.#underway.add(ref)
    this.heard(lane, now)
    try {
      await this.#lane(lane).assign(assignments)
    } catch {
      this.#heardAt.delete(lane)
    } finally {
      for (const ref of refs) this.#underway.delete(ref)
    }
  }

  async stop(lane: number, refs: AttemptRef[]): Promise<void> {
    // A lane that cannot be reached has stopped already, or is told in the answer to its next report.
    await this.#lane(lane)
      .stop(refs)
      .catch(() => undefined)
  }

  /** The provider has news of an attempt. One that cannot be told of it polls all the same. */
  async poke(lane: number, attempt: AttemptRef): Promise<void> {
    await this.#lane(lane)
      .poke(attempt)
      .catch(() => undefined)
  }

  /** Tells a lane how secrets are sealed now; how many attempts it still holds with seals of other keys, null: not told. */
  async renew(lane: number, secrets: CredentialSecret[], keyId: string): Promise<number | null> {
    return this.#lane(lane)
      .renew(secrets, keyId)
      .catch(() => null)
  }

  /** When the first lease of a lane with work runs out, or null. */
  nextExpiry(loads: readonly number[]): number | null {
    let next: number | null = null
    loads.forEach((load, lane) => {
      if (load === 0 || this.#asking.has(lane)) return
      const expiry = this.#expiryOf(lane)
      next = next === null ? expiry : Math.min(next, expiry)
    })
    return next
  }

  /** Lanes with work that were not heard of for a lease. */
  silent(loads: readonly number[], now: number): number[] {
    return loads.flatMap((load, lane) =>
      load > 0 && !this.#asking.has(lane) && this.#expiryOf(lane) <= now ? [lane] : [],
    )
  }

  /** Asks a lane after its attempts; answers those it does not know, and since when it lives; null where it cannot be asked. */
  async unknown(
    lane: number,
    running: readonly RunningAttempt[],
    now: () => number,
  ): Promise<{ refs: AttemptRef[]; laneBornAtMs: number } | null> {
    const unasked = this.#unasked.get(lane)
    const refs = running
      .filter((item) => !unasked || item.startedAtMs < unasked.beganBeforeMs)
      .map(({ job, attempt }) => ({ job, attempt }))
      .filter((ref) => !this.#underway.has(refText(ref)))
    this.#asking.add(lane)
    try {
      const answer = await this.#lane(lane).check(refs)
      const known = new Set(answer.known)
      this.heard(lane, now())
      if (this.#unasked.get(lane) === unasked) this.#unasked.delete(lane)
      this.#bornAt.set(lane, answer.bornAtMs)
      return { refs: refs.filter((ref) => !known.has(refText(ref))), laneBornAtMs: answer.bornAtMs }
    } catch {
      // Asked again in a second.
      if (unasked) this.#unasked.set(lane, { ...unasked, atMs: now() + 1_000 })
      else this.#heardAt.set(lane, now() - LIMITS.leaseMs + 1_000)
      return null
    } finally {
      this.#asking.delete(lane)
    }
  }

  /** What a lane reports says nothing of attempts that were lost with its earlier process: each is asked once. */
  #expiryOf(lane: number): number {
    return this.#unasked.get(lane)?.atMs ?? (this.#heardAt.get(lane) ?? 0) + LIMITS.leaseMs
  }
}
