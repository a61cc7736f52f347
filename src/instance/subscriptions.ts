import { ok, type Result, refuse } from '../contract/fault.ts'
import { isFinal } from '../contract/job.ts'
import type { Caller } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { notHere, type Principal } from './access.ts'
import { findBatch } from './batches.ts'
import type { Subscription } from './broadcast.ts'
import type { Parts } from './parts.ts'
import { visible } from './reader.ts'

/** Where an event subscription comes from: a caller, or the digest of a ticket. */
export type OpenEvents = {
  job: string | null
  batch?: string | null
  after: number | null
  caller: Caller | null
  ticketDigest: string | null
  upgrade: boolean
  /** Not said by a Worker of an older version. */
  bundled?: boolean
}

/** The header in which the Worker hands `OpenEvents` to `fetch`, the one call that is not RPC: a socket needs it. */
export const OPEN_EVENTS = 'x-switchyard-open-events'

/** What the caller may see from where on. `ended` says that the one job or batch asked for is over. */
export const planSubscription = (
  parts: Parts,
  open: OpenEvents,
  now: number,
): Result<{ subscription: Subscription; ended: boolean }> => {
  const principal = subscriber(parts, open, now)
  if (!principal.ok) return principal
  const { keyId, project, expiresAtMs } = principal.value
  const row = open.job === null ? null : parts.jobs.find(open.job)
  if (open.job !== null && !visible(row, principal.value)) return refuse('not_found', 'There is no such job.')
  const batch = open.batch ? findBatch(parts, principal.value, open.batch) : null
  if (batch && !batch.ok) return batch
  if (parts.broadcast.full) return refuse('unavailable', 'Too many subscribers.', { retryAfterMs: LIMITS.backoffMaxMs })
  const head = parts.books.seq
  const cursor = Math.min(open.after ?? (open.job === null && !batch ? head : 0), head)
  return ok({
    subscription: {
      filter: { job: open.job, batch: open.batch ?? null, project },
      keyId,
      expiresAtMs,
      cursor,
      bundled: open.bundled ?? false,
    },
    ended: row === null ? batch !== null && batch.value.ended_at_ms !== null : isFinal(row.status),
  })
}

const subscriber = (parts: Parts, open: OpenEvents, now: number): Result<Principal> => {
  if (open.caller) return parts.access.check(open.caller, 'read', now)
  const ticket = open.ticketDigest === null ? null : parts.admin.takeTicket(open.ticketDigest, now)
  const principal = ticket && parts.access.principalOf(ticket.keyId, now)
  return principal ? ok(principal) : notHere()
}
