import type { Result } from '../contract/fault.ts'
import type { LineEvent, LogValue } from '../contract/log.ts'
import type { Caller } from '../contract/rpc.ts'
import type { LogStore } from './log-store.ts'

/** What made a line be written. */
type Cause = { id?: string; project?: string | null; request_id: string }

/**
 * Writes what an operator looks for and no job's event tells. Runs in the transaction of what it tells, so that both stand or
 * neither does. Names and codes only: never a prompt, a secret or a provider's words.
 */
export class InstanceLog {
  readonly #store: LogStore
  readonly #seq: () => number
  readonly #now: () => number

  /** `seq` is the number of the last event: a line stands behind it. */
  constructor(store: LogStore, seq: () => number, now: () => number) {
    this.#store = store
    this.#seq = seq
    this.#now = now
  }

  /** What the instance learned; `job` is the one from whose attempt, where it was one. It is no line of that job's project. */
  note(event: LineEvent, data: { [key: string]: LogValue }, job: Cause | null = null): void {
    this.#store.append({
      seq: this.#seq(),
      at: this.#now(),
      event,
      job: job?.id ?? null,
      project: null,
      requestId: job?.request_id ?? null,
      data: JSON.stringify(data),
    })
  }

  /** A change by a caller, told with who it was, where it was made. `request` names the fields that were given. */
  change<T>(
    caller: Caller,
    event: LineEvent,
    data: { [key: string]: LogValue },
    result: Result<T>,
    request: object = {},
  ): Result<T> {
    if (!result.ok) return result
    const actor = caller.auth.kind === 'root' ? 'root' : caller.auth.id
    const given = Object.entries(request).filter(([, value]) => value !== undefined)
    const fields = given.map(([name]) => name).sort()
    this.note(event, { actor, ...data, ...(fields.length > 0 ? { fields } : {}) }, { request_id: caller.requestId })
    return result
  }

  /** What went wrong in the instance itself, outside of any transaction. A disk that fails must not make it worse. */
  fault(event: LineEvent, name: string): void {
    try {
      this.note(event, { name })
    } catch {
      // The same is printed, which needs no disk.
    }
  }
}
