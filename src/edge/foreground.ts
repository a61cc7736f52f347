import type { Result } from '../contract/fault.ts'
import type { CallEnd, CallNext, OpenCall, Opening } from '../contract/foreground-rpc.ts'
import { type AttemptRef, type Quota, refText } from '../contract/rpc.ts'
import type { Usage } from '../contract/usage.ts'
import { LIMITS } from '../limits.ts'

/** What decides about a call on the line: the Instance, seen by the Worker that drives its attempts. */
export type Foreground = {
  open(call: OpenCall): Promise<Result<{ opening: Opening; quotas: Quota[] }>>
  /** May be repeated. Throws where the Instance cannot be told: then its lease runs out. */
  close(ref: AttemptRef, end: CallEnd): Promise<CallNext>
  /** Keeps the leases of calls that are under way. Answers those that are over for the Instance. */
  renew(refs: AttemptRef[]): Promise<AttemptRef[]>
  /** In micros, by the price that the attempt was judged by; null where that is not known. */
  cost(opening: Opening, usage: Usage, serviceTier: string | null): number | null
}

/**
 * Leases of this isolate's open calls. A call that lasts renews all calls of its instance that are due, in one message: with
 * a thousand streams that is one every ten seconds, and none for a call that is over before.
 */
export class Leases {
  readonly #byInstance = new Map<string, Map<string, Lease>>()

  /**
   * Returns what ends it. `renew` is asked from this call's own turn, as the platform wants it; so is `stop`, where the
   * attempt is over for the Instance.
   */
  hold(instance: string, ref: AttemptRef, renew: Foreground['renew'], now: () => number, stop: () => void): () => void {
    const held = this.#byInstance.get(instance) ?? new Map<string, Lease>()
    this.#byInstance.set(instance, held)
    const name = refText(ref)
    const own: Lease = { ref, renewedAtMs: now(), isOver: false }
    held.set(name, own)
    const ring = () => {
      if (own.isOver) return stop()
      timer = setTimeout(ring, LIMITS.callRenewMs)
      const nowMs = now()
      if (nowMs - own.renewedAtMs < LIMITS.callRenewMs / 2) return
      const due = [...held.values()].filter((one) => nowMs - one.renewedAtMs >= LIMITS.callRenewMs / 2)
      for (const one of due) one.renewedAtMs = nowMs
      const renewed = renew(due.map((one) => one.ref)).then((over) => {
        for (const ref of over) end(held, refText(ref))
        if (!own.isOver) return
        clearTimeout(timer)
        stop()
      })
      renewed.catch(() => {
        // Asked again by the next that is due; two may be missed.
        for (const one of due) one.renewedAtMs = Number.NEGATIVE_INFINITY
      })
    }
    let timer = setTimeout(ring, LIMITS.callRenewMs)
    return () => {
      clearTimeout(timer)
      held.delete(name)
      if (held.size === 0 && this.#byInstance.get(instance) === held) this.#byInstance.delete(instance)
    }
  }
}

type Lease = { ref: AttemptRef; renewedAtMs: number; isOver: boolean }

/** Its own turn stops it, where that still comes; either way it is renewed no more. */
const end = (held: Map<string, Lease>, name: string): void => {
  const lease = held.get(name)
  if (lease) lease.isOver = true
  held.delete(name)
}
