import * as v from 'valibot'
import { Event } from '../contract/event.ts'
import { type Fault, fault } from '../contract/fault.ts'
import { Ticket } from '../contract/instance.ts'
import { OPEN_EVENTS, type OpenEvents } from '../instance/subscriptions.ts'
import { sha256Hex } from '../storage/digest.ts'
import { callerOf, hasAuthorization, isTicket, makeTicket } from './auth.ts'
import { batchIdOf } from './batches.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { jobIdOf } from './jobs.ts'
import { integerQuery } from './query.ts'
import { json, unwrap } from './respond.ts'

/** A subscription: a WebSocket where the client upgrades, server-sent events otherwise. */
const subscribe = async (
  context: Context,
  { job = null, batch = null }: { job?: string | null; batch?: string | null },
): Promise<Response> => {
  const { request } = context
  const upgrade = request.headers.get('upgrade')?.toLowerCase() === 'websocket'
  const ticket = context.query['ticket']
  const byTicket = typeof ticket === 'string' && !hasAuthorization(request)
  const open: OpenEvents = {
    job,
    batch,
    after: afterOf(context),
    caller: byTicket ? null : await callerOf(context),
    ticketDigest: byTicket ? await sha256Hex(ticket) : null,
    upgrade,
    bundled: context.query['bundled'] === 'true',
  }
  // A request of our own: nothing of the client's goes further than what was read from it.
  const headers = new Headers({ [OPEN_EVENTS]: JSON.stringify(open) })
  if (upgrade) headers.set('upgrade', 'websocket')
  const response = await instanceOf(context).fetch('https://instance.internal/events', { headers })
  // Made anew: the headers of what comes from an actor cannot be changed.
  if (response.headers.get(OPEN_EVENTS) !== 'refused') return new Response(response.body, response)
  throw new Refused((await response.json<{ fault: Fault }>()).fault)
}

const afterOf = (context: Context): number | null => {
  if (typeof context.query['after'] === 'number') return context.query['after']
  const last = context.request.headers.get('last-event-id')
  if (last === null || last === '') return null
  if (!/^\d{1,15}$/.test(last)) {
    throw new Refused(
      fault('invalid_request', 'Last-Event-ID must be the number of an event.', { param: 'Last-Event-ID' }),
    )
  }
  return Number(last)
}

const createTicket = async (context: Context): Promise<Response> => {
  const { ticket, digest } = await makeTicket()
  const { expires_at } = unwrap(await instanceOf(context).createTicket(await callerOf(context), digest))
  return json({ ticket, expires_at } satisfies Ticket, 201)
}

const query = {
  after: v.optional(integerQuery(0, Number.MAX_SAFE_INTEGER)),
  ticket: v.optional(v.pipe(v.string(), v.check(isTicket, 'must be a ticket'))),
  bundled: v.optional(v.picklist(['true', 'false'], 'must be true or false')),
}

export const eventRoutes: Route[] = [
  {
    method: 'GET',
    path: '/v1/instances/:instance/events',
    summary: 'Events of the instance, as WebSocket or server-sent events',
    access: 'key',
    query,
    answers: { 200: 'events', 101: Event },
    endless: true,
    handle: (context) => subscribe(context, {}),
  },
  {
    method: 'GET',
    path: '/v1/instances/:instance/jobs/:id/events',
    summary: 'Events of one job, as WebSocket or server-sent events',
    access: 'key',
    query,
    answers: { 200: 'events', 101: Event },
    endless: true,
    handle: (context) => subscribe(context, { job: jobIdOf(context) }),
  },
  {
    method: 'GET',
    path: '/v1/instances/:instance/batches/:id/events',
    summary: 'Events of the jobs of one batch up to its end, as WebSocket or server-sent events',
    access: 'key',
    query,
    answers: { 200: 'events', 101: Event },
    endless: true,
    handle: (context) => subscribe(context, { batch: batchIdOf(context) }),
  },
  {
    method: 'POST',
    path: '/v1/instances/:instance/tickets',
    summary: 'A ticket for a browser’s WebSocket',
    access: 'key',
    answers: { 201: Ticket },
    handle: createTicket,
  },
]
