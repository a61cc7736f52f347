import * as v from 'valibot'
import {
  DEAD_LETTER_FILTER,
  type DeadLetterFilter,
  DeadLetterPage,
  Discarded,
  DiscardRequest,
  Replay,
  ReplayPage,
  type ReplayRecord,
  ReplayRequest,
} from '../contract/dead-letter.ts'
import { fault } from '../contract/fault.ts'
import { ReplayId } from '../contract/ids.ts'
import { fromWire } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { callerOf } from './auth.ts'
import { readBody } from './body.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { jobIdOf } from './jobs.ts'
import { presentJob } from './present.ts'
import { integerQuery } from './query.ts'
import { quotaHeaders } from './quota-headers.ts'
import { json, noContent, unwrap } from './respond.ts'

const list = async (context: Context): Promise<Response> => {
  const { after, limit, summary, ...filter } = context.query
  const { body, quotas } = unwrap(
    await instanceOf(context).deadLetters(await callerOf(context), {
      filter: filter as DeadLetterFilter,
      ...(typeof after === 'string' ? { after } : {}),
      limit: limitOf(context),
      summary: summary === 'true',
    }),
  )
  const page = fromWire(body)
  const data = await Promise.all(page.data.map((record) => presentJob(context, record)))
  return json({ ...page, data }, 200, quotaHeaders(quotas))
}

const discard = async (context: Context): Promise<Response> => {
  unwrap(await instanceOf(context).discard(await callerOf(context), jobIdOf(context)))
  return noContent()
}

const discardAll = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const request = await readBody(context, DiscardRequest)
  return json(unwrap(await instanceOf(context).discardAll(caller, request)))
}

const order = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const request = await readBody(context, ReplayRequest)
  const replay = presentReplay(context, fromWire(unwrap(await instanceOf(context).orderReplay(caller, request))))
  return json(replay, 202, { location: replay.urls.get })
}

const replays = async (context: Context): Promise<Response> => {
  const { after } = context.query
  const before = typeof after === 'string' ? after : undefined
  const wire = unwrap(await instanceOf(context).replays(await callerOf(context), before, limitOf(context)))
  const { data, next } = fromWire(wire)
  return json({ data: data.map((record) => presentReplay(context, record)), next })
}

const readReplay = async (context: Context): Promise<Response> => {
  const wire = unwrap(await instanceOf(context).replayOrder(await callerOf(context), replayIdOf(context)))
  return json(presentReplay(context, fromWire(wire)))
}

const cancelReplay = async (context: Context): Promise<Response> => {
  const wire = unwrap(await instanceOf(context).cancelReplay(await callerOf(context), replayIdOf(context)))
  return json(presentReplay(context, fromWire(wire)))
}

const limitOf = ({ query }: Context): number =>
  typeof query['limit'] === 'number' ? query['limit'] : LIMITS.pageDefault

const replayIdOf = (context: Context): string => {
  const id = v.safeParse(ReplayId, context.params['id'])
  if (!id.success) throw new Refused(fault('not_found', 'There is no such replay.'))
  return id.output
}

const presentReplay = (context: Context, record: ReplayRecord): Replay => {
  const get = `${context.url.origin}/v1/instances/${record.instance}/dead-letters/replays/${record.id}`
  return { ...record, urls: { get, cancel: `${get}/cancel` } }
}

const page = { limit: v.optional(integerQuery(1, LIMITS.pageMax)) }
/** The place of a dead letter, as `next` gave it. */
const Cursor = v.pipe(v.string(), v.regex(/^\d{1,15}\.job_[0-9A-HJKMNP-TV-Z]{26}$/, 'must be the next of a page'))
const BASE = '/v1/instances/:instance/dead-letters'

export const deadLetterRoutes: Route[] = [
  {
    method: 'GET',
    path: BASE,
    summary: 'List the jobs that failed for good, newest failure first',
    access: 'key',
    query: {
      ...DEAD_LETTER_FILTER,
      after: v.optional(Cursor),
      ...page,
      summary: v.optional(v.picklist(['true', 'false'], 'must be true or false')),
    },
    answers: { 200: DeadLetterPage },
    handle: list,
  },
  {
    method: 'POST',
    path: `${BASE}/replay`,
    summary: 'Run all dead letters that match again, at a bounded rate',
    access: 'key',
    body: ReplayRequest,
    answers: { 202: Replay },
    handle: order,
  },
  {
    method: 'POST',
    path: `${BASE}/discard`,
    summary: 'Take dead letters that match off the list, at most a thousand in a call',
    access: 'key',
    body: DiscardRequest,
    answers: { 200: Discarded },
    handle: discardAll,
  },
  {
    method: 'GET',
    path: `${BASE}/replays`,
    summary: 'List replays by filter, newest first',
    access: 'key',
    query: { after: v.optional(ReplayId), ...page },
    answers: { 200: ReplayPage },
    handle: replays,
  },
  {
    method: 'GET',
    path: `${BASE}/replays/:id`,
    summary: 'Read a replay by filter',
    access: 'key',
    answers: { 200: Replay },
    handle: readReplay,
  },
  {
    method: 'POST',
    path: `${BASE}/replays/:id/cancel`,
    summary: 'Stop a replay by filter; jobs already replayed go on',
    access: 'key',
    answers: { 200: Replay },
    handle: cancelReplay,
  },
  {
    method: 'DELETE',
    path: `${BASE}/:id`,
    summary: 'Take a job off the dead letters; it stays readable',
    access: 'key',
    answers: { 204: null },
    handle: discard,
  },
]
