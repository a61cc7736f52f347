import type { Assignment, AttemptRef, CredentialSecret } from '../contract/rpc.ts'
import { refText } from '../contract/rpc.ts'
import { setBackMs } from '../core/clock.ts'
import type { LaneRpc } from '../job/lane-rpc.ts'
import { LIMITS } from '../limits.ts'

/** An attempt in a lane, and when it began, in ms since the epoch. */
export type RunningAttempt = AttemptRef & { startedAtMs: number }

type Unasked = { atMs: number; beganBeforeMs: number }

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
  /** Lanes that are being asked, and until when their answer is waited for. */
  readonly #asking = new Map<number, number>()
  /** Per lane, how often in a row it could not be asked. */
  readonly #failures = new Map<number, number>()
  /** Lanes to ask after attempts begun before a process was, the Instance's or the lane's own; and when to ask. */
  readonly #unasked: Map<number, Unasked>
  /** Since when each lane's process lives. */
  readonly #bornAt = new Map<number, number>()
  /** When each lane last answered what it knows, or was first heard of. */
  readonly #askedAt = new Map<number, number>()

  /** The latest time seen, and what span of time a clock that was set back told twice. */
  #latestMs = 0
  #twiceFromMs = Number.POSITIVE_INFINITY
  #twiceToMs = Number.NEGATIVE_INFINITY

  /** `inherited`: lanes in which an earlier process of the Instance left attempts running. */
  constructor(lane: (number: number) => LaneRpc, inherited: readonly number[], now: number) {
    this.#lane = lane
    this.#unasked = new Map(inherited.map((number) => [number, { atMs: 0, beganBeforeMs: now }]))
  }

  heard(lane: number, now: number): void {
    this.#see(now)
    this.#heardAt.set(lane, now)
    if (!this.#askedAt.has(lane)) this.#askedAt.set(lane, now)
  }

  /** A lane that reports from a new process may have lost what the earlier one drove. */
  reported(lane: number, now: number, bornAtMs: number): void {
    this.heard(lane, now)
    const before = this.#bornAt.get(lane)
    this.#bornAt.set(lane, bornAtMs)
    if (before !== undefined && before !== bornAtMs) this.#doubt(lane, bornAtMs)
  }

  /** Hands out work. A lane that could not be given it is asked what it got, whatever it reports meanwhile. */
  async assign(lane: number, assignments: Assignment[], now: number): Promise<void> {
    const refs = assignments.map(refText)
    for (const ref of refs) this.#underway.add(ref)
    this.heard(lane, now)
    try {
      await this.#lane(lane).assign(assignments)
    } catch {
      this.#doubt(lane, now + 1)
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

  /** When the first lease of a lane with work runs out, or the wait for a lane's answer does; or null. */
  nextExpiry(loads: readonly number[], now: number): number | null {
    let next: number | null = null
    loads.forEach((load, lane) => {
      if (load === 0) return
      // Should the actor be evicted before the answer is there, an alarm must stand that wakes it.
      // Never farther off than any wait: a clock may have been set back.
      const expiry = Math.min(this.#asking.get(lane) ?? this.#expiryOf(lane), now + LIMITS.laneCheckMs)
      next = next === null ? expiry : Math.min(next, expiry)
    })
    return next
  }

  /** Lanes with work that are to be asked now. */
  silent(loads: readonly number[], now: number): number[] {
    return loads.flatMap((load, lane) =>
      load > 0 && !this.#asking.has(lane) && isReached(this.#expiryOf(lane), now) ? [lane] : [],
    )
  }

  /**
   * Asks a lane after its attempts and has those judged that it does not know. A lane counts as heard of only when all that
   * is written: one that cannot be asked, does not answer in time, or whose lost attempts could not be judged is asked
   * again soon, however much it reports meanwhile. Never throws; answers what went wrong, or null.
   */
  async ask(
    lane: number,
    running: readonly RunningAttempt[],
    now: () => number,
    judge: (lost: AttemptRef[], laneBornAtMs: number) => Promise<void>,
  ): Promise<{ error: unknown } | null> {
    const unasked = this.#unasked.get(lane)
    // A lane that talks is only asked after what began a lease ago: younger work may be on its way to it in an answer.
    this.#latestMs = Math.max(this.#latestMs, ...running.map((item) => item.startedAtMs))
    this.#see(now())
    const isSilent = isReached((this.#heardAt.get(lane) ?? 0) + LIMITS.leaseMs, now())
    const beganBeforeMs = unasked?.beganBeforeMs ?? (isSilent ? now() : now() - LIMITS.leaseMs)
    const refs = running
      .filter((item) => item.startedAtMs < beganBeforeMs || setBackMs(item.startedAtMs, now()) > 0)
      .map(({ job, attempt }) => ({ job, attempt }))
      .filter((ref) => !this.#underway.has(refText(ref)))
    this.#asking.set(lane, now() + LIMITS.leaseMs)
    try {
      const answer = await within(LIMITS.laneAnswerMs, this.#lane(lane).check(refs))
      const known = new Set(answer.known)
      const lost = refs.filter((ref) => !known.has(refText(ref)))
      // A lane's birth tells nothing of what began in a time that was told twice.
      const began = new Map(running.map((item) => [refText(item), item.startedAtMs]))
      const isTwice = (ref: AttemptRef) => this.#isTwice(began.get(refText(ref)) ?? 0)
      const [unclear, clear] = [lost.filter(isTwice), lost.filter((ref) => !isTwice(ref))]
      if (clear.length > 0) await within(LIMITS.laneAnswerMs, judge(clear, answer.bornAtMs))
      if (unclear.length > 0) await within(LIMITS.laneAnswerMs, judge(unclear, Number.POSITIVE_INFINITY))
      this.heard(lane, now())
      this.#askedAt.set(lane, now())
      this.#failures.delete(lane)
      if (this.#unasked.get(lane) === unasked) this.#unasked.delete(lane)
      const before = this.#bornAt.get(lane)
      this.#bornAt.set(lane, answer.bornAtMs)
      if (before !== undefined && before !== answer.bornAtMs) this.#doubt(lane, answer.bornAtMs)
      return null
    } catch (error) {
      this.#askAgain(lane, beganBeforeMs, now())
      return { error }
    } finally {
      this.#asking.delete(lane)
    }
  }

  #see(now: number): void {
    if (setBackMs(this.#latestMs, now) > 0) {
      this.#twiceFromMs = Math.min(this.#twiceFromMs, now)
      this.#twiceToMs = this.#latestMs
    }
    this.#latestMs = Math.max(this.#latestMs, now)
  }

  #isTwice(atMs: number): boolean {
    return atMs >= this.#twiceFromMs && atMs <= this.#twiceToMs
  }

  /** What was to be asked stays to be asked; the wait doubles up to a lease. */
  #askAgain(lane: number, beganBeforeMs: number, now: number): void {
    const failures = this.#failures.get(lane) ?? 0
    this.#failures.set(lane, failures + 1)
    const atMs = now + Math.min(LIMITS.backoffBaseMs * 2 ** Math.min(failures, 16), LIMITS.leaseMs)
    this.#doubt(lane, beganBeforeMs, atMs)
  }

  /** Attempts that began before this are asked after at that time, whatever the lane reports meanwhile. */
  #doubt(lane: number, beganBeforeMs: number, atMs = 0): void {
    const before = this.#unasked.get(lane)?.beganBeforeMs ?? 0
    this.#unasked.set(lane, { atMs, beganBeforeMs: Math.max(before, beganBeforeMs) })
  }

  /** What a lane reports says nothing of attempts that it has lost: one that talks without end is asked now and then. */
  #expiryOf(lane: number): number {
    const unasked = this.#unasked.get(lane)
    if (unasked) return unasked.atMs
    const heardAt = this.#heardAt.get(lane) ?? 0
    return Math.min(heardAt + LIMITS.leaseMs, (this.#askedAt.get(lane) ?? heardAt) + LIMITS.laneCheckMs)
  }
}

/** Whether a time to ask has come. One that lies farther ahead than any wait is of a clock that was set back. */
const isReached = (atMs: number, now: number): boolean =>
  atMs <= now || atMs > now + LIMITS.laneCheckMs + LIMITS.clockSkewMs

/** What hangs must not keep a lane from being asked again. */
const within = async <T>(ms: number, answer: Promise<T>): Promise<T> => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), ms)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
