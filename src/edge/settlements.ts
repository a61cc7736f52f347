import type { Settlement } from '../contract/foreground-rpc.ts'
import { LIMITS } from '../limits.ts'

type Gathering = { settlements: Settlement[]; told: Promise<void> }

/**
 * How calls ended that were answered, told to their Instance behind the answers: at once where this isolate told none a moment
 * ago, else all that end within that moment in one message. Who comes first sends it, from its own turn, since the platform
 * lets no request use another's connection; the others only wait until it is told.
 */
export class Settlements {
  readonly #byInstance = new Map<string, Gathering>()
  readonly #now: () => number
  #toldAtMs = Number.NEGATIVE_INFINITY

  constructor(now: () => number) {
    this.#now = now
  }

  /** Resolves when it is told, and rejects where it could not be. `send` must be this request's own. */
  tell(instance: string, settlement: Settlement, send: (settlements: Settlement[]) => Promise<void>): Promise<void> {
    const gathering = this.#byInstance.get(instance)
    if (gathering && gathering.settlements.length < LIMITS.settlementsPerMessage) {
      gathering.settlements.push(settlement)
      return gathering.told
    }
    const settlements = [settlement]
    const waitMs = this.#toldAtMs + LIMITS.settleGatherMs - this.#now()
    if (waitMs <= 0) {
      this.#toldAtMs = this.#now()
      return send(settlements)
    }
    // A clock that was set back holds nobody up.
    const told = pause(Math.min(waitMs, LIMITS.settleGatherMs)).then(() => {
      if (this.#byInstance.get(instance)?.settlements === settlements) this.#byInstance.delete(instance)
      this.#toldAtMs = this.#now()
      return send(settlements)
    })
    this.#byInstance.set(instance, { settlements, told })
    return told
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
