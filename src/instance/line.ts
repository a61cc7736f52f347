import { ok, type Result, refuse } from '../contract/fault.ts'
import type { CallEnd, CallNext, OpenCall, Opening, Settlement } from '../contract/foreground-rpc.ts'
import type { AttemptRef } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import type { Principal } from './access.ts'
import { systemAmbient } from './ambient.ts'
import { callEnded, endCall, giveUpCall, retryAfterOf, takeCall } from './calls.ts'
import type { Engine } from './engine.ts'
import type { Parts } from './parts.ts'

/** Calls whose caller waits on the line: each waits for its turn here, and gives up when its time is over. */

/** The call's first attempt, once it may begin; until then its caller waits in the queue like any job. */
export const openOnLine = async (
  engine: Engine,
  parts: Parts,
  principal: Principal,
  requestId: string,
  call: OpenCall,
): Promise<Result<Opening>> => {
  const id = systemAmbient.id('job')
  const turn = parts.foreground.expect(id)
  const taken = await engine
    .apply(() => takeCall(parts, principal, requestId, id, call))
    .catch((error: unknown) => {
      parts.foreground.over(id)
      throw error
    })
  if (!taken.ok) {
    parts.foreground.over(id)
    return taken
  }
  const waitMs = Math.min(call.waitMs, call.deadlineS * 1000)
  const begun = await turn.within(waitMs)
  // Ended while it waited, by a budget or somebody's cancel: that is what its caller is told. Its deadline may be as near as the
  // end of its wait, and either may come first: then it is the limits that are told, which say when to come back.
  const ended = begun ? null : callEnded(parts, id)
  const fault = ended?.next === 'end' ? ended.fault : null
  if (fault && fault.code !== 'deadline_exceeded') return { ok: false, fault }
  const opening = begun ?? (fault ? null : await giveUp(engine, parts, id))
  if (opening) return ok(opening)
  return refuse('rate_limited', 'The limits of this instance let no call begin in time.', {
    retryAfterMs: retryAfterOf(parts, call, systemAmbient.now()),
  })
}

/** An attempt has ended: the next one, when its turn has come, or how the call ended. */
export const closeOnLine = async (engine: Engine, parts: Parts, ref: AttemptRef, end: CallEnd): Promise<CallNext> => {
  // Waited for before it can begin: a fallback may begin in the transaction that ends the attempt before it.
  const turn = parts.foreground.expect(ref.job)
  await engine
    .apply(() => (isAhead(parts, ref) ? parts.scheduler.reopen(ref.job) : endCall(parts, ref, end)))
    .catch((error: unknown) => {
      turn.tell(null)
      throw error
    })
  const waitMs = Math.max(0, end.waitMs ?? LIMITS.backoffMaxMs)
  const next = callEnded(parts, ref.job) ? null : await turn.within(waitMs)
  const ended = callEnded(parts, ref.job)
  const opening = next ?? (ended ? null : await giveUp(engine, parts, ref.job))
  if (opening) return { next: 'attempt', opening }
  parts.foreground.over(ref.job)
  // Given up here, it was canceled by nobody: its caller is told of the failure that it has met.
  return ended ?? { next: 'end', fault: null, costMicros: null }
}

/** Calls that were answered: nobody waits for what follows, and nothing does, unless somebody waits for their room. */
export const settleOnLine = async (engine: Engine, parts: Parts, settlements: readonly Settlement[]): Promise<void> => {
  const isAwaited = parts.books.waiting() > 0
  const apply = (operation: () => void) => (isAwaited ? engine.apply(operation) : engine.applyWithNext(operation))
  await Promise.all(settlements.map(({ ref, end }) => apply(() => endCall(parts, ref, end))))
}

/** The close was heard before, and what it was answered with was not: the attempt that followed waits for its Worker. */
const isAhead = (parts: Parts, { job, attempt }: AttemptRef): boolean => {
  const row = parts.jobs.findRunning(job)
  return row !== null && row.foreground === 1 && row.attempt === attempt + 1
}

/** Nobody waits for the call any more; where its attempt began in this very moment, it is answered all the same. */
const giveUp = async (engine: Engine, parts: Parts, id: string): Promise<Opening | null> => {
  const late = parts.foreground.takeUndelivered(id)
  if (late) return late
  await engine.apply(() => {
    if (!parts.foreground.hasUndelivered(id)) giveUpCall(parts, id)
  })
  return parts.foreground.takeUndelivered(id)
}
