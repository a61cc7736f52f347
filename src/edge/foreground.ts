import type { Result } from '../contract/fault.ts'
import type { CallEnd, CallNext, OpenCall, Opening } from '../contract/foreground-rpc.ts'
import type { Quota } from '../contract/quota.ts'
import { type AttemptRef, refText } from '../contract/rpc.ts'
import type { Usage } from '../contract/usage.ts'
import { LIMITS } from '../limits.ts'

/** What decides about a call on the line: the Instance, seen by the Worker that drives its attempts. */
export type Foreground = {
  open(call: OpenCall): Promise<Result<{ opening: Opening; quotas: Quota[] }>>
  /** May be repeated. Throws where the Instance cannot be told: then its lease runs out. */
  close(ref: AttemptRef, end: CallEnd): Promise<CallNext>
  /** As `close`, of the last attempt of a call that was answered: nobody waits for what follows. May be told with others. */
  settle(ref: AttemptRef, end: CallEnd): Promise<void>
  /** Keeps the leases of calls that are under way. Answers those that are over for the Instance: they are to be stopped. */
  renew(refs: AttemptRef[]): Promise<AttemptRef[]>
  /** In micros, by the price that the attempt was judged by; null where that is not known. */
  cost(opening: Opening, usage: Usage, serviceTier: string | null): number | null
}

/**
 * Leases of this isolate's open calls. A call that lasts renews all calls of its instance that are due, in one message: with
 * a thousand streams that is one every ten seconds, and none for a call that is over before.
 */
export class Leases {
  readonly #byInstance = new Map<string, Map<string, Held>>()

  /**
   * Returns what ends it. Asked and stopped from this call's own turn, since the platform lets no request touch another's: a
   * call that another has heard to be over finds that when its own timer rings.
   */
  hold(instance: string, ref: AttemptRef, { renew, stop, now }: Holding): () => void {
    const held = this.#byInstance.get(instance) ?? new Map<string, Held>()
    this.#byInstance.set(instance, held)
    const own: Held = { ref, renewedAtMs: now(), isOver: false }
    held.set(refText(ref), own)
    const ring = async () => {
      timer = setTimeout(ring, LIMITS.callRenewMs)
      const nowMs = now()
      if (!own.isOver && isDue(own, nowMs)) await renewAll([...held.values()], renew, nowMs)
      if (own.isOver) stop()
    }
    let timer = setTimeout(ring, LIMITS.callRenewMs)
    return () => {
      clearTimeout(timer)
      held.delete(refText(ref))
      if (held.size === 0) this.#byInstance.delete(instance)
    }
  }
}

type Held = { ref: AttemptRef; renewedAtMs: number; isOver: boolean }

type Holding = {
  renew: Foreground['renew']
  /** The call is over for the Instance: cancelled, or given up. */
  stop(): void
  now(): number
}

const isDue = ({ renewedAtMs }: Held, nowMs: number): boolean => nowMs - renewedAtMs >= LIMITS.callRenewMs / 2

const renewAll = async (held: readonly Held[], renew: Foreground['renew'], nowMs: number): Promise<void> => {
  const due = held.filter((one) => isDue(one, nowMs))
  for (const one of due) one.renewedAtMs = nowMs
  try {
    const over = new Set((await renew(due.map(({ ref }) => ref))).map(refText))
    for (const one of due) one.isOver ||= over.has(refText(one.ref))
  } catch {
    // Asked again by the next that is due; two may be missed.
    for (const one of due) one.renewedAtMs = Number.NEGATIVE_INFINITY
  }
}
